// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/seq.h"

#include "gtest/gtest.h"

namespace weft::tcp {
namespace {

TEST(SeqTest, OrderHoldsAroundTheEndOfTheNumbers) {
  for (const uint32_t start : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xffffffffu}) {
    const Seq seq(start);
    for (const uint32_t n : {1u, 2u, 100u, 0x10000u, 0x7fffffffu}) {
      const Seq later = seq + n;
      EXPECT_LT(seq, later);
      EXPECT_LE(seq, later);
      EXPECT_GT(later, seq);
      EXPECT_GE(later, seq);
      EXPECT_NE(seq, later);
      EXPECT_EQ(later - n, seq);
      EXPECT_EQ(later - seq, static_cast<int32_t>(n));
      EXPECT_EQ(seq - later, -static_cast<int32_t>(n));
      EXPECT_EQ(Max(seq, later), later);
      EXPECT_EQ(Max(later, seq), later);
      EXPECT_EQ(Min(seq, later), seq);
      EXPECT_EQ(Min(later, seq), seq);
    }
    EXPECT_LE(seq, seq);
    EXPECT_GE(seq, seq);
    EXPECT_FALSE(seq < seq);
  }
}

TEST(SeqTest, AddsAndSubtractsInPlace) {
  Seq seq(0xfffffffe);
  seq += 5;
  EXPECT_EQ(seq, Seq(3));
  seq -= 4;
  EXPECT_EQ(seq.value(), 0xffffffffu);
}

TEST(SeqTest, RangesHaveTheirFirstNumberAndNotTheirEnd) {
  const Seq begin(0xfffffff8);
  const Seq end = begin + 16;
  EXPECT_TRUE(InRange(begin, begin, end));
  EXPECT_TRUE(InRange(begin + 15, begin, end));
  EXPECT_FALSE(InRange(end, begin, end));
  EXPECT_FALSE(InRange(begin - 1, begin, end));
  EXPECT_FALSE(InRange(begin, begin, begin));
  EXPECT_TRUE(InRange(begin + 0x90000000, begin, begin - 1));
}

TEST(SeqTest, RangesCount) {
  const SeqRange range = {Seq(0xffffffff), Seq(4)};
  EXPECT_EQ(range.bytes(), 5u);
  EXPECT_FALSE(range.empty());
  EXPECT_TRUE((SeqRange{Seq(7), Seq(7)}).empty());
}

}  // namespace
}  // namespace weft::tcp
