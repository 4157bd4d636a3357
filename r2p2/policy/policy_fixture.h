// SPDX-License-Identifier: Apache-2.0
//
// What tests of policies share.
#ifndef WEFT_R2P2_POLICY_POLICY_FIXTURE_H_
#define WEFT_R2P2_POLICY_POLICY_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/r2p2/server_set.h"

namespace weft::r2p2 {

class PolicyFixture : public ::testing::Test {
 protected:
  explicit PolicyFixture(absl::string_view policy) : policy_(MakePolicy(policy, 1).value()) {}

  ServerIndex Add(uint32_t slots = 2, uint32_t weight = 1) {
    return servers_.Add(names_.Next(), slots, weight);
  }
  std::vector<ServerIndex> AddMany(size_t count, uint32_t slots) {
    std::vector<ServerIndex> added;
    for (size_t i = 0; i < count; ++i) added.push_back(Add(slots));
    return added;
  }
  // A burst of requests without keys.
  std::vector<ServerIndex> Pick(size_t count) { return PickFor(std::vector<uint64_t>(count)); }
  std::vector<ServerIndex> PickFor(const std::vector<uint64_t>& affinities) {
    std::vector<ServerIndex> picked(affinities.size(), kNoServerIndex);
    picked.resize(policy_->Pick(affinities, servers_, absl::MakeSpan(picked)));
    return picked;
  }
  // How often each server is picked in `count` requests, of which each is done at once.
  std::vector<size_t> Shares(size_t count) {
    std::vector<size_t> shares(servers_.servers_max());
    for (size_t i = 0; i < count; ++i) {
      for (const ServerIndex server : Pick(1)) {
        ++shares[server];
        servers_.Return(server);
      }
    }
    return shares;
  }

  Prng names_{99};
  ServerSet servers_{1024};
  std::unique_ptr<BalancingPolicy> policy_;
};

}  // namespace weft::r2p2

#endif  // WEFT_R2P2_POLICY_POLICY_FIXTURE_H_
