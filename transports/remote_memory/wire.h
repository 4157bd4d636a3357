// SPDX-License-Identifier: Apache-2.0
//
// The packets of emulated remote memory: docs/protocols/remote_memory.md has their layouts, which
// tests pin.
//
//   Packet packet;
//   if (!Parse(datagram.buffer.bytes(), &packet)) ...            // count, drop
//   Append({.kind = Kind::kAck, .token = 7, .index = 3, .sequence = 12}, &buffer);
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_WIRE_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_WIRE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"

namespace weft::emulated {

// What every packet begins with; those of kReset, kBye and kAck have no more.
inline constexpr size_t kHeaderBytes = 24;
// Whole packets of a handshake: all of one size, so that nobody is answered with more than he sent.
inline constexpr size_t kHandshakeBytes = 40;
// In front of the bytes of a write or the operands, and of those that were read.
inline constexpr size_t kRequestHeaderBytes = 72;
inline constexpr size_t kResponseHeaderBytes = 32;
inline constexpr size_t kOperandsBytes = 16;
inline constexpr uint8_t kVersion = 1;
// A side whose longest packet is shorter takes no part; every operand and 128 bytes fit.
inline constexpr size_t kPacketMin = 256;

enum class Kind : uint8_t {
  kHello = 1,    // asks for a session
  kCookie = 2,   // answers it, and remembers nothing
  kConfirm = 3,  // proves that the cookie arrived: the session begins here
  kReady = 4,    // and there
  kRefuse = 5,   // instead of kReady: no room
  kRequest = 6,
  kResponse = 7,
  kAck = 8,
  kReset = 9,  // what has been sent is of no session that is known
  kBye = 10,
};

enum class Action : uint8_t {
  kNothing = 0,
  kRead = 1,
  kWrite = 2,
  kCompareSwap = 3,
  kFetchAdd = 4
};

enum class Result : uint8_t { kOk = 0, kDenied = 1, kCrooked = 2 };

struct KeyName {
  uint32_t index = 0;
  std::array<uint64_t, 2> secret = {};
};

// The fields of all kinds; each has some of them.
struct Packet {
  Kind kind = Kind::kHello;
  // The random number that whoever receives this chose for the session: without it, nothing is
  // believed. 0 in kHello.
  uint64_t token = 0;
  // The receiver's number of the sender. 0 in kHello, kCookie, kConfirm, kReset.
  uint32_t index = 0;

  // Handshakes.
  uint32_t packet_max = 0;    // the longest packet that the sender takes
  uint64_t nonce = 0;         // what is to be the token of packets to the sender
  uint32_t sender_index = 0;  // and their `index`
  uint16_t window = 0;        // requests to the sender that may be unanswered

  // kRequest and kResponse: the request's number. kAck: as answered_below.
  uint32_t sequence = 0;
  // kRequest: requests below it have been answered; their answers may be forgotten.
  uint32_t answered_below = 0;

  // kRequest: a piece of an operation on `bytes` bytes from `offset` of what `key` grants.
  KeyName key = {};
  Action action = Action::kNothing;
  uint64_t offset = 0;
  uint32_t bytes = 0;
  uint32_t piece_offset = 0;  // within these
  uint32_t piece_bytes = 0;
  uint64_t compare = 0;
  uint64_t operand = 0;

  Result result = Result::kOk;  // kResponse

  // kRequest of a write: what to write. kResponse: what was read, or the 8 bytes of old_value.
  // Valid as long as the bytes that were parsed.
  absl::Span<const uint8_t> data = {};
};

// False: not a packet of this protocol, of another version, damaged or contradictory.
bool Parse(absl::Span<const uint8_t> bytes, Packet* packet);

// Puts `packet` behind what `buffer` holds, which is nothing; there is room for it. Its `data` is
// copied, if it is not null. Without, space for `data.size()` bytes is left uninitialised: fill
// DataOf(), and Seal() the packet.
void Append(const Packet& packet, Buffer* buffer);
// Space of `size` bytes, as above.
inline absl::Span<const uint8_t> SpaceFor(size_t size) { return {nullptr, size}; }
// Where the data of a kRequest or kResponse lies in `buffer`, which Append() has filled.
absl::Span<uint8_t> DataOf(Buffer& buffer);
// Writes the checksum; Append() does so itself unless there was space to fill.
void Seal(Buffer* buffer);

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_WIRE_H_
