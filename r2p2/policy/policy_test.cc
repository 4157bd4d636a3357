// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/policy/policy.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace weft::r2p2 {
namespace {

TEST(PolicyTest, ThereAreThese) {
  const std::vector<absl::string_view> names = PolicyNames();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  for (const absl::string_view name :
       {"affinity", "jbsq", "jsq", "power_of_two", "random", "round_robin", "weighted"}) {
    EXPECT_TRUE(std::ranges::count(names, name) == 1) << name;
  }
  for (const absl::string_view name : names) EXPECT_EQ((*MakePolicy(name, 1))->name(), name);
}

TEST(PolicyTest, AnUnknownNameIsToldWhichThereAre) {
  const absl::Status status = MakePolicy("jbqs", 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "'jbqs'"));
  for (const absl::string_view name : PolicyNames()) {
    EXPECT_TRUE(absl::StrContains(status.message(), name)) << name;
  }
}

TEST(PolicyTest, JbsqMakesRequestsWait) {
  EXPECT_TRUE((*MakePolicy("jbsq", 1))->bounded());
  for (const absl::string_view name : {"affinity", "jsq", "power_of_two", "random"}) {
    EXPECT_FALSE((*MakePolicy(name, 1))->bounded()) << name;
  }
}

// What holds for each of them.
class EveryPolicyTest : public ::testing::TestWithParam<absl::string_view> {
 protected:
  size_t Pick(ServerSet& servers, size_t count) {
    const std::vector<uint64_t> affinities(count, 7);
    picked_.assign(count, kNoServerIndex);
    return policy_->Pick(affinities, servers, absl::MakeSpan(picked_));
  }
  const std::unique_ptr<BalancingPolicy> policy_ = MakePolicy(GetParam(), 1).value();
  std::vector<ServerIndex> picked_;
};

TEST_P(EveryPolicyTest, PicksNobodyWhereThereIsNobody) {
  ServerSet servers(4);
  EXPECT_EQ(Pick(servers, 3), 0u);
  const ServerIndex only = servers.Add(1, 2, 1);
  EXPECT_EQ(Pick(servers, 1), 1u);
  EXPECT_EQ(picked_[0], only);
  servers.SetAvailable(only, false);
  EXPECT_EQ(Pick(servers, 1), 0u);
  servers.SetAvailable(only, true);
  EXPECT_EQ(Pick(servers, 1), 1u);
  servers.Remove(only);
  EXPECT_EQ(Pick(servers, 1), 0u);
}

TEST_P(EveryPolicyTest, PicksOnlyAvailableServersAndTakesThem) {
  ServerSet servers(16);
  for (uint64_t name = 1; name <= 16; ++name) servers.Add(name * 0x9e3779b97f4a7c15, 1000, 1);
  for (ServerIndex down = 0; down < 16; down += 2) servers.SetAvailable(down, false);
  ASSERT_EQ(Pick(servers, 100), 100u);
  for (const ServerIndex server : picked_) EXPECT_EQ(server % 2, 1u);
  EXPECT_EQ(servers.outstanding(), 100u);
}

TEST_P(EveryPolicyTest, FollowsChangesOfTheSet) {
  ServerSet servers(64);
  std::vector<ServerIndex> members;
  for (uint64_t round = 0; round < 200; ++round) {
    if (members.size() > 40) {
      servers.Remove(members[round % members.size()]);
      members.erase(members.begin() + static_cast<ptrdiff_t>(round % members.size()));
    }
    members.push_back(servers.Add(round * 0x9e3779b97f4a7c15, 2, 1 + round % 5));
    const size_t picked = Pick(servers, 10);
    ASSERT_GT(picked, 0u);
    for (size_t i = 0; i < picked; ++i) {
      ASSERT_TRUE(servers.contains(picked_[i]));
      servers.Return(picked_[i]);
    }
  }
}

TEST_P(EveryPolicyTest, ManyServers) {
  ServerSet servers(ServerSet::kServersLimit);
  for (uint64_t name = 0; name < ServerSet::kServersLimit; ++name) servers.Add(name, 2, 1);
  ASSERT_EQ(Pick(servers, 1000), 1000u);
}

INSTANTIATE_TEST_SUITE_P(Policies, EveryPolicyTest, ::testing::ValuesIn(PolicyNames()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace weft::r2p2
