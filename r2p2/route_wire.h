// SPDX-License-Identifier: Apache-2.0
//
// What routers add to R2P2 (docs/protocols/router.md has the layouts and the reasons): requests
// that any server may take, the client's address on the way to a server, FEEDBACK that survives
// loss, and what servers and routers tell of each other.
//
// Reading never trusts: false, and what was written means nothing, for bytes that no correct sender
// makes.
#ifndef WEFT_R2P2_ROUTE_WIRE_H_
#define WEFT_R2P2_ROUTE_WIRE_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/r2p2/extended_wire.h"
#include "weft/r2p2/wire.h"
#include "weft/transports/address.h"
#include "weft/transports/port.h"

namespace weft::r2p2 {

// --- Names of clients and requests, which routers and servers compute alike

namespace internal {

// MurmurHash3's finalizer: every bit of the result depends on every bit of `x`.
constexpr uint64_t Mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
  return x ^ x >> 33;
}

}  // namespace internal

// A client, whatever transport it is seen through. Of a client with an IP address: of its peer,
// which all ports that speak IP make alike (words[0] and words[1] are the 16 bytes of IPv6,
// words[2] is the port, both in network order, and the scope << 32). Of others: of the address.
inline uint64_t ClientIdOf(const Peer& ip_peer) {
  return internal::Mix(internal::Mix(internal::Mix(ip_peer.words[0]) ^ ip_peer.words[1]) ^
                       ip_peer.words[2]);
}
uint64_t ClientIdOf(const Address& address);

// A request of a client: `number` is its session (0 in the original format), `rid` the 16 bits of
// its id that the first 8 bytes of every header carry.
inline uint64_t RequestKey(uint64_t client_id, uint32_t number, uint16_t rid) {
  return internal::Mix(client_id ^ (uint64_t{number} << 16 | rid));
}

// --- The way to a server: the client's address in front of its datagram

// Set in the flags of the first 8 bytes, which else are those of the datagram behind the address
// but for header_size. No other packet has it.
inline constexpr uint8_t kRoutedFlag = 0x08;
// Header, kind of the address, length of its name, port.
inline constexpr size_t kRouteBytesMin = 12;
inline constexpr size_t kRouteBytesMax = kRouteBytesMin + 64;

inline bool IsRouted(absl::Span<const uint8_t> datagram) {
  return datagram.size() >= kRouteBytesMin && datagram[0] == internal::kMagic &&
         (datagram[3] & kRoutedFlag) != 0;
}
// Bytes that WriteRoute() puts in front of a datagram of this client: 16, 28, or 12 and the name.
size_t RouteBytes(const Address& client);
// Writes them to `out`, which `datagram`, of at least kHeaderBytes, follows directly.
void WriteRoute(const Address& client, absl::Span<const uint8_t> datagram, uint8_t* out);
// Returns how many bytes the address takes, which the client's own datagram follows; 0 for a
// datagram that is not routed, or malformed.
size_t ReadRoute(absl::Span<const uint8_t> datagram, Address* client);

// --- Requests that any server may take

// A request in the extended format whose server is still to be picked: the extended header with
// header_size kAnycastHeaderBytes, session and key 0, and these fields behind it. from_session is
// the client's number of the pool, under which it has a session with each of its servers. Or the
// CANCEL of such a request, of which the client does not know where it is.
struct Anycast {
  uint64_t incarnation = 0;  // the client's, as in its HELLO
  uint64_t affinity = 0;     // requests with the same one belong to the same server; 0: to any
  uint32_t age_us = 0;       // since the request was first sent
};
inline constexpr size_t kAnycastHeaderBytes = kExtendedHeaderBytes + 20;

inline bool IsAnycast(absl::Span<const uint8_t> datagram) {
  return datagram.size() >= kAnycastHeaderBytes && datagram[0] == internal::kMagic &&
         datagram[1] == kAnycastHeaderBytes;
}
bool ReadAnycast(absl::Span<const uint8_t> datagram, ExtendedHeader* header, Anycast* anycast);
// `out` has kAnycastHeaderBytes.
void WriteAnycast(const ExtendedHeader& header, const Anycast& anycast, uint8_t* out);

// A client that has been answered by RESET opens a session with the server. Its HELLO has the
// number of the pool, which names the session in ANYCAST requests, behind the other fields; those
// of other clients have 0 there.
inline constexpr size_t kHelloPoolBytes = 4;
inline void WriteHelloPool(uint32_t pool, uint8_t* behind_hello) { StoreBig32(behind_hello, pool); }
inline uint32_t ReadHelloPool(absl::Span<const uint8_t> body) {
  return body.size() >= kHelloBytes + kHelloPoolBytes ? LoadBig32(&body[kHelloBytes]) : 0;
}

