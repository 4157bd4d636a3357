// SPDX-License-Identifier: Apache-2.0
//
// How the server of each request is chosen: in routers, and in clients that choose themselves.
//
//   absl::StatusOr<std::unique_ptr<BalancingPolicy>> policy = MakePolicy("jbsq", seed);
//   const size_t picked = (*policy)->Pick(affinities, servers, absl::MakeSpan(chosen));
//   // chosen[0] to chosen[picked - 1]; the other requests have to wait.
//
//   "random"        any, with equal probability
//   "round_robin"   one after the other
//   "jsq"           the one with fewest requests (join the shortest queue)
//   "jbsq"          one that has none; else the one with most free slots; else none: the request
//                   waits (join bounded shortest queue, Kogias et al., "R2P2: Making RPCs
//                   first-class datacenter citizens", USENIX ATC 2019)
//   "power_of_two"  of two different ones at random the one with fewer requests (Mitzenmacher, "The
//                   Power of Two Choices in Randomized Load Balancing", IEEE TPDS 2001)
//   "weighted"      at random, in proportion to weights
//   "affinity"      the same one for the same key: affinity_policy.cc
//
// A policy is a file that registers itself, and a test:
//
//   class LuckyPolicy : public BalancingPolicy { ... };
//   using Made = std::unique_ptr<BalancingPolicy>;
//   const PolicyRegistrar registrar("lucky", [](uint64_t seed) -> Made {
//     return std::make_unique<LuckyPolicy>(seed);
//   });
#ifndef WEFT_R2P2_POLICY_POLICY_H_
#define WEFT_R2P2_POLICY_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/r2p2/server_set.h"

namespace weft::r2p2 {

// For one set of servers, and its thread. Policy, in wire.h, is what a client writes into packets.
class BalancingPolicy {
 public:
  virtual ~BalancingPolicy() = default;

  virtual absl::string_view name() const = 0;

  // Whether it respects slots, so that requests may have to wait though servers are available.
  virtual bool bounded() const = 0;

  // For each of `affinities` in order picks a server, Take()s it and writes it to `picked`, which
  // is at least as long; ends at the first request that has to wait, or when no server is
  // available. Returns how many it picked. An affinity is the key of a request by which "affinity"
  // chooses. Allocates only when the set has changed.
  virtual size_t Pick(absl::Span<const uint64_t> affinities, ServerSet& servers,
                      absl::Span<ServerIndex> picked) = 0;
};

using PolicyFactory = std::unique_ptr<BalancingPolicy> (*)(uint64_t seed);

// Registers before main(). Two policies of one name end the program with a message: a mistake of
// the build. `name` lives as long as the program.
class PolicyRegistrar {
 public:
  PolicyRegistrar(absl::string_view name, PolicyFactory factory);
};

// `seed` is all that makes its random choices: those who choose among the same servers have
// different ones. InvalidArgument for an unknown name, with those that there are.
absl::StatusOr<std::unique_ptr<BalancingPolicy>> MakePolicy(absl::string_view name, uint64_t seed);

// Of all policies, in alphabetical order.
std::vector<absl::string_view> PolicyNames();

}  // namespace weft::r2p2

#endif  // WEFT_R2P2_POLICY_POLICY_H_
