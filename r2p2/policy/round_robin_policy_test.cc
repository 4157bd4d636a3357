// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

class RoundRobinPolicyTest : public PolicyFixture {
 protected:
  RoundRobinPolicyTest() : PolicyFixture("round_robin") {}
};

TEST_F(RoundRobinPolicyTest, EachServerOnceInEveryRound) {
  const std::vector<ServerIndex> added = AddMany(7, 2);
  const std::vector<size_t> shares = Shares(700);
  for (const ServerIndex server : added) EXPECT_EQ(shares[server], 100u);
  // Bursts go on where the last one ended.
  std::vector<size_t> bursts(7);
  for (int i = 0; i < 7; ++i) {
    for (const ServerIndex server : Pick(3)) ++bursts[server];
  }
  EXPECT_EQ(bursts, std::vector<size_t>(7, 3));
}

TEST_F(RoundRobinPolicyTest, NotAllBeginAtTheSame) {
  AddMany(100, 2);
  ServerIndex begins[2];
  for (uint64_t seed = 0; seed < 2; ++seed) {
    const uint64_t key = 0;
    (*MakePolicy("round_robin", seed + 5))
        ->Pick({&key, 1}, servers_, absl::MakeSpan(&begins[seed], 1));
  }
  EXPECT_NE(begins[0], begins[1]);
}

}  // namespace
}  // namespace weft::r2p2
