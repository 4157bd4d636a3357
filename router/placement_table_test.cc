// SPDX-License-Identifier: Apache-2.0
#include "weft/router/placement_table.h"

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::router {
namespace {

TEST(PlacementTableTest, FindsWhatWasInsertedUntilItIsErased) {
  PlacementTable table(4, 1);
  EXPECT_EQ(table.Find(7), nullptr);
  Placement* const placement = table.Insert(7);
  ASSERT_NE(placement, nullptr);
  EXPECT_EQ(table.Find(7), placement);
  EXPECT_EQ(&table[table.IndexOf(*placement)], placement);
  table.Erase(*placement);
  EXPECT_EQ(table.Find(7), nullptr);
  EXPECT_EQ(table.size(), 0u);
}

TEST(PlacementTableTest, RefusesOneMoreThanItsCapacity) {
  PlacementTable table(3, 1);
  for (uint64_t key = 0; key < 3; ++key) EXPECT_NE(table.Insert(key), nullptr);
  EXPECT_EQ(table.Insert(3), nullptr);
  table.Erase(*table.Find(1));
  EXPECT_NE(table.Insert(3), nullptr);
  EXPECT_EQ(table.Insert(4), nullptr);
}

TEST(PlacementTableTest, HoldsOneOnly) {
  PlacementTable table(1, 1);
  ASSERT_NE(table.Insert(0), nullptr);
  EXPECT_EQ(table.Insert(1), nullptr);
  EXPECT_NE(table.Find(0), nullptr);
}

// Against a model, through many fillings.
TEST(PlacementTableTest, BehavesAsAMap) {
  constexpr size_t kCapacity = 64;
  PlacementTable table(kCapacity, 2);
  std::unordered_map<uint64_t, uint64_t> model;
  Prng random(3);
  for (int step = 0; step < 100'000; ++step) {
    const uint64_t key = random.Below(200);
    Placement* const found = table.Find(key);
    ASSERT_EQ(found != nullptr, model.contains(key));
    if (found == nullptr) {
      Placement* const inserted = table.Insert(key);
      ASSERT_EQ(inserted != nullptr, model.size() < kCapacity);
      if (inserted != nullptr) inserted->request_id = model[key] = random.Next();
    } else {
      ASSERT_EQ(found->request_id, model[key]);
      if (random.Chance(0.5)) {
        table.Erase(*found);
        model.erase(key);
      }
    }
    ASSERT_EQ(table.size(), model.size());
  }
}

}  // namespace
}  // namespace weft::router
