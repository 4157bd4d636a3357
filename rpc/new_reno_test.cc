// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/new_reno.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/queue_model.h"

namespace weft::rpc {
namespace {

constexpr int64_t kUs = 1000;
constexpr int64_t kMs = 1'000'000;

CongestionOptions Initial(uint32_t window) {
  return {.algorithm = "new_reno", .window_initial_packets = window, .window_max_packets = 1000};
}

// Acknowledges `packets` of a full window.
void Ack(NewReno& reno, uint32_t packets) {
  const uint32_t window = reno.window_packets();
  reno.OnAck({.now_ns = 0, .rtt_ns = 1, .packets = packets, .in_flight = window - packets});
}

void Lose(NewReno& reno, uint32_t in_flight) {
  reno.OnLoss({.now_ns = 0, .packets = 1, .in_flight = in_flight});
}

TEST(NewRenoTest, SlowStartDoublesEachRoundTrip) {
  const CongestionOptions options = Initial(10);
  NewReno reno(options);
  EXPECT_TRUE(reno.in_slow_start());
  Ack(reno, 10);
  EXPECT_DOUBLE_EQ(reno.window(), 20);
  Ack(reno, 20);
  EXPECT_DOUBLE_EQ(reno.window(), 40);
}

TEST(NewRenoTest, CongestionAvoidanceAddsAPacketEachRoundTrip) {
  const CongestionOptions options = Initial(20);
  NewReno reno(options);
  Lose(reno, 20);
  EXPECT_DOUBLE_EQ(reno.window(), 10);
  Ack(reno, 10);
  Ack(reno, 10);  // ends recovery
  EXPECT_FALSE(reno.in_recovery());
  EXPECT_FALSE(reno.in_slow_start());
  Ack(reno, 10);
  EXPECT_DOUBLE_EQ(reno.window(), 11);
}

TEST(NewRenoTest, HalvesWhatWasInFlightNotTheWindow) {
  const CongestionOptions options = Initial(100);
  NewReno reno(options);
  Lose(reno, 30);
  EXPECT_DOUBLE_EQ(reno.window(), 15);
}

TEST(NewRenoTest, HalvesToTwoAtLeast) {
  const CongestionOptions options = Initial(3);
  NewReno reno(options);
  Lose(reno, 1);
  EXPECT_DOUBLE_EQ(reno.window(), 2);
}

TEST(NewRenoTest, HalvesOnceForAWindowOfLoss) {
  const CongestionOptions options = Initial(100);
  NewReno reno(options);
  Lose(reno, 100);
  for (int i = 0; i < 10; ++i) {
    Ack(reno, 9);
    Lose(reno, 80);
    EXPECT_DOUBLE_EQ(reno.window(), 50) << "it does not grow either";
  }
  EXPECT_TRUE(reno.in_recovery());
  Ack(reno, 10);
  EXPECT_FALSE(reno.in_recovery());
  Lose(reno, 50);
  EXPECT_DOUBLE_EQ(reno.window(), 25);
}

TEST(NewRenoTest, ATimeoutBeginsAgainUpToHalf) {
  const CongestionOptions options = Initial(32);
  NewReno reno(options);
  reno.OnTimeout(0, 32);
  EXPECT_EQ(reno.window_packets(), 1u);
  Ack(reno, 1);
  EXPECT_DOUBLE_EQ(reno.window(), 2);
  for (uint32_t window : {2, 4, 8}) Ack(reno, window);
  EXPECT_DOUBLE_EQ(reno.window(), 16);
  Ack(reno, 16);
  EXPECT_DOUBLE_EQ(reno.window(), 17);
}

TEST(NewRenoTest, ABurstThatPassesTheThresholdGrowsSlowlyFromThere) {
  const CongestionOptions options = Initial(24);
  NewReno reno(options);
  reno.OnTimeout(0, 24);  // threshold 12
  for (uint32_t window : {1, 2, 4, 8}) Ack(reno, window);
  EXPECT_DOUBLE_EQ(reno.window(), 12 + 4.0 / 12);
}

TEST(NewRenoTest, TimeoutsInARowKeepTheThreshold) {
  const CongestionOptions options = Initial(32);
  NewReno reno(options);
  reno.OnTimeout(0, 32);
  reno.OnTimeout(0, 1);
  reno.OnTimeout(0, 1);
  for (uint32_t window : {1, 2, 4, 8}) Ack(reno, window);
  EXPECT_DOUBLE_EQ(reno.window(), 16);
  EXPECT_FALSE(reno.in_slow_start());
}

TEST(NewRenoTest, LossesOfBeforeATimeoutDoNotHalveAgain) {
  const CongestionOptions options = Initial(32);
  NewReno reno(options);
  reno.OnTimeout(0, 32);
  for (uint32_t window : {1, 2, 4}) Ack(reno, window);
  Lose(reno, 8);
  EXPECT_DOUBLE_EQ(reno.window(), 8);
}

TEST(NewRenoTest, AWindowThatIsNotFullDoesNotGrow) {
  const CongestionOptions options = Initial(10);
  NewReno reno(options);
  for (int i = 0; i < 100; ++i) {
    reno.OnAck({.now_ns = 0, .rtt_ns = 1, .packets = 2, .in_flight = 7});
  }
  EXPECT_DOUBLE_EQ(reno.window(), 10);
  reno.OnAck({.now_ns = 0, .rtt_ns = 1, .packets = 2, .in_flight = 8});
  EXPECT_DOUBLE_EQ(reno.window(), 12);
}

// 10 Gb/s, 100 us: 101 packets fit the path, 100 more its queue.
constexpr QueueModel::Path kPath = {
    .packet_ns = 1000, .round_trip_ns = 100 * kUs, .jitter_ns = 0, .queue_packets = 100};

TEST(NewRenoTest, OneFlowIsASawtooth) {
  const CongestionOptions options = Initial(10);
  QueueModel model(kPath, 1);
  const size_t flow = model.Add(NewReno::Make(options), 0);
  model.Run(50 * kMs);  // past slow start

  // The windows before and after each decrease.
  std::vector<double> peaks;
  std::vector<double> troughs;
  double last = model.control(flow).window();
  model.observer = [&](size_t) {
    const double window = model.control(flow).window();
    if (window < last) {
      peaks.push_back(last);
      troughs.push_back(window);
    } else {
      EXPECT_LE(window, last + 1) << "no slow start";
    }
    last = window;
  };
  model.Reset();
  model.Run(200 * kMs);
  // One tooth is half a window of round trips: about 100 of 100 to 200 us.
  ASSERT_GE(peaks.size(), 8u);
  ASSERT_LE(peaks.size(), 20u);
  for (size_t i = 0; i < peaks.size(); ++i) {
    EXPECT_NEAR(peaks[i], 202, 6);
    EXPECT_NEAR(troughs[i], peaks[i] / 2, 2);
  }
  EXPECT_GE(model.Measure().goodput, 0.97);
}

TEST(NewRenoTest, SeveralFlowsShareALink) {
  const CongestionOptions options = Initial(10);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    QueueModel::Path path = kPath;
    path.jitter_ns = 10 * kUs;
    QueueModel model(path, seed);
    for (int i = 0; i < 4; ++i) model.Add(NewReno::Make(options), 10 * kMs);
    model.Run(200 * kMs);
    model.Reset();
    model.Run(1000 * kMs);
    const QueueModel::Result result = model.Measure();
    EXPECT_GE(result.goodput, 0.9);
    EXPECT_GE(result.jain, 0.9);
  }
}

}  // namespace
}  // namespace weft::rpc
