// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

class RandomPolicyTest : public PolicyFixture {
 protected:
  RandomPolicyTest() : PolicyFixture("random") {}
};

TEST_F(RandomPolicyTest, EachServerAsOftenAsTheOthers) {
  const std::vector<ServerIndex> added = AddMany(10, 2);
  const std::vector<size_t> shares = Shares(100'000);
  for (const ServerIndex server : added) EXPECT_NEAR(shares[server], 10'000, 500);
}

TEST_F(RandomPolicyTest, DoesNotLookAtWhatServersHave) {
  const ServerIndex busy = Add();
  Add();
  for (int i = 0; i < 1000; ++i) servers_.Take(busy);
  EXPECT_NEAR(Shares(10'000)[busy], 5'000, 300);
}

}  // namespace
}  // namespace weft::r2p2
