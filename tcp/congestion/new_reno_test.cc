// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/congestion/new_reno.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/tcp/congestion/growth_model.h"

namespace weft::tcp {
namespace {

constexpr uint32_t kMss = 1000;
constexpr int64_t kRttNs = 50'000'000;

TEST(NewRenoTest, DoublesEachRoundTripInSlowStart) {
  GrowthModel model(NewReno(), kMss, kRttNs);
  model.Round();
  EXPECT_EQ(model.window(), 20);
  model.Round();
  EXPECT_EQ(model.window(), 40);
}

TEST(NewRenoTest, GrowsByASegmentEachRoundTripThen) {
  GrowthModel model(NewReno(), kMss, kRttNs);
  model.state().ssthresh_bytes = 10 * kMss;
  for (int i = 0; i < 5; ++i) model.Round();
  EXPECT_NEAR(model.window(), 15, 1);
}

TEST(NewRenoTest, SlowStartEndsAtTheThreshold) {
  GrowthModel model(NewReno(), kMss, kRttNs);
  model.state().ssthresh_bytes = 15 * kMss;
  model.Round();
  EXPECT_NEAR(model.window(), 15, 1);
}

// RFC 5681, equation 4.
TEST(NewRenoTest, HalvesWhatIsInFlight) {
  GrowthModel model(NewReno(), kMss, kRttNs, 40);
  model.state().OnLoss({.in_flight_bytes = 30 * kMss, .mss = kMss});
  EXPECT_EQ(model.state().ssthresh_bytes, 15 * kMss);
  model.state().OnEcn({.in_flight_bytes = 2 * kMss, .mss = kMss});
  EXPECT_EQ(model.state().ssthresh_bytes, 2 * kMss) << "two segments at least";
}

// RFC 3465, 2.2; RFC 7661.
TEST(NewRenoTest, OneAcknowledgementOpensTheWindowALittleOnly) {
  CongestionState state;
  state.Start(NewReno(), kMss, 10);
  state.OnAck({.acked_bytes = 500 * kMss, .mss = kMss, .cwnd_limited = true});
  EXPECT_EQ(state.cwnd_bytes, (10 + kSlowStartSegmentsMax) * kMss);
}

TEST(NewRenoTest, AWindowThatIsNotUsedDoesNotGrow) {
  GrowthModel model(NewReno(), kMss, kRttNs);
  model.Round(0, /*limited=*/false);
  EXPECT_EQ(model.window(), 10);
}

// The average window at a loss rate p is sqrt(3 / 2p) (Mathis et al., CCR 1997).
TEST(NewRenoTest, KeepsToItsResponseFunction) {
  for (const uint64_t one_of : {100, 1000, 10'000, 100'000}) {
    GrowthModel model(NewReno(), kMss, kRttNs);
    model.state().ssthresh_bytes = kMss;
    const double expected = std::sqrt(1.5 * static_cast<double>(one_of));
    EXPECT_NEAR(model.AverageWindow(one_of, 60) / expected, 1, 0.1) << one_of;
  }
}

}  // namespace
}  // namespace weft::tcp
