// SPDX-License-Identifier: Apache-2.0

#include "weft/core/histogram.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

// The nearest-rank percentile of sorted values, by definition.
int64_t ExactPercentile(const std::vector<int64_t>& sorted, double percent) {
  const auto rank =
      static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

TEST(HistogramBucketsTest, BucketsTileAllValuesAndAreNarrow) {
  int64_t next = 0;
  for (size_t i = 0; i < HistogramBuckets::kCount; ++i) {
    const int64_t low = HistogramBuckets::LowerBound(i);
    const int64_t width = HistogramBuckets::Width(i);
    ASSERT_EQ(low, next) << "bucket " << i;
    ASSERT_EQ(HistogramBuckets::IndexOf(low), i);
    ASSERT_EQ(HistogramBuckets::IndexOf(low + (width - 1)), i);
    if (width > 1) {
      ASSERT_LE(width, low / 64);
    }
    if (i + 1 < HistogramBuckets::kCount) next = low + width;
  }
  EXPECT_EQ(next + (HistogramBuckets::Width(HistogramBuckets::kCount - 1) - 1), kLargest);
}

TEST(HistogramTest, EmptyIsAllZero) {
  const HistogramSnapshot empty = Histogram().Snapshot();
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.sum(), 0u);
  EXPECT_EQ(empty.min(), 0);
  EXPECT_EQ(empty.max(), 0);
  EXPECT_EQ(empty.mean(), 0);
  EXPECT_EQ(empty.Percentile(50), 0);
  EXPECT_EQ(empty.Percentile(100), 0);
  EXPECT_EQ(empty.CountBelow(kLargest), 0u);
}

TEST(HistogramTest, SmallValuesAreExact) {
  Histogram histogram;
  for (int64_t v = 1; v <= 100; ++v) histogram.Record(v);
  const HistogramSnapshot seen = histogram.Snapshot();
  EXPECT_EQ(seen.count(), 100u);
  EXPECT_EQ(seen.sum(), 5050u);
  EXPECT_DOUBLE_EQ(seen.mean(), 50.5);
  EXPECT_EQ(seen.Percentile(0), 1);
  EXPECT_EQ(seen.Percentile(0.1), 1);
  EXPECT_EQ(seen.Percentile(50), 50);
  EXPECT_EQ(seen.Percentile(99), 99);
  EXPECT_EQ(seen.Percentile(99.5), 100);
  EXPECT_EQ(seen.Percentile(100), 100);
  EXPECT_EQ(seen.CountBelow(1), 0u);
  EXPECT_EQ(seen.CountBelow(64), 63u);
}

TEST(HistogramTest, PercentOutsideTheRangeMeansTheNearerEnd) {
  Histogram histogram;
  for (int64_t v : {5000, 7001, 9003}) histogram.Record(v);
  const HistogramSnapshot seen = histogram.Snapshot();
  EXPECT_EQ(seen.Percentile(-1), 5000);
  EXPECT_EQ(seen.Percentile(101), 9003);
  EXPECT_EQ(seen.Percentile(std::nan("")), 5000);
}

TEST(HistogramTest, ExtremeValuesAreCountedAndTheSumSaturates) {
  Histogram histogram;
  histogram.Record(-7);
  histogram.Record(std::numeric_limits<int64_t>::min());
  for (int i = 0; i < 3; ++i) histogram.Record(kLargest);
  const HistogramSnapshot seen = histogram.Snapshot();
  EXPECT_EQ(seen.count(), 5u);
  EXPECT_EQ(seen.min(), 0);
  EXPECT_EQ(seen.max(), kLargest);
  EXPECT_EQ(seen.sum(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(seen.CountBelow(1), 2u);
}

TEST(HistogramTest, PercentilesStayWithinTheErrorBound) {
  std::mt19937_64 random(1);
  for (double scale : {2.0, 8.0, 14.0, 30.0}) {
    std::lognormal_distribution<double> distribution(scale, 1.0);
    Histogram histogram;
    std::vector<int64_t> values;
    for (int i = 0; i < 20000; ++i) {
      values.push_back(static_cast<int64_t>(distribution(random)));
      histogram.Record(values.back());
    }
    std::sort(values.begin(), values.end());
    const HistogramSnapshot seen = histogram.Snapshot();
    EXPECT_EQ(seen.min(), values.front());
    EXPECT_EQ(seen.max(), values.back());
    int64_t previous = 0;
    for (double percent :
         {0.0, 0.01, 1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
      const int64_t exact = ExactPercentile(values, percent);
      const int64_t estimate = seen.Percentile(percent);
      EXPECT_LE(std::abs(estimate - exact), exact / 128) << "p" << percent << " of e^" << scale;
      EXPECT_GE(estimate, previous);
      previous = estimate;
    }
  }
}

TEST(HistogramTest, CountBelowIsExactAtPowersOfTwoAndHalfwayBetween) {
  std::mt19937_64 random(2);
  Histogram histogram;
  std::vector<int64_t> values;
  for (int i = 0; i < 10000; ++i) {
    values.push_back(static_cast<int64_t>(random() >> (1 + random() % 63)));
    histogram.Record(values.back());
  }
  const HistogramSnapshot seen = histogram.Snapshot();
  for (int exponent = 1; exponent < 62; ++exponent) {
    for (int64_t bound : {int64_t{1} << exponent, int64_t{3} << (exponent - 1)}) {
      const auto exact =
          std::count_if(values.begin(), values.end(), [=](int64_t v) { return v < bound; });
      ASSERT_EQ(seen.CountBelow(bound), static_cast<uint64_t>(exact)) << bound;
    }
  }
}

TEST(HistogramTest, MergeEqualsRecordingEverythingInOne) {
  Histogram a, b, both;
  for (int64_t v = 0; v < 5000; ++v) {
    (v % 3 == 0 ? a : b).Record(v * v);
    both.Record(v * v);
  }
  HistogramSnapshot merged = a.Snapshot();
  merged.Merge(b.Snapshot());
  merged.Merge(HistogramSnapshot());
  const HistogramSnapshot expected = both.Snapshot();
  EXPECT_EQ(merged.count(), expected.count());
  EXPECT_EQ(merged.sum(), expected.sum());
  EXPECT_EQ(merged.min(), expected.min());
  EXPECT_EQ(merged.max(), expected.max());
  for (double p = 0; p <= 100; p += 0.5)
    ASSERT_EQ(merged.Percentile(p), expected.Percentile(p)) << p;
}

// Under --config=tsan this also shows that readers need no lock.
TEST(HistogramTest, ReadersSeeConsistentSnapshotsWhileTheWriterRuns) {
  Histogram histogram;
  constexpr uint64_t kValues = 200000;
  std::thread writer([&] {
    for (uint64_t i = 0; i < kValues; ++i)
      histogram.Record(static_cast<int64_t>(1000 + (i * 7919) % 100000));
  });
  uint64_t previous = 0;
  while (previous < kValues) {
    const HistogramSnapshot seen = histogram.Snapshot();
    ASSERT_GE(seen.count(), previous);
    previous = seen.count();
    if (previous == 0) continue;
    ASSERT_LE(seen.min(), seen.Percentile(50));
    ASSERT_LE(seen.Percentile(50), seen.max());
    ASSERT_GE(seen.min(), 1000);
    ASSERT_GE(seen.sum(), seen.count() * 1000);
  }
  writer.join();
}

}  // namespace
}  // namespace weft
