// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <numeric>

#include "weft/r2p2/policy/policy_fixture.h"

namespace weft::r2p2 {
namespace {

constexpr size_t kKeys = 20'000;
constexpr size_t kServers = 20;

class AffinityPolicyTest : public PolicyFixture {
 protected:
  AffinityPolicyTest() : PolicyFixture("affinity"), keys_(kKeys) {
    std::iota(keys_.begin(), keys_.end(), 0);
  }
  // The name of each key's server.
  std::vector<uint64_t> Names() {
    std::vector<uint64_t> names;
    for (const ServerIndex server : PickFor(keys_)) names.push_back(servers_.name(server));
    return names;
  }

  std::vector<uint64_t> keys_;
};

TEST_F(AffinityPolicyTest, AKeyHasItsServer) {
  AddMany(kServers, 2);
  const std::vector<uint64_t> names = Names();
  EXPECT_EQ(Names(), names);
}

TEST_F(AffinityPolicyTest, KeysAreSpreadEvenly) {
  AddMany(kServers, 2);
  std::map<uint64_t, size_t> counts;
  for (const uint64_t name : Names()) ++counts[name];
  EXPECT_EQ(counts.size(), kServers);
  for (const auto& [name, count] : counts) EXPECT_NEAR(count, kKeys / kServers, 400);
}

TEST_F(AffinityPolicyTest, AServerThatComesTakesItsPartAndNoOtherKeyMoves) {
  AddMany(kServers, 2);
  const std::vector<uint64_t> before = Names();
  const uint64_t added = servers_.name(Add());
  const std::vector<uint64_t> after = Names();
  size_t moved = 0;
  for (size_t i = 0; i < kKeys; ++i) {
    if (after[i] == before[i]) continue;
    ++moved;
    ASSERT_EQ(after[i], added);
  }
  EXPECT_NEAR(moved, kKeys / (kServers + 1), 400);
}

TEST_F(AffinityPolicyTest, OnlyTheKeysOfAServerThatGoesMoveAndComeBackWithIt) {
  const std::vector<ServerIndex> added = AddMany(kServers, 2);
  const std::vector<uint64_t> before = Names();
  const uint64_t gone = servers_.name(added[3]);
  servers_.SetAvailable(added[3], false);
  const std::vector<uint64_t> down = Names();
  std::map<uint64_t, size_t> heirs;
  for (size_t i = 0; i < kKeys; ++i) {
    if (before[i] == gone) {
      ++heirs[down[i]];
    } else {
      ASSERT_EQ(down[i], before[i]);
    }
  }
  EXPECT_EQ(heirs.count(gone), 0u);
  EXPECT_GT(heirs.size(), kServers / 2);  // not all to one
  servers_.Remove(added[3]);
  EXPECT_EQ(Names(), down);
  servers_.Add(gone, 2, 1);
  EXPECT_EQ(Names(), before);
}

// Routers that have learned of their servers in different ways send a key to the same one.
TEST_F(AffinityPolicyTest, TheOrderInWhichServersCameDoesNotMatter) {
  const std::vector<ServerIndex> added = AddMany(kServers, 2);
  const std::vector<uint64_t> names = Names();
  ServerSet others(64);
  const ServerIndex first = others.Add(12345, 1, 1);
  for (size_t i = added.size(); i > 0; --i) others.Add(servers_.name(added[i - 1]), 2, 1);
  others.Remove(first);
  std::vector<ServerIndex> picked(kKeys);
  ASSERT_EQ((*MakePolicy("affinity", 77))->Pick(keys_, others, absl::MakeSpan(picked)), kKeys);
  for (size_t i = 0; i < kKeys; ++i) ASSERT_EQ(others.name(picked[i]), names[i]);
}

}  // namespace
}  // namespace weft::r2p2
