// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

class WeightedPolicyTest : public PolicyFixture {
 protected:
  WeightedPolicyTest() : PolicyFixture("weighted") {}
};

TEST_F(WeightedPolicyTest, EachServerInProportionToItsWeight) {
  std::vector<std::pair<ServerIndex, uint32_t>> added;
  for (const uint32_t weight : {1, 2, 3, 4, 40}) added.emplace_back(Add(2, weight), weight);
  const std::vector<size_t> shares = Shares(500'000);
  for (const auto& [server, weight] : added) {
    EXPECT_NEAR(shares[server], weight * 10'000, 300 + weight * 50) << weight;
  }
}

TEST_F(WeightedPolicyTest, ExtremeWeights) {
  const ServerIndex light = Add(2, 1);
  const ServerIndex heavy = Add(2, 65535);
  const std::vector<size_t> shares = Shares(1'000'000);
  EXPECT_NEAR(shares[light], 15, 15);
  EXPECT_EQ(shares[light] + shares[heavy], 1'000'000u);
}

TEST_F(WeightedPolicyTest, WeightsAndAvailabilityMayChange) {
  const ServerIndex a = Add(2, 1);
  const ServerIndex b = Add(2, 1);
  const ServerIndex c = Add(2, 8);
  EXPECT_NEAR(Shares(10'000)[c], 8'000, 300);
  servers_.SetAvailable(c, false);
  EXPECT_NEAR(Shares(10'000)[a], 5'000, 300);
  servers_.SetWeight(b, 3);
  EXPECT_NEAR(Shares(10'000)[b], 7'500, 300);
}

}  // namespace
}  // namespace weft::r2p2
