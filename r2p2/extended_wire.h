// SPDX-License-Identifier: Apache-2.0
//
// The extended R2P2 header and the bodies of control packets (docs/protocols/r2p2_extended.md has
// the layout and the reasons). Its first 8 bytes are those of the original header (wire.h) but for
// header_size, which tells the two apart.
//
// Reading never trusts: false, and what was written means nothing, for bytes that no correct sender
// makes.
#ifndef WEFT_R2P2_EXTENDED_WIRE_H_
#define WEFT_R2P2_EXTENDED_WIRE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/r2p2/wire.h"

namespace weft::r2p2 {

inline constexpr size_t kExtendedHeaderBytes = 44;
// Packets of a message: what the 16-bit packet order can number.
inline constexpr size_t kExtendedPacketsMax = 65535;
inline constexpr uint16_t kExtendedVersion = 1;

// What a packet of type kAck says; and, of types kRequest and kResponse, that it announces its
// message.
enum class ControlKind : uint8_t {
  kNone = 0,
  kHello = 1,     // client: opens a session, again until it is answered
  kHelloAck = 2,  // server
  kProgress = 3,  // how much of a message has arrived and how much more may be sent
  kCancel = 4,    // client: nobody waits for this call any more
  kPing = 5,      // client: is there anybody?
  kPong = 6,      // server
  kClose = 7,     // either: the session has ended
  kCloseAck = 8,
  kReset = 9,   // server: there is no such session
  kDrain = 10,  // server: no new requests, please
  // Between servers and routers, and from routers to clients (route_wire.h).
  kPool = 11,     // router: answers HELLO; behind it are servers, of which it picks one a request
  kJoin = 12,     // server: wants requests, again and again as long as it does
  kJoinAck = 13,  // router
  kLeave = 14,    // server: wants no more
  kLeaveAck = 15,
  // Both: in place of the packets of a long message, where it lies and may be fetched. The header
  // is that of its first packet, and tells into how many it would be cut.
  kAnnouncement = 16,
};
inline constexpr ControlKind kControlKindMax = ControlKind::kAnnouncement;

// Why a request, or a session, was refused: the code of a DROP.
enum class DropReason : uint8_t {
  kNone = 0,
  kRefused = 1,       // by the application's admission
  kOverloaded = 2,    // a queue is full; the body says when to try again
  kTooLarge = 3,      // longer than the receiver could ever hold
  kShuttingDown = 4,  // the server drains or ends
  kReplyGone = 5,     // executed, but the reply is not kept any more
  kCancelled = 6,     // as asked
  kNoSessions = 7,    // as many as the server allows
  kDeadline = 8,      // the deadline passed before there was a reply
  kUnanswered = 9,    // the handler ended without a reply
  kUnsupported = 10,  // replicated execution at a server that is no replica
  kForbidden = 11,    // the client has proved to be somebody who may not
  kNoServer = 12,     // router: none is up, or the queue is full
  kServerLost = 13,   // router: the request went to a server that has gone since
};
inline constexpr uint8_t kDropReasonMax = 13;

struct ExtendedHeader {
  MessageType type = MessageType::kRequest;
  Policy policy = Policy::kFixedRoute;
  bool first = false;
  bool last = false;
  bool resent = false;      // the sender has sent this before
  bool echo_valid = false;  // `echo` answers a packet of the receiver
  uint16_t packet_order = 1;
  uint32_t session = 0;       // the receiver's number
  uint32_t from_session = 0;  // the sender's number
  uint32_t key = 0;
  uint32_t deadline_us = 0;  // requests: that are left; 0: no limit
  uint64_t request_id = 0;   // sequence << 16 | slot
  uint32_t timestamp = 0;    // ns of the sender's clock, modulo 2^32
  uint32_t echo = 0;
  uint16_t credits = 0;
  ControlKind kind = ControlKind::kNone;
  DropReason code = DropReason::kNone;

  uint16_t slot() const { return static_cast<uint16_t>(request_id); }
  // As for Header: which packet of its message this is, and of how many if it says so (else 0).
  size_t index() const { return first ? 0 : packet_order; }
  size_t total() const {
    if (first) return packet_order;
    return last ? size_t{packet_order} + 1 : 0;
  }

