// SPDX-License-Identifier: Apache-2.0
#include "weft/router/feedback.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft::router {
namespace {

using News = FeedbackSources::News;

class FeedbackSourcesTest : public testing::Test {
 protected:
  News Accept(uint64_t first, size_t count, uint64_t incarnation = 7) {
    return sources_.Accept({.incarnation = incarnation, .first = first, .count = count}, ++now_ns_);
  }

  FeedbackSources sources_;
  int64_t now_ns_ = 0;
};

TEST_F(FeedbackSourcesTest, EntriesThatComeAgainAreSkipped) {
  EXPECT_EQ(Accept(0, 2).begin, 0u);
  EXPECT_EQ(Accept(0, 3).begin, 2u);
  EXPECT_EQ(Accept(0, 3).begin, 3u) << "nothing is new";
  EXPECT_EQ(Accept(1, 1).begin, 1u);
  const News news = Accept(3, 2);
  EXPECT_EQ(news.begin, 0u);
  EXPECT_EQ(news.missing, 0u);
}

TEST_F(FeedbackSourcesTest, AGapIsCounted) {
  Accept(0, 2);
  EXPECT_EQ(Accept(5, 2).missing, 3u);
  EXPECT_EQ(Accept(7, 2).missing, 0u);
  EXPECT_EQ(Accept(2, 3).begin, 3u) << "too late: the lease has them";
}

TEST_F(FeedbackSourcesTest, WhatWasSentBeforeTheRouterBeganIsNotMissing) {
  const News news = Accept(1'000'000, 5);
  EXPECT_EQ(news.begin, 0u);
  EXPECT_EQ(news.missing, 0u);
}

TEST_F(FeedbackSourcesTest, EachSourceCountsForItself) {
  EXPECT_EQ(Accept(0, 10, 1).begin, 0u);
  EXPECT_EQ(Accept(0, 10, 2).begin, 0u);
  EXPECT_EQ(Accept(0, 11, 1).begin, 10u);
  EXPECT_EQ(Accept(0, 12, 2).begin, 10u);
}

TEST_F(FeedbackSourcesTest, SourcesAreBounded) {
  for (uint64_t incarnation = 0; incarnation < 1000; ++incarnation) Accept(0, 1, incarnation);
  EXPECT_EQ(sources_.size(), FeedbackSources::kSourcesMax);
  EXPECT_EQ(Accept(0, 1, 999).begin, 1u) << "the latest are known";
}

TEST_F(FeedbackSourcesTest, AForgedNumberDoesNotSilenceTheServer) {
  Accept(0, 100);
  Accept(uint64_t{1} << 63, 1);
  EXPECT_EQ(Accept(100, 10).begin, 0u);
  EXPECT_EQ(Accept(100, 12).begin, 10u);
  Accept(UINT64_MAX - 3, 10);
  EXPECT_EQ(Accept(112, 10).begin + Accept(122, 10).begin, 0u);
}

// Any numbers: never more than there are.
TEST_F(FeedbackSourcesTest, BeginsWithinTheBatch) {
  Prng random(1);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t first = random.Chance(0.5) ? random.Next() : random.Below(200'000);
    const size_t count = 1 + random.Below(r2p2::kFeedbackEntriesMax);
    const News news = Accept(first, count, random.Below(3));
    ASSERT_LE(news.begin, count);
    ASSERT_LE(news.missing, FeedbackSources::kHorizon);
  }
}

}  // namespace
}  // namespace weft::router
