// SPDX-License-Identifier: Apache-2.0

#include "weft/core/prng.h"

#include <array>
#include <cstdint>

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(PrngTest, SequenceOfASeedNeverChanges) {
  // As a second implementation of the two papers, in another language, gives for the seed 42.
  Prng prng(42);
  for (uint64_t expected : {uint64_t{0x15780b2e0c2ec716}, uint64_t{0x6104d9866d113a7e},
                            uint64_t{0xae17533239e499a1}, uint64_t{0xecb8ad4703b360a1}})
    EXPECT_EQ(prng.Next(), expected);
}

TEST(PrngTest, BelowIsUniformAndInRange) {
  Prng prng(7);
  std::array<int, 10> seen{};
  for (int i = 0; i < 100000; ++i) {
    const uint64_t value = prng.Below(seen.size());
    ASSERT_LT(value, seen.size());
    ++seen[value];
  }
  for (int count : seen) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(prng.Below(1), 0u);
  for (int i = 0; i < 1000; ++i)
    ASSERT_LT(prng.Below((uint64_t{1} << 63) + 1), (uint64_t{1} << 63) + 1);
}

TEST(PrngTest, ChanceHasItsProbability) {
  Prng prng(7);
  int hits = 0;
  for (int i = 0; i < 100000; ++i) {
    hits += prng.Chance(0.03);
    ASSERT_FALSE(prng.Chance(0));
    ASSERT_TRUE(prng.Chance(1));
  }
  EXPECT_NEAR(hits, 3000, 250);
}

}  // namespace
}  // namespace weft