  friend bool operator==(const ExtendedHeader&, const ExtendedHeader&) = default;
};

// Whether `datagram` claims to begin with an extended header.
inline bool IsExtended(absl::Span<const uint8_t> datagram) {
  return datagram.size() >= kExtendedHeaderBytes && datagram[0] == internal::kMagic &&
         datagram[1] == kExtendedHeaderBytes;
}

namespace internal {

inline constexpr uint8_t kResentFlag = 0x20;
inline constexpr uint8_t kEchoFlag = 0x10;
inline constexpr uint8_t kKnownFlags = kFirstFlag | kLastFlag | kResentFlag | kEchoFlag;
// A bit for each of kRequest, kResponse, kAck and kDrop.
inline constexpr uint32_t kKnownTypes = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4;

// What the fields of a header must have in common.
bool IsConsistent(const ExtendedHeader& header);

}  // namespace internal

// Reads the header in front of `datagram`.
inline bool ReadExtendedHeader(absl::Span<const uint8_t> datagram, ExtendedHeader* header) {
  if (!IsExtended(datagram)) return false;
  const uint8_t* const p = datagram.data();
  const uint64_t word = LoadBig64(p);
  const uint64_t sessions = LoadBig64(p + 8);
  const uint64_t key_and_deadline = LoadBig64(p + 16);
  const uint64_t request_id = LoadBig64(p + 24);
  const uint64_t times = LoadBig64(p + 32);
  const uint32_t rest = LoadBig32(p + 40);
  const uint8_t type = (word >> 44) & 0xF;
  const uint8_t policy = (word >> 40) & 0xF;
  const uint8_t flags = (word >> 32) & 0xFF;
  const uint8_t kind = (rest >> 8) & 0xFF;
  const uint8_t code = rest & 0xFF;
  if ((internal::kKnownTypes >> type & 1) == 0 || policy > 3 ||
      (flags & ~internal::kKnownFlags) != 0 || ((word >> 16 ^ request_id) & 0xFFFF) != 0 ||
      kind > static_cast<uint8_t>(kControlKindMax) || code > kDropReasonMax) {
    return false;
  }
  // Field by field: a copy of a whole header right after its fields were written stalls.
  header->type = static_cast<MessageType>(type);
  header->policy = static_cast<Policy>(policy);
  header->first = (flags & internal::kFirstFlag) != 0;
  header->last = (flags & internal::kLastFlag) != 0;
  header->resent = (flags & internal::kResentFlag) != 0;
  header->echo_valid = (flags & internal::kEchoFlag) != 0;
  header->packet_order = static_cast<uint16_t>(word);
  header->session = static_cast<uint32_t>(sessions >> 32);
  header->from_session = static_cast<uint32_t>(sessions);
  header->key = static_cast<uint32_t>(key_and_deadline >> 32);
  header->deadline_us = static_cast<uint32_t>(key_and_deadline);
  header->request_id = request_id;
  header->timestamp = static_cast<uint32_t>(times >> 32);
  header->echo = static_cast<uint32_t>(times);
  header->credits = static_cast<uint16_t>(rest >> 16);
  header->kind = static_cast<ControlKind>(kind);
  header->code = static_cast<DropReason>(code);
  // A message of one packet is; others are looked at more closely.
  const bool simple = type <= 1 && kind == 0 && static_cast<uint16_t>(word) == 1 &&
                      (flags & internal::kFirstFlag) != 0 && (flags & internal::kLastFlag) != 0;
  return simple || internal::IsConsistent(*header);
}

// Writes the kExtendedHeaderBytes of `header` to `out`.
inline void WriteExtendedHeader(const ExtendedHeader& h, uint8_t* out) {
  const uint64_t type_and_policy =
      static_cast<uint64_t>(h.type) << 4 | static_cast<uint64_t>(h.policy);
  const uint64_t flags = (h.first ? internal::kFirstFlag : 0) | (h.last ? internal::kLastFlag : 0) |
                         (h.resent ? internal::kResentFlag : 0) |
                         (h.echo_valid ? internal::kEchoFlag : 0);
  StoreBig64(out, uint64_t{internal::kMagic} << 56 | uint64_t{kExtendedHeaderBytes} << 48 |
                      type_and_policy << 40 | flags << 32 | uint64_t{h.slot()} << 16 |
                      h.packet_order);
  StoreBig64(out + 8, uint64_t{h.session} << 32 | h.from_session);
  StoreBig64(out + 16, uint64_t{h.key} << 32 | h.deadline_us);
  StoreBig64(out + 24, h.request_id);
  StoreBig64(out + 32, uint64_t{h.timestamp} << 32 | h.echo);
  StoreBig32(out + 40, uint32_t{h.credits} << 16 | static_cast<uint32_t>(h.kind) << 8 |
                           static_cast<uint32_t>(h.code));
}

// --- Bodies of control packets

// What each side says of itself when a session is opened.
struct Hello {
  uint16_t version = kExtendedVersion;
  uint16_t slots = 1;         // requests in flight: wanted, or granted
  uint32_t packet_bytes = 0;  // the longest datagram, header included: offered, or agreed
  uint64_t incarnation = 0;   // random, of this client or server since it was made
  uint32_t timeout_us = 0;    // a peer not heard of for so long is dead
  uint32_t key = 0;           // HELLO_ACK: of the session. HELLO: 0

