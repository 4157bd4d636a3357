// SPDX-License-Identifier: Apache-2.0
//
// The R2P2 header: the first 8 bytes of every datagram (docs/protocols/r2p2.md has the layout).
//
// R2P2: Kogias et al., "R2P2: Making RPCs first-class datacenter citizens", USENIX ATC 2019.
#ifndef WEFT_R2P2_WIRE_H_
#define WEFT_R2P2_WIRE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::r2p2 {

enum class MessageType : uint8_t {
  kRequest = 0,
  kResponse = 1,
  kFeedback = 2,
  kAck = 3,
  kDrop = 4,
  kRaftRequest = 5,
  kRaftReply = 6,
  kRaftMessage = 7,
};

// Which servers may answer; the client's choice, carried in every packet of a request.
enum class Policy : uint8_t {
  kLbRoute = 0,              // any: the router picks
  kFixedRoute = 1,           // the one addressed
  kReplicatedRoute = 2,      // ordered and executed by all replicas
  kReplicatedRouteNoSe = 3,  // any replica, as the request has no side effects
};

inline constexpr size_t kHeaderBytes = 8;
// Payload of every packet but the last of a message, and at most of that: 1472 bytes of UDP on
// Ethernet.
inline constexpr size_t kPacketPayloadBytes = 1464;
// Payload of the first packet of a request that does not fit in one.
inline constexpr size_t kFirstPayloadBytes = 14;
inline constexpr absl::string_view kAckPayload = "ACK";
inline constexpr absl::string_view kDropPayload = "DROP";
inline constexpr size_t kFeedbackBytes = 16;

struct Header {
  MessageType type = MessageType::kRequest;
  Policy policy = Policy::kFixedRoute;
  bool first = false;
  bool last = false;
  uint16_t request_id = 0;
  // First packet: how many the message has. Others: which one this is, from 1.
  uint16_t packet_order = 1;

  friend bool operator==(const Header&, const Header&) = default;
};

namespace internal {
inline constexpr uint8_t kMagic = 0xCC;
inline constexpr uint8_t kFirstFlag = 0x80;
inline constexpr uint8_t kLastFlag = 0x40;
}  // namespace internal

// Reads the header in front of `datagram`. False, and `header` untouched, unless it is one that a
// correct sender makes: long enough, right magic and size, known type and policy, and flags that
// agree with the packet order.
inline bool ReadHeader(absl::Span<const uint8_t> datagram, Header* header) {
  if (datagram.size() < kHeaderBytes) return false;
  const uint64_t word = LoadBig64(datagram.data());
  const uint8_t type = (word >> 44) & 0xF;
  const uint8_t policy = (word >> 40) & 0xF;
  const uint8_t flags = (word >> 32) & 0xFF;
  const bool first = (flags & internal::kFirstFlag) != 0;
  const bool last = (flags & internal::kLastFlag) != 0;
  const uint16_t order = word & 0xFFFF;
  if ((word >> 48) != (uint64_t{internal::kMagic} << 8 | kHeaderBytes) || type > 7 || policy > 3 ||
      order == 0 || (first && last != (order == 1))) {
    return false;
  }
  *header = {static_cast<MessageType>(type),
             static_cast<Policy>(policy),
             first,
             last,
             static_cast<uint16_t>(word >> 16),
             order};
  return true;
}

// Writes the 8 bytes of `header` to `out`.
inline void WriteHeader(const Header& header, uint8_t* out) {
  const uint64_t type_and_policy =
      static_cast<uint64_t>(header.type) << 4 | static_cast<uint64_t>(header.policy);
  const uint64_t flags =
      (header.first ? internal::kFirstFlag : 0) | (header.last ? internal::kLastFlag : 0);
  StoreBig64(out, uint64_t{internal::kMagic} << 56 | uint64_t{kHeaderBytes} << 48 |
                      type_and_policy << 40 | flags << 32 | uint64_t{header.request_id} << 16 |
                      header.packet_order);
}

// What a server tells the router when it is done with a request: whose it was. IPv4 only, as in the
// original.
struct Feedback {
  uint16_t request_id = 0;
  uint16_t client_port = 0;
  uint32_t client_ip = 0;  // the first byte of the dotted form in the highest bits
};

// `out` has kFeedbackBytes, header included.
void WriteFeedback(const Feedback& feedback, uint8_t* out);
// False if `datagram` is not a feedback message.
bool ReadFeedback(absl::Span<const uint8_t> datagram, Feedback* feedback);

}  // namespace weft::r2p2

#endif  // WEFT_R2P2_WIRE_H_
