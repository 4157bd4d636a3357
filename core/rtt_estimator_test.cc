// SPDX-License-Identifier: Apache-2.0
#include "weft/core/rtt_estimator.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <utility>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft {
namespace {

constexpr int64_t kUs = 1000;
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

// No limits in the way of the formulas.
constexpr RttOptions kWide = {.granularity_ns = 1, .rto_min_ns = 1, .rto_max_ns = 60 * kSecond};

TEST(RttEstimatorTest, WaitsForTheInitialTimeBeforeTheFirstSample) {
  const RttEstimator rtt;
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.srtt_ns(), 0);
  EXPECT_EQ(rtt.min_rtt_ns({}, 0), 0);
  EXPECT_EQ(rtt.rto_ns({.rto_initial_ns = kSecond, .rto_max_ns = 60 * kSecond}), kSecond);
  EXPECT_EQ(rtt.rto_ns({.rto_initial_ns = 1, .rto_min_ns = kMs}), kMs);
}

// RFC 6298, 2.2: SRTT = R, RTTVAR = R / 2, RTO = SRTT + max(G, K * RTTVAR) with K = 4.
TEST(RttEstimatorTest, FirstSample) {
  RttEstimator rtt;
  rtt.Add(kWide, 0, 100 * kUs);
  EXPECT_EQ(rtt.srtt_ns(), 100 * kUs);
  EXPECT_EQ(rtt.rttvar_ns(), 50 * kUs);
  EXPECT_EQ(rtt.rto_ns(kWide), 300 * kUs);
}