  friend bool operator==(const Hello&, const Hello&) = default;
};
inline constexpr size_t kHelloBytes = 24;
void WriteHello(const Hello& hello, uint8_t* out);  // kHelloBytes
bool ReadHello(absl::Span<const uint8_t> body, Hello* hello);

// Behind the fields of HELLO and of HELLO_ACK, and the number of the pool: what else its sender can
// do. Those who know nothing of it send zeros there (HELLO), or nothing (HELLO_ACK), and ignore it.
inline constexpr uint32_t kFeatureBulk = 1 << 0;  // fetches messages that are announced to it
inline constexpr size_t kHelloFeaturesAt = kHelloBytes + 4;
inline constexpr size_t kHelloFeaturesBytes = 4;
inline void WriteHelloFeatures(uint32_t features, uint8_t* body) {
  StoreBig32(body + kHelloFeaturesAt, features);
}
inline uint32_t ReadHelloFeatures(absl::Span<const uint8_t> body) {
  return body.size() >= kHelloFeaturesAt + kHelloFeaturesBytes ? LoadBig32(&body[kHelloFeaturesAt])
                                                               : 0;
}

// The body of a kAnnouncement packet.
struct Announcement {
  uint64_t bytes = 0;                // of the message; at least 1
  bool fetchable = true;             // false: there is no way to fetch it yet, and no key
  std::array<uint8_t, 32> key = {};  // by which it is fetched: the transport's, opaque

  friend bool operator==(const Announcement&, const Announcement&) = default;
};
inline constexpr size_t kAnnouncementBytes = 40;
inline constexpr size_t kKeylessAnnouncementBytes = 8;
// Returns the length of what was written: at most kAnnouncementBytes.
size_t WriteAnnouncement(const Announcement& announcement, uint8_t* out);
bool ReadAnnouncement(absl::Span<const uint8_t> body, Announcement* announcement);

// The body of a kProgress packet. Its header's packet_order is the number of packets that are here
// from the first on without a gap, and its flag `last` says whether a request (set) or a response
// is meant.
struct Progress {
  static constexpr size_t kBitsMax = 1024;
  // Packets below this index may be sent.
  uint16_t granted = 0;
  // Of the packets behind the first missing one, bit i tells whether packet order + 1 + i is here:
  // bitmap[i / 8] >> (7 - i % 8) & 1. In the datagram, not copied.
  uint16_t bits = 0;
  absl::Span<const uint8_t> bitmap = {};

  bool has(size_t bit) const { return bit < bits && (bitmap[bit / 8] >> (7 - bit % 8) & 1) != 0; }
};
inline constexpr size_t kProgressBytesMax = 4 + Progress::kBitsMax / 8;
// What a peer may ask for at least. Every control packet fits, the longest PROGRESS too.
inline constexpr size_t kExtendedPacketBytesMin = kExtendedHeaderBytes + kProgressBytesMax;
static_assert(kExtendedPacketBytesMin == 176);
// Returns the bytes written: 4 + ceil(bits / 8). `out` has kProgressBytesMax.
size_t WriteProgress(const Progress& progress, uint8_t* out);
bool ReadProgress(absl::Span<const uint8_t> body, Progress* progress);

// The body of a DROP: in how many microseconds another try may succeed; 0: nobody knows.
inline constexpr size_t kDropBytes = 4;
inline void WriteDrop(uint32_t retry_after_us, uint8_t* out) { StoreBig32(out, retry_after_us); }
inline uint32_t ReadDrop(absl::Span<const uint8_t> body) {
  return body.size() >= kDropBytes ? LoadBig32(body.data()) : 0;
}

}  // namespace weft::r2p2

#endif  // WEFT_R2P2_EXTENDED_WIRE_H_
