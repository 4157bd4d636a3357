// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/dctcp.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/tcp/congestion/growth_model.h"

namespace weft::tcp {
namespace {

constexpr uint32_t kMss = 1000;
constexpr int64_t kRttNs = 100'000;

TEST(DctcpTest, WantsExactEcho) { EXPECT_TRUE(Dctcp().exact_ecn()); }

// RFC 8257, 3.3: alpha = alpha * (1 - g) + g * M, once a window, g = 1/16.
TEST(DctcpTest, AlphaFollowsTheMarkedPart) {
  GrowthModel model(Dctcp(), kMss, kRttNs, 32);
  model.state().ssthresh_bytes = kMss;
  EXPECT_EQ(DctcpAlpha(model.state()), 1);
  double alpha = 1;
  for (int i = 0; i < 50; ++i) {
    model.Round(0.25);
    alpha = alpha * 15 / 16 + 0.25 / 16;
    EXPECT_NEAR(DctcpAlpha(model.state()), alpha, 0.06) << i;
  }
  EXPECT_NEAR(DctcpAlpha(model.state()), 0.25 + 0.75 * std::pow(15.0 / 16, 50), 0.04);
}

TEST(DctcpTest, AlphaDecaysWithoutMarks) {
  GrowthModel model(Dctcp(), kMss, kRttNs, 32);
  model.state().ssthresh_bytes = kMss;
  for (int i = 0; i < 200; ++i) model.Round();
  EXPECT_LT(DctcpAlpha(model.state()), 0.001);
}

// RFC 8257, 3.3: cwnd * (1 - alpha / 2).
TEST(DctcpTest, ShrinksByHalfOfAlpha) {
  GrowthModel model(Dctcp(), kMss, kRttNs, 100);
  model.state().OnEcn(model.Event());
  EXPECT_EQ(model.state().ssthresh_bytes, 50 * kMss) << "the first mark counts as a loss";
  model.state().ssthresh_bytes = kMss;
  for (int i = 0; i < 60; ++i) model.Round(0.5);
  const double alpha = DctcpAlpha(model.state());
  const double window = model.window();
  model.state().OnEcn(model.Event());
  EXPECT_NEAR(model.state().ssthresh_bytes / (window * kMss), 1 - alpha / 2, 0.01);
}

TEST(DctcpTest, LossesHalve) {
  GrowthModel model(Dctcp(), kMss, kRttNs, 40);
  for (int i = 0; i < 100; ++i) {
    model.state().SetWindow(40 * kMss);
    model.Round();
  }
  model.state().SetWindow(40 * kMss);
  model.state().OnLoss(model.Event());
  EXPECT_EQ(model.state().ssthresh_bytes, 20 * kMss);
}

// While a reduction is under way, marks count though the window is not touched.
TEST(DctcpTest, CountsDuringReductions) {
  CongestionState state;
  state.Start(Dctcp(), kMss, 10);
  for (uint32_t i = 1; i <= 100; ++i) {
    Dctcp().OnAckInRecovery(state, {.acked_bytes = 10 * kMss,
                                    .mss = kMss,
                                    .cwnd_limited = true,
                                    .una = Seq(i * 10 * kMss),
                                    .next = Seq((i + 1) * 10 * kMss)});
  }
  EXPECT_LT(DctcpAlpha(state), 0.01);
  EXPECT_EQ(state.cwnd_bytes, 10 * kMss);
}

}  // namespace
}  // namespace weft::tcp
