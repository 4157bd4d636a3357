// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/fixed_hash_map.h"

#include <map>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/prng.h"

namespace weft::netstack {
namespace {

TEST(FixedHashMapTest, HoldsAsManyAsItsCapacity) {
  for (const size_t capacity : {1u, 3u, 8u, 100u}) {
    FixedHashMap<uint64_t, int> map(capacity);
    EXPECT_EQ(map.capacity(), capacity);
    for (uint64_t i = 0; i < capacity; ++i) {
      int* const value = map.Insert(i);
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, 0);
      *value = static_cast<int>(i) + 1;
    }
    EXPECT_EQ(map.Insert(capacity), nullptr);
    EXPECT_EQ(map.Find(capacity), nullptr);
    map.Erase(capacity);
    EXPECT_EQ(map.size(), capacity);
    for (uint64_t i = 0; i < capacity; ++i) EXPECT_EQ(*map.Find(i), static_cast<int>(i) + 1);
    map.Erase(0);
    int* const again = map.Insert(capacity);
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(*again, 0) << "of a value that was erased";
  }
}

TEST(FixedHashMapTest, AsStdMapInAnyOrderOfCallsWithoutAllocationOrMoving) {
  FixedHashMap<uint64_t, uint64_t> map(32);
  std::map<uint64_t, uint64_t> model;
  std::map<uint64_t, uint64_t*> places;
  Prng prng(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t key = prng.Below(48);
    const int64_t before = AllocationsOfThisThread();
    uint64_t* value = map.Find(key);
    const bool there = value != nullptr;
    if (prng.Chance(0.5)) {
      map.Erase(key);
      value = nullptr;
    } else if (!there) {
      value = map.Insert(key);
      if (value != nullptr) *value = static_cast<uint64_t>(i);
    }
    ASSERT_EQ(AllocationsOfThisThread(), before);

    ASSERT_EQ(there, model.count(key) == 1) << i;
    if (there && value != nullptr) {
      ASSERT_EQ(*value, model[key]);
      ASSERT_EQ(value, places[key]);
    } else if (value != nullptr) {
      model[key] = *value;
      places[key] = value;
    } else if (there) {
      model.erase(key);
    }
    ASSERT_EQ(map.size(), model.size());
  }
}

}  // namespace
}  // namespace weft::netstack
