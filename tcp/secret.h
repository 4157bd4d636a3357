// SPDX-License-Identifier: Apache-2.0
//
// Secret: the numbers of TCP that strangers must not guess, made of a secret and of what they are
// for: initial sequence numbers, ephemeral ports, offsets of timestamps, SYN cookies.
//
//   const Secret secret(world.secret);
//   Seq isn = secret.InitialSequence(flow, now_ns);
//
// A plain value; nothing in it changes, so any number of threads may use it.
#ifndef WEFT_TCP_SECRET_H_
#define WEFT_TCP_SECRET_H_

#include <cstdint>

#include "weft/core/siphash.h"
#include "weft/netstack/ip_address.h"
#include "weft/tcp/flow.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

class Secret {
 public:
  // What the hash is for: the same flow has another one for each.
  enum class Purpose : uint64_t {
    kSequence,
    kPort,
    kTimestamp,
    kCookie,
    kCookieOfMinute,
    kConnectionTable,
  };

  // `seed`: random, or fixed in a simulation. The workers of a program share one, so that a SYN
  // cookie that one of them has sent is known to the others.
  explicit Secret(uint64_t seed);

  // RFC 6528: a clock of 4 microseconds, from another start for each flow. A flow that is opened
  // again begins above where it was, and no flow says anything about another.
  Seq InitialSequence(const Flow& flow, int64_t now_ns) const;

  // RFC 6056, 3.3.3: where the search for a free port to this destination begins, to be added to a
  // counter that counts up with each port that is taken. `local_port` of the flow does not matter.
  uint32_t PortOffset(const Flow& flow) const;

  // RFC 7323, 5.4: what is added to the clock of timestamps. The same for all flows between two
  // addresses, so that timestamps grow from a flow to the next (RFC 6191 wants it).
  uint32_t TimestampOffset(const netstack::IpAddress& local,
                           const netstack::IpAddress& remote) const;

  // Of everything that a flow is, and of `more`.
  uint64_t Hash(Purpose purpose, const Flow& flow, uint64_t more = 0) const;

 private:
  SipHashKey key_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_SECRET_H_
