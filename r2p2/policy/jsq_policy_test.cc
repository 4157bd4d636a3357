// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

class JsqPolicyTest : public PolicyFixture {
 protected:
  JsqPolicyTest() : PolicyFixture("jsq") {}
};

TEST_F(JsqPolicyTest, FillsUpFromTheEmptiest) {
  const std::vector<ServerIndex> added = AddMany(3, 2);
  for (int i = 0; i < 5; ++i) servers_.Take(added[0]);
  for (int i = 0; i < 2; ++i) servers_.Take(added[1]);
  Pick(8);
  for (const ServerIndex server : added) EXPECT_EQ(servers_.outstanding(server), 5u);
}

TEST_F(JsqPolicyTest, KnowsNoSlots) {
  AddMany(2, 1);
  EXPECT_EQ(Pick(100).size(), 100u);
}

TEST_F(JsqPolicyTest, EqualOnesTakeTurns) {
  const std::vector<ServerIndex> added = AddMany(10, 2);
  const std::vector<size_t> shares = Shares(1000);
  for (const ServerIndex server : added) EXPECT_EQ(shares[server], 100u);
}

TEST_F(JsqPolicyTest, TakesASetThatAnotherPolicyHasUsed) {
  const std::vector<ServerIndex> added = AddMany(4, 1);
  const std::vector<uint64_t> keys(4);
  std::vector<ServerIndex> picked(4);
  (*MakePolicy("jbsq", 1))->Pick(keys, servers_, absl::MakeSpan(picked));
  servers_.Return(added[2]);
  EXPECT_EQ(Pick(1).front(), added[2]);
}

}  // namespace
}  // namespace weft::r2p2
