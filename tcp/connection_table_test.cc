// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/connection_table.h"

#include <set>
#include <unordered_map>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::tcp {
namespace {

Flow FlowOf(uint32_t n) {
  return {netstack::IpAddress::V4(0x0a000001), netstack::IpAddress::V4(0x0a000000 + n / 60000), 80,
          static_cast<uint16_t>(n % 60000)};
}

TEST(ConnectionTableTest, FindsWhatWasInserted) {
  ConnectionTable table;
  EXPECT_EQ(table.Find(7, [](uint32_t) { return true; }), ConnectionTable::kNone);
  table.Insert(7, 0);
  table.Insert(7, 1);
  EXPECT_EQ(table.Find(7, [](uint32_t index) { return index == 1; }), 1u);
  EXPECT_EQ(table.Find(7, [](uint32_t index) { return index == 0; }), 0u);
  table.Erase(7, 0);
  EXPECT_EQ(table.Find(7, [](uint32_t index) { return index == 0; }), ConnectionTable::kNone);
  EXPECT_EQ(table.Find(7, [](uint32_t index) { return index == 1; }), 1u);
  EXPECT_EQ(table.size(), 1u);
}

TEST(ConnectionTableTest, AgreesWithAMapOverManyChanges) {
  ConnectionTable table;
  std::unordered_map<uint32_t, uint32_t> hashes;  // by index
  Prng random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto index = static_cast<uint32_t>(random.Below(20'000));
    const auto found = hashes.find(index);
    if (found == hashes.end()) {
      // Few bits, so that entries collide.
      const auto hash = static_cast<uint32_t>(random.Below(i % 2 == 0 ? 1u << 12 : UINT32_MAX));
      table.Insert(hash, index);
      hashes[index] = hash;
    } else if (random.Chance(0.4)) {
      table.Erase(found->second, index);
      hashes.erase(found);
    } else {
      ASSERT_EQ(table.Find(found->second, [&](uint32_t other) { return other == index; }), index);
    }
    ASSERT_EQ(table.size(), hashes.size());
  }
  for (const auto& [index, hash] : hashes) {
    EXPECT_EQ(table.Find(hash, [index = index](uint32_t other) { return other == index; }), index);
  }
}

TEST(ConnectionTableTest, MemoryIsInProportion) {
  ConnectionTable table;
  std::vector<uint32_t> hashes;
  for (uint32_t n = 0; n < 100'000; ++n) hashes.push_back(HashOf(FlowOf(n), 42));
  for (uint32_t n = 0; n < hashes.size(); ++n) table.Insert(hashes[n], n);
  EXPECT_LE(table.memory_bytes(), 100'000u * 8 * 5);
  for (uint32_t n = 0; n < hashes.size(); ++n) table.Erase(hashes[n], n);
  EXPECT_EQ(table.size(), 0u);
}

TEST(ConnectionTableTest, SecretChangesTheOrder) {
  // Flows that differ in one bit spread, and do so differently for another secret.
  std::set<uint32_t> places;
  size_t same = 0;
  for (uint32_t n = 0; n < 4096; ++n) {
    const uint32_t hash = HashOf(FlowOf(n), 1);
    places.insert(hash & 0xffff);
    same += (hash & 0xff) == (HashOf(FlowOf(n), 2) & 0xff);
  }
  EXPECT_GT(places.size(), 3800u);  // 3969 of 4096 are expected
  EXPECT_LT(same, 64u);
}

}  // namespace
}  // namespace weft::tcp
