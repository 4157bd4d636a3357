// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

class PowerOfTwoPolicyTest : public PolicyFixture {
 protected:
  PowerOfTwoPolicyTest() : PolicyFixture("power_of_two") {}
};

TEST_F(PowerOfTwoPolicyTest, TheBusiestIsNeverPicked) {
  const ServerIndex busy = Add();
  AddMany(4, 2);
  for (int i = 0; i < 1000; ++i) servers_.Take(busy);
  EXPECT_EQ(Shares(10'000)[busy], 0u);
}

TEST_F(PowerOfTwoPolicyTest, EqualOnesAsOftenAsEachOther) {
  const std::vector<ServerIndex> added = AddMany(10, 2);
  const std::vector<size_t> shares = Shares(100'000);
  for (const ServerIndex server : added) EXPECT_NEAR(shares[server], 10'000, 500);
}

// The point of the second choice: the longest queue grows with log log n instead of log n.
TEST_F(PowerOfTwoPolicyTest, KeepsQueuesFarMoreEvenThanOneChoice) {
  AddMany(1000, 2);
  Pick(1000);
  uint32_t longest = 0;
  for (const ServerIndex server : servers_.available()) {
    longest = std::max(longest, servers_.outstanding(server));
  }
  EXPECT_LE(longest, 4u);  // at random: 5 to 7
}

}  // namespace
}  // namespace weft::r2p2