// --- FEEDBACK of servers that know this format

// Requests that a server is done with. Each datagram repeats what the ones before have said, as far
// as there is room, so that one that is lost costs nothing as soon as the next one comes.
struct FeedbackEntry {
  uint64_t request = 0;     // RequestKey()
  uint32_t service_ns = 0;  // from its arrival to its end; UINT32_MAX: at least so long

  friend bool operator==(const FeedbackEntry&, const FeedbackEntry&) = default;
};
struct FeedbackBatch {
  uint64_t incarnation = 0;  // of the server, with the number of a worker: ServerOf()
  uint64_t first = 0;        // number of the first entry; the server counts them from 0
  size_t count = 0;          // 1 to kFeedbackEntriesMax
};
inline constexpr size_t kFeedbackBatchHeaderBytes = 24;
inline constexpr size_t kFeedbackEntryBytes = 12;
inline constexpr size_t kFeedbackEntriesMax = 100;

inline bool IsFeedbackBatch(absl::Span<const uint8_t> datagram) {
  return datagram.size() >= kFeedbackBatchHeaderBytes && datagram[0] == internal::kMagic &&
         datagram[1] == kFeedbackBatchHeaderBytes &&
         datagram[2] >> 4 == static_cast<uint8_t>(MessageType::kFeedback);
}
// `out` has kFeedbackBatchHeaderBytes; the entries follow.
void WriteFeedbackBatch(const FeedbackBatch& batch, uint8_t* out);
bool ReadFeedbackBatch(absl::Span<const uint8_t> datagram, FeedbackBatch* batch);
inline void WriteFeedbackEntry(const FeedbackEntry& entry, uint8_t* out) {
  StoreBig64(out, entry.request);
  StoreBig32(out + 8, entry.service_ns);
}
// `index` < batch.count of a datagram that ReadFeedbackBatch() took.
inline FeedbackEntry ReadFeedbackEntry(absl::Span<const uint8_t> datagram, size_t index) {
  const uint8_t* const p =
      datagram.data() + kFeedbackBatchHeaderBytes + index * kFeedbackEntryBytes;
  return {LoadBig64(p), LoadBig32(p + 8)};
}

// --- What a server tells a router: the body of JOIN and LEAVE

// An incarnation is random, of a server since it began, but for the low 8 bits: in FEEDBACK they
// number its workers, each of which counts its entries for itself. This is the rest, which tells a
// server from the one that it was before.
inline constexpr uint64_t ServerOf(uint64_t incarnation) { return incarnation & ~uint64_t{0xFF}; }

struct Membership {
  uint64_t incarnation = 0;   // of the server
  uint16_t slots = 0;         // requests that it wants at a time; 0: as the router says
  uint16_t weight = 1;        // 1 or more
  uint32_t keepalive_us = 0;  // it will be heard of so often
  Address address;            // where it takes requests; the port of kNone is the sender's own
};
inline constexpr size_t kMembershipBytesMax = 20 + 64;
// Returns the bytes written. `out` has kMembershipBytesMax.
size_t WriteMembership(const Membership& membership, uint8_t* out);
bool ReadMembership(absl::Span<const uint8_t> body, Membership* membership);

// The body of JOIN_ACK and LEAVE_ACK. The code of their header says why a server is refused;
// DropReason::kNone: it is not.
struct MembershipAck {
  uint64_t incarnation = 0;   // of the router
  uint64_t server = 0;        // that of the JOIN or LEAVE
  uint32_t outstanding = 0;   // requests at the server that the router waits for
  uint32_t keepalive_us = 0;  // agreed: the shorter one of both
};
inline constexpr size_t kMembershipAckBytes = 24;
void WriteMembershipAck(const MembershipAck& ack, uint8_t* out);  // kMembershipAckBytes
bool ReadMembershipAck(absl::Span<const uint8_t> body, MembershipAck* ack);

// A router asks a server of which it is not sure by PING for no session. Its body leaves room for
// the answer, so that this is no longer than the question: RESET, whose body is the incarnation
// that the server says in its JOIN. Servers that know of no routers answer without it.
inline constexpr size_t kIncarnationBytes = 8;
inline void WriteIncarnation(uint64_t incarnation, uint8_t* out) { StoreBig64(out, incarnation); }
// 0: it does not say.
inline uint64_t ReadIncarnation(absl::Span<const uint8_t> body) {
  return body.size() >= kIncarnationBytes ? LoadBig64(body.data()) : 0;
}

}  // namespace weft::r2p2

#endif  // WEFT_R2P2_ROUTE_WIRE_H_
