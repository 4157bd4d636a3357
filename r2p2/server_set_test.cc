// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/server_set.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::r2p2 {
namespace {

using Order = ServerSet::Order;

TEST(ServerSetTest, RefusesMoreThanTheLimitAndTakesOthersAfterRemoval) {
  ServerSet servers(2);
  const ServerIndex a = servers.Add(1, 2, 1);
  const ServerIndex b = servers.Add(2, 2, 1);
  EXPECT_NE(a, b);
  EXPECT_EQ(servers.Add(3, 2, 1), kNoServerIndex);
  servers.Remove(a);
  EXPECT_EQ(servers.size(), 1u);
  const ServerIndex c = servers.Add(3, 2, 1);
  ASSERT_NE(c, kNoServerIndex);
  EXPECT_EQ(servers.name(c), 3u);
  EXPECT_EQ(servers.outstanding(c), 0u);
}

TEST(ServerSetTest, NeverHasMoreThanItsLimit) {
  EXPECT_EQ(ServerSet(1 << 20).servers_max(), ServerSet::kServersLimit);
}

TEST(ServerSetTest, CountsWhatServersHave) {
  ServerSet servers(4);
  const ServerIndex a = servers.Add(1, 2, 1);
  const ServerIndex b = servers.Add(2, 2, 1);
  servers.Take(a);
  servers.Take(a);
  servers.Take(a);
  servers.Take(b);
  EXPECT_EQ(servers.outstanding(a), 3u);
  EXPECT_EQ(servers.free_slots(a), 0u);
  EXPECT_EQ(servers.free_slots(b), 1u);
  EXPECT_EQ(servers.outstanding(), 4u);
  servers.ReturnAll(a);
  EXPECT_EQ(servers.outstanding(), 1u);
  servers.Return(a);  // one too many
  EXPECT_EQ(servers.outstanding(a), 0u);
  EXPECT_EQ(servers.outstanding(), 1u);
  servers.Remove(b);
  EXPECT_EQ(servers.outstanding(), 0u);
}

TEST(ServerSetTest, GenerationTellsWhatChanges) {
  ServerSet servers(4);
  const ServerIndex a = servers.Add(1, 2, 1);
  uint64_t generation = servers.generation();
  const auto changed = [&] {
    return std::exchange(generation, servers.generation()) != generation;
  };
  servers.Take(a);
  servers.Return(a);
  servers.SetSlots(a, 5);
  servers.SetAvailable(a, true);
  servers.SetWeight(a, 1);
  EXPECT_FALSE(changed());
  servers.SetWeight(a, 2);
  EXPECT_TRUE(changed());
  const uint64_t members = servers.members_generation();
  servers.SetAvailable(a, false);
  EXPECT_TRUE(changed());
  EXPECT_EQ(servers.members_generation(), members);
  servers.Remove(a);
  EXPECT_TRUE(changed());
  EXPECT_NE(servers.members_generation(), members);
}

TEST(ServerSetTest, FirstAvailableIsTheFirstThatWasAdded) {
  ServerSet servers(4);
  EXPECT_EQ(servers.FirstAvailable(), kNoServerIndex);
  const ServerIndex a = servers.Add(1, 2, 1);
  const ServerIndex b = servers.Add(2, 2, 1);
  EXPECT_EQ(servers.FirstAvailable(), a);
  servers.SetAvailable(a, false);
  EXPECT_EQ(servers.FirstAvailable(), b);
  servers.SetAvailable(a, true);
  EXPECT_EQ(servers.FirstAvailable(), a);
}

TEST(ServerSetTest, IdleServersComeBeforeThoseWithMoreFreeSlots) {
  ServerSet servers(4);
  const ServerIndex large = servers.Add(1, 100, 1);
  const ServerIndex small = servers.Add(2, 1, 1);
  servers.OrderBy(Order::kIdleThenMostFree, 1);
  servers.Take(large);
  EXPECT_EQ(servers.First(), small);
  servers.Take(small);
  EXPECT_EQ(servers.First(), large);
}

// Against the plain definition, through random changes of all kinds.
TEST(ServerSetTest, TheFirstIsOneThatNoOtherComesBefore) {
  for (const Order order : {Order::kFewestOutstanding, Order::kIdleThenMostFree}) {
    Prng random(7);
    ServerSet servers(50);
    servers.OrderBy(order, 3);
    std::vector<ServerIndex> present;
    // Less is better; -1: may not be picked.
    const auto rank = [&](ServerIndex s) -> int64_t {
      if (!servers.is_available(s)) return -1;
      if (order == Order::kFewestOutstanding) return servers.outstanding(s);
      if (servers.free_slots(s) == 0) return -1;
      return servers.outstanding(s) == 0 ? 0 : 100'000 - int64_t{servers.free_slots(s)};
    };
    for (int step = 0; step < 50'000; ++step) {
      const uint64_t what = random.Below(100);
      if (present.empty() || what == 0) {
        const ServerIndex added =
            servers.Add(random.Next(), static_cast<uint32_t>(random.Below(6)), 1);
        if (added != kNoServerIndex) present.push_back(added);
      } else {
        const size_t at = random.Below(present.size());
        const ServerIndex s = present[at];
        if (what == 1) {
          servers.Remove(s);
          present.erase(present.begin() + static_cast<ptrdiff_t>(at));
        } else if (what < 5) {
          servers.SetAvailable(s, random.Chance(0.7));
        } else if (what < 8) {
          servers.SetSlots(s, static_cast<uint32_t>(random.Below(8)));
        } else if (what < 10) {
          servers.ReturnAll(s);
        } else if (what < 50) {
          servers.Return(s);
        } else {
          const ServerIndex first = servers.First();
          if (first != kNoServerIndex) servers.Take(first);
        }
      }
      int64_t best = -1;
      for (const ServerIndex s : present) {
        if (rank(s) >= 0 && (best < 0 || rank(s) < best)) best = rank(s);
      }
      const ServerIndex first = servers.First();
      ASSERT_EQ(first == kNoServerIndex ? -1 : rank(first), best) << "step " << step;
    }
  }
}

TEST(ServerSetTest, ManySlotsAndRequestsKeepTheOrder) {
  ServerSet servers(2);
  const ServerIndex a = servers.Add(1, 65535, 1);
  const ServerIndex b = servers.Add(2, 3000, 1);
  servers.OrderBy(Order::kIdleThenMostFree, 1);
  servers.Take(a);
  servers.Take(b);
  EXPECT_EQ(servers.First(), a);
  while (servers.free_slots(a) > 1000) servers.Take(a);
  EXPECT_EQ(servers.First(), b);
  servers.OrderBy(Order::kFewestOutstanding, 1);
  EXPECT_EQ(servers.First(), b);
}

TEST(ServerSetTest, EqualServersTakeTurnsFromDifferentBeginnings) {
  std::map<ServerIndex, int> firsts;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    ServerSet servers(8);
    for (uint64_t name = 0; name < 8; ++name) servers.Add(name, 2, 1);
    servers.OrderBy(Order::kIdleThenMostFree, seed);
    ++firsts[servers.First()];
    std::map<ServerIndex, int> picks;
    for (int i = 0; i < 80; ++i) {
      const ServerIndex first = servers.First();
      servers.Take(first);
      servers.Return(first);
      ++picks[first];
    }
    for (const auto& [server, count] : picks) EXPECT_EQ(count, 10);
  }
  EXPECT_EQ(firsts.size(), 8u);
  for (const auto& [server, count] : firsts) EXPECT_GT(count, 25);
}

}  // namespace
}  // namespace weft::r2p2
