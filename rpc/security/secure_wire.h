// SPDX-License-Identifier: Apache-2.0
//
// What goes over the wire below a protected port: records, which carry datagrams, and the packets
// of the handshake that makes their keys. Big-endian; byte layouts are in docs/protocols/secure.md.
// Reading checks everything that can be wrong in a packet by itself; what it says is believed only
// as far as the handshake or a key proves it.
#ifndef WEFT_RPC_SECURITY_SECURE_WIRE_H_
#define WEFT_RPC_SECURITY_SECURE_WIRE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::rpc {

// A record: this head, ciphertext, tag.
struct RecordHead {
  static constexpr size_t kBytes = 16;
  static constexpr uint8_t kMagic = 0xD7;

  uint8_t phase = 0;        // low bits of the epoch
  uint32_t connection = 0;  // the receiver's number
  uint64_t number = 0;

  void Write(uint8_t* out) const {
    out[0] = kMagic;
    out[1] = phase;
    StoreBig16(out + 2, 0);
    StoreBig32(out + 4, connection);
    StoreBig64(out + 8, number);
  }
  // `in` has kBytes; false unless what is constant is right.
  bool Read(const uint8_t* in) {
    phase = in[1];
    connection = LoadBig32(in + 4);
    number = LoadBig64(in + 8);
    return in[0] == kMagic && LoadBig16(in + 2) == 0;
  }
};

// What a datagram is longer by when it is sealed.
inline constexpr size_t kRecordOverheadBytes = RecordHead::kBytes + 16;

// Proof that a client receives what is sent to its address, made by a server that keeps nothing.
struct Cookie {
  static constexpr size_t kMacBytes = 16;
  static constexpr size_t kBytes = 8 + kMacBytes;

  uint64_t time_ns = 0;  // of the server
  std::array<uint8_t, kMacBytes> mac = {};
};

// One packet of a handshake.
struct HandshakePacket {
  static constexpr uint8_t kMagic = 0xD8;
  static constexpr uint8_t kVersion = 1;
  static constexpr size_t kHeadBytes = 16;
  static constexpr size_t kFlightHeadBytes = kHeadBytes + 8 + Cookie::kBytes;
  // So long is an INIT, with zeros at its end, so that nothing that answers it is longer.
  static constexpr size_t kInitBytes = 64;
  static constexpr size_t kCookieBytes = kHeadBytes + Cookie::kBytes;
  static constexpr size_t kResetBytes = kHeadBytes;
  static constexpr size_t kNoKeysBytes = kHeadBytes;

  enum class Type : uint8_t {
    kInit = 1,    // client: begins
    kCookie = 2,  // server: the cookie to come back with
    kFlight = 3,  // both: bytes of TLS
    kReset = 4,   // server: a record is of no connection that it knows
    kNoKeys = 5,  // a router's answer to kInit: it has to read requests, and so can take none
  };
  enum Flag : uint8_t {
    kFromServer = 0x80,
    kResend = 0x01,    // what came since `acknowledged` is lost, or is taken to be
    kComplete = 0x02,  // the server has all it needs, and its keys
  };

  Type type = Type::kInit;
  uint8_t flags = 0;
  uint32_t connection = 0;  // the sender's number; of a kReset, the record's
  uint64_t attempt = 0;     // chosen by the client; of a kReset, the record's number
  // kFlight only.
  uint32_t offset = 0;        // of the payload in its sender's bytes
  uint32_t acknowledged = 0;  // bytes of the other side that have come
  absl::Span<const uint8_t> payload = {};
  // kCookie, and a client's kFlight.
  Cookie cookie = {};

  bool from_server() const { return (flags & kFromServer) != 0; }

  // Room for any packet without its payload.
  static constexpr size_t kWithoutPayloadMax = 64;
  // Writes all but the payload; returns how many bytes that is.
  size_t Write(uint8_t* out) const;
  // None if it is no such packet. The payload is that of `packet`.
  static std::optional<HandshakePacket> Read(absl::Span<const uint8_t> packet);
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_SECURE_WIRE_H_