// RFC 6298, 2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, then SRTT = 7/8 SRTT + 1/8 R'.
TEST(RttEstimatorTest, LaterSamples) {
  RttEstimator rtt;
  rtt.Add(kWide, 0, 100 * kUs);
  rtt.Add(kWide, 0, 180 * kUs);
  EXPECT_EQ(rtt.rttvar_ns(), 57'500);  // 3/4 * 50 + 1/4 * 80
  EXPECT_EQ(rtt.srtt_ns(), 110 * kUs);
  EXPECT_EQ(rtt.rto_ns(kWide), 340 * kUs);
  rtt.Add(kWide, 0, 30 * kUs);
  EXPECT_EQ(rtt.rttvar_ns(), 63'125);  // 3/4 * 57.5 + 1/4 * 80
  EXPECT_EQ(rtt.srtt_ns(), 100 * kUs);
}

TEST(RttEstimatorTest, FollowsTheFormulasWithinANanosecond) {
  RttEstimator rtt;
  Prng prng(1);
  double srtt = 0;
  double rttvar = 0;
  for (int i = 0; i < 10'000; ++i) {
    const auto sample = static_cast<int64_t>(1 + prng.Below(200 * kUs));
    rtt.Add(kWide, 0, sample);
    const auto r = static_cast<double>(sample);
    rttvar = i == 0 ? r / 2 : rttvar + (std::abs(srtt - r) - rttvar) / 4;
    srtt = i == 0 ? r : srtt + (r - srtt) / 8;
    ASSERT_NEAR(static_cast<double>(rtt.srtt_ns()), srtt, 2);
    ASSERT_NEAR(static_cast<double>(rtt.rttvar_ns()), rttvar, 4);
  }
}

TEST(RttEstimatorTest, ASteadyRoundTripIsFoundExactly) {
  RttEstimator rtt;
  rtt.Add(kWide, 0, 1 * kMs);
  for (int i = 0; i < 1000; ++i) rtt.Add(kWide, 0, 5123);
  EXPECT_EQ(rtt.srtt_ns(), 5123);
  EXPECT_LE(rtt.rttvar_ns(), 1);
}

TEST(RttEstimatorTest, TheGranularityBoundsTheVariationFromBelow) {
  const RttOptions options{.granularity_ns = 1024, .rto_min_ns = 1};
  RttEstimator rtt;
  for (int i = 0; i < 1000; ++i) rtt.Add(options, 0, 5000);
  EXPECT_EQ(rtt.rto_ns(options), 6024);
}

TEST(RttEstimatorTest, RetriesDoubleTheTimeUpToTheLimit) {
  const RttOptions options{.rto_min_ns = 10 * kUs, .rto_max_ns = 1 * kMs};
  RttEstimator rtt;
  rtt.Add(options, 0, 50 * kUs);  // RTO 150 us
  EXPECT_EQ(rtt.rto_ns(options, 0), 150 * kUs);
  EXPECT_EQ(rtt.rto_ns(options, 1), 300 * kUs);
  EXPECT_EQ(rtt.rto_ns(options, 2), 600 * kUs);
  EXPECT_EQ(rtt.rto_ns(options, 3), 1 * kMs);
  for (uint32_t retries : {31u, 62u, 63u, 64u, 1000u, UINT32_MAX}) {
    EXPECT_EQ(rtt.rto_ns(options, retries), 1 * kMs) << retries;
  }
}

TEST(RttEstimatorTest, TheMinimumIsAppliedBeforeDoubling) {
  const RttOptions options{.rto_min_ns = 200 * kUs, .rto_max_ns = 100 * kMs};
  RttEstimator rtt;
  rtt.Add(options, 0, 5 * kUs);
  EXPECT_EQ(rtt.rto_ns(options, 0), 200 * kUs);
  EXPECT_EQ(rtt.rto_ns(options, 3), 1600 * kUs);
}

TEST(RttEstimatorTest, SamplesOutOfRangeAreTakenAsTheNearest) {
  RttEstimator rtt;
  rtt.Add(kWide, 0, -5);
  EXPECT_EQ(rtt.srtt_ns(), 1);
  EXPECT_TRUE(rtt.has_sample());
  for (int i = 0; i < 1000; ++i) rtt.Add(kWide, 0, INT64_MAX);
  EXPECT_EQ(rtt.srtt_ns(), 3600 * kSecond);
  EXPECT_EQ(rtt.rto_ns(kWide), kWide.rto_max_ns);
  for (int i = 0; i < 1000; ++i) rtt.Add(kWide, 0, 0);
  EXPECT_EQ(rtt.srtt_ns(), 1);
  EXPECT_TRUE(rtt.has_sample());
}

TEST(RttEstimatorTest, TheMinimumForgetsWhatIsOld) {
  const RttOptions options{.min_window_ns = 10 * kSecond};
  RttEstimator rtt;
  rtt.Add(options, 100 * kSecond, 5 * kUs);
  rtt.Add(options, 101 * kSecond, 9 * kUs);
  EXPECT_EQ(rtt.min_rtt_ns(options, 101 * kSecond), 5 * kUs);
  rtt.Add(options, 106 * kSecond, 8 * kUs);
  EXPECT_EQ(rtt.min_rtt_ns(options, 106 * kSecond), 5 * kUs);
  EXPECT_EQ(rtt.min_rtt_ns(options, 110 * kSecond), 8 * kUs);
  rtt.Add(options, 111 * kSecond, 7 * kUs);
  EXPECT_EQ(rtt.min_rtt_ns(options, 111 * kSecond), 7 * kUs);
  EXPECT_EQ(rtt.min_rtt_ns(options, 200 * kSecond), 0) << "an idle time forgets everything";
}

// The least of all samples that are at most half a window old, never one older than a window.
TEST(RttEstimatorTest, TheMinimumIsThatOfHalfAWindowToAWindow) {
  const RttOptions options{.min_window_ns = 1000};
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Prng prng(seed);
    RttEstimator rtt;
    std::deque<std::pair<int64_t, int64_t>> samples;
    int64_t now_ns = 0;
    for (int i = 0; i < 2000; ++i) {
      now_ns += static_cast<int64_t>(prng.Below(prng.Chance(0.01) ? 3000 : 100));
      const auto sample = static_cast<int64_t>(1 + prng.Below(10'000));
      rtt.Add(options, now_ns, sample);
      samples.emplace_back(now_ns, sample);
      while (now_ns - samples.front().first >= 1000) samples.pop_front();
      int64_t in_half = INT64_MAX;
      int64_t in_all = INT64_MAX;
      for (const auto& [at_ns, value] : samples) {
        in_all = std::min(in_all, value);
        if (now_ns - at_ns <= 500) in_half = std::min(in_half, value);
      }
      const int64_t least = rtt.min_rtt_ns(options, now_ns);
      ASSERT_LE(least, in_half) << "seed " << seed;
      ASSERT_GE(least, in_all) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace weft
