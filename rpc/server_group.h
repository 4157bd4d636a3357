// SPDX-License-Identifier: Apache-2.0
//
// Servers of one process that take requests at the same address: workers, whom routers see as one
// server, and of whom any may be handed what a router answers to another. Not for users.
#ifndef WEFT_RPC_SERVER_GROUP_H_
#define WEFT_RPC_SERVER_GROUP_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "weft/r2p2/route_wire.h"
#include "weft/rpc/wire.h"
#include "weft/transports/address.h"

namespace weft::rpc {

// Thread-safe. Its lock is taken a few times each keepalive.
class ServerGroup {
 public:
  // That of `address`; a new one, which is another server to routers, if none is left. `seed` makes
  // a new one's incarnation foreseeable.
  static std::shared_ptr<ServerGroup> Of(const Address& address, std::optional<uint64_t> seed);

  explicit ServerGroup(uint64_t incarnation) : incarnation_(incarnation & ~uint64_t{0xFF}) {}

  uint64_t incarnation() const { return incarnation_; }
  // The same with the number of one more of its members, from 0, in the low 8 bits: each numbers
  // its FEEDBACK for itself.
  uint64_t Join();
  // Whether a router means this group by the incarnation that it says.
  bool IsMe(uint64_t incarnation) const { return incarnation >> 8 == incarnation_ >> 8; }
  // The key of packets to a router, which it sends back.
  uint32_t NonceFor(const Address& router) const;

  // What a router has said last.
  struct Answer {
    int64_t at_ns = INT64_MIN / 2;
    ControlKind kind = ControlKind::kNone;
    DropReason code = DropReason::kNone;
    MembershipAck ack;
  };
  void Note(const Address& router, const Answer& answer);
  Answer Last(const Address& router) const;

 private:
  const uint64_t incarnation_;
  mutable std::mutex mutex_;  // guards the rest
  uint8_t members_ = 0;
  absl::flat_hash_map<Address, Answer> answers_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_GROUP_H_
