// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/cubic.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/tcp/congestion/growth_model.h"
#include "weft/tcp/congestion/new_reno.h"

namespace weft::tcp {
namespace {

constexpr uint32_t kMss = 1000;
constexpr int64_t kMs = 1'000'000;

// A model in congestion avoidance after a loss at `window` segments.
GrowthModel AfterLossAt(uint32_t window, int64_t rtt_ns) {
  GrowthModel model(Cubic(), kMss, rtt_ns, window);
  model.Lose();
  return model;
}

TEST(CubicTest, FallsToSevenTenths) {
  GrowthModel model = AfterLossAt(1000, 100 * kMs);
  EXPECT_EQ(model.state().ssthresh_bytes, 700 * kMss);
  EXPECT_EQ(ViewCubic(model.state()).w_max_bytes, 1000 * kMss);
}

// RFC 9438, figure 1 and 2: W(t) = C (t - K)^3 + W_max, K = cbrt((W_max - cwnd) / C).
TEST(CubicTest, GrowsAsTheCubicFunctionOfTime) {
  GrowthModel model = AfterLossAt(1000, 100 * kMs);
  const int64_t start_ns = model.now_ns();
  model.Round();
  const double k = std::cbrt(300 / 0.4);
  EXPECT_NEAR(ViewCubic(model.state()).k_s, k, 0.01);
  for (int i = 0; i < 160; ++i) {
    model.Round();
    const double t = static_cast<double>(model.now_ns() - start_ns) / 1e9;
    const double expected = 0.4 * std::pow(t - k, 3) + 1000;
    EXPECT_NEAR(model.window() / expected, 1, 0.02) << "at " << t << " s";
  }
  EXPECT_GT(model.window(), 1100) << "beyond the plateau it is convex";
}

// 4.3: on a short path the window is that of an AIMD that falls to 0.7, too.
TEST(CubicTest, IsNeverSlowerThanRenoWouldBe) {
  GrowthModel model = AfterLossAt(20, 1 * kMs);
  const double alpha = 3 * 0.3 / 1.7;
  for (int i = 1; i <= 10; ++i) {
    model.Round();
    EXPECT_NEAR(model.window(), 14 + alpha * i, 0.6) << i;
  }
  for (int i = 0; i < 60; ++i) model.Round();
  const double before = model.window();
  for (int i = 0; i < 10; ++i) model.Round();
  EXPECT_NEAR(model.window() - before, 10, 1) << "beyond the old window a segment a round trip";
}

// RFC 9438, 5.1, equation 5: the average window on a path where CUBIC's function rules.
TEST(CubicTest, KeepsToItsResponseFunction) {
  for (const uint64_t one_of : {10'000, 100'000, 1'000'000}) {
    GrowthModel model(Cubic(), kMss, 100 * kMs);
    model.state().ssthresh_bytes = kMss;
    const double p = 1.0 / static_cast<double>(one_of);
    const double cubic =
        std::pow(0.4 * 3.7 / (4 * 0.3), 0.25) * std::pow(0.1, 0.75) / std::pow(p, 0.75);
    EXPECT_GE(model.AverageWindow(one_of, 60) / cubic, 0.9) << one_of;
    if (one_of >= 100'000) {
      GrowthModel again(Cubic(), kMss, 100 * kMs);
      again.state().ssthresh_bytes = kMss;
      EXPECT_LE(again.AverageWindow(one_of, 60) / cubic, 1.1) << one_of;
    }
  }
}

// The same where Reno's rules: sqrt(alpha (1 + beta) / (2 p (1 - beta))), RFC 9438, 4.3.
TEST(CubicTest, KeepsToRenosResponseOnShortPaths) {
  for (const uint64_t one_of : {100, 1000}) {
    GrowthModel model(Cubic(), kMss, 1 * kMs);
    model.state().ssthresh_bytes = kMss;
    const double expected = std::sqrt(1.5 * static_cast<double>(one_of));
    const double got = model.AverageWindow(one_of, 90);
    EXPECT_GE(got / expected, 0.9) << one_of;
    EXPECT_LE(got / expected, 1.25) << one_of;
  }
}

// 4.7.
TEST(CubicTest, ConvergesFastWhenTheBandwidthShrinks) {
  GrowthModel model = AfterLossAt(1000, 100 * kMs);
  model.Round();
  const double window = model.window();
  ASSERT_LT(window, 1000);
  model.Lose();
  EXPECT_NEAR(ViewCubic(model.state()).w_max_bytes / kMss, window * 0.85, 1);
}

// 4.8.
TEST(CubicTest, AfterATimeoutThePlateauIsWhereSlowStartEnds) {
  GrowthModel model = AfterLossAt(100, 100 * kMs);
  model.state().OnTimeout(model.Event());
  model.state().SetWindow(kMss);
  EXPECT_EQ(model.state().ssthresh_bytes, 49 * kMss);
  while (model.state().in_slow_start()) model.Round();
  model.Round();
  const CubicView view = ViewCubic(model.state());
  EXPECT_EQ(view.k_s, 0);
  EXPECT_NEAR(view.w_max_bytes / kMss, 49, 1);
}

// 5.8: time in which the window is not used does not count.
TEST(CubicTest, DoesNotAgeWhileTheApplicationIsSlow) {
  GrowthModel model = AfterLossAt(1000, 100 * kMs);
  for (int i = 0; i < 5; ++i) model.Round();
  const double before = model.window();
  for (int i = 0; i < 300; ++i) model.Round(0, /*limited=*/false);
  EXPECT_EQ(model.window(), before);
  model.Round();
  EXPECT_LT(model.window(), before * 1.1);
}

TEST(CubicTest, NorDoesItWhileNothingIsSent) {
  GrowthModel model = AfterLossAt(10, 100 * kMs);
  for (int i = 0; i < 5; ++i) model.Round();
  const double before = model.window();
  model.Pass(60'000 * kMs);
  model.Round();
  EXPECT_LT(model.window(), before * 1.1);
}

TEST(CubicTest, UndoBringsTheOldEpochBack) {
  GrowthModel model = AfterLossAt(1000, 100 * kMs);
  for (int i = 0; i < 20; ++i) model.Round();
  const CongestionState before = model.state();
  const CubicView view = ViewCubic(before);
  model.Lose();
  model.state().Undo(before);
  EXPECT_EQ(model.state().cwnd_bytes, before.cwnd_bytes);
  EXPECT_EQ(ViewCubic(model.state()).w_max_bytes, view.w_max_bytes);
  EXPECT_EQ(ViewCubic(model.state()).k_s, view.k_s);
}

// RFC 9406, 4.2: delay that rises ends slow start by way of five slower rounds.
TEST(CubicTest, SlowStartEndsWhenDelayRises) {
  GrowthModel model(Cubic(), kMss, 100 * kMs);
  model.Round();
  model.Round();
  ASSERT_EQ(model.window(), 40);
  model.set_rtt_ns(120 * kMs);
  model.Round();
  ASSERT_TRUE(ViewCubic(model.state()).conservative);
  const double before = model.window();
  model.Round();
  EXPECT_NEAR(model.window() / before, 1.25, 0.05);
  for (int i = 0; i < 5; ++i) model.Round();
  EXPECT_FALSE(model.state().in_slow_start());
  EXPECT_NE(model.state().ssthresh_bytes, CongestionState::kNoThreshold);
}

TEST(CubicTest, SlowStartGoesOnWhenItWasABurstOnly) {
  GrowthModel model(Cubic(), kMss, 100 * kMs);
  model.Round();
  model.Round();
  model.set_rtt_ns(120 * kMs);
  model.Round();
  ASSERT_TRUE(ViewCubic(model.state()).conservative);
  model.set_rtt_ns(100 * kMs);
  model.Round();
  EXPECT_FALSE(ViewCubic(model.state()).conservative);
  const double before = model.window();
  model.Round();
  EXPECT_NEAR(model.window() / before, 2, 0.2);
}

TEST(CubicTest, SmallWindowsKeepTwoSegments) {
  GrowthModel model(Cubic(), kMss, kMs, 2);
  model.Lose();
  EXPECT_EQ(model.state().ssthresh_bytes, 2 * kMss);
}

}  // namespace
}  // namespace weft::tcp
