// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

class JbsqPolicyTest : public PolicyFixture {
 protected:
  JbsqPolicyTest() : PolicyFixture("jbsq") {}
};

TEST_F(JbsqPolicyTest, NoServerHasMoreThanItsSlots) {
  const ServerIndex a = Add(1);
  const ServerIndex b = Add(3);
  EXPECT_EQ(Pick(10).size(), 4u);
  EXPECT_EQ(servers_.outstanding(a), 1u);
  EXPECT_EQ(servers_.outstanding(b), 3u);
  EXPECT_TRUE(Pick(1).empty());
  servers_.Return(a);
  EXPECT_EQ(Pick(2), std::vector<ServerIndex>{a});
}

TEST_F(JbsqPolicyTest, IdleServersFirstThenThoseWithMostFreeSlots) {
  const ServerIndex large = Add(5);
  const std::vector<ServerIndex> small = AddMany(2, 2);
  servers_.Take(large);
  servers_.Take(small[0]);
  // large has 4 free, small[0] 1, small[1] is idle.
  EXPECT_EQ(Pick(5), (std::vector<ServerIndex>{small[1], large, large, large, small[0]}));
}

TEST_F(JbsqPolicyTest, ServersBeyondTheirSlotsAreLeftAlone) {
  const ServerIndex a = Add(2);
  const ServerIndex b = Add(2);
  for (int i = 0; i < 5; ++i) servers_.Take(a);  // by requests that had to go to it
  EXPECT_EQ(Pick(9), (std::vector<ServerIndex>{b, b}));
  for (int i = 0; i < 4; ++i) servers_.Return(a);
  EXPECT_EQ(Pick(9), std::vector<ServerIndex>{a});
}

TEST_F(JbsqPolicyTest, SlotsMayChangeMeanwhile) {
  const ServerIndex a = Add(2);
  EXPECT_EQ(Pick(9).size(), 2u);
  servers_.SetSlots(a, 4);
  EXPECT_EQ(Pick(9).size(), 2u);
  servers_.SetSlots(a, 1);
  for (int i = 0; i < 3; ++i) servers_.Return(a);
  EXPECT_TRUE(Pick(1).empty());
  servers_.Return(a);
  EXPECT_EQ(Pick(9).size(), 1u);
}

TEST_F(JbsqPolicyTest, EqualOnesTakeTurns) {
  const std::vector<ServerIndex> added = AddMany(10, 2);
  const std::vector<size_t> shares = Shares(1000);
  for (const ServerIndex server : added) EXPECT_EQ(shares[server], 100u);
}

}  // namespace
}  // namespace weft::r2p2
