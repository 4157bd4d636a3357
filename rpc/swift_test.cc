// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/swift.h"

#include <algorithm>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/rpc/queue_model.h"

namespace weft::rpc {
namespace {

constexpr int64_t kUs = 1000;
constexpr int64_t kMs = 1'000'000;

// A window of 10 packets against a target of 100 us at all windows.
CongestionOptions Flat() {
  return {.window_initial_packets = 10,
          .window_max_packets = 100,
          .target_delay_ns = 100 * kUs,
          .target_range_ns = 0};
}

CongestionControl::Acked FullWindow(const CongestionControl& control, int64_t now_ns,
                                    int64_t rtt_ns, uint32_t packets = 1) {
  return {.now_ns = now_ns,
          .rtt_ns = rtt_ns,
          .packets = packets,
          .in_flight = control.window_packets() - packets};
}

TEST(SwiftTest, GrowsByTheIncreaseOverTheWindowForEachPacket) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  swift.OnAck(FullWindow(swift, 0, 50 * kUs, 4));
  EXPECT_DOUBLE_EQ(swift.window(), 10 + 1.0 / 10 * 4);
  EXPECT_EQ(swift.window_packets(), 10u);
  EXPECT_EQ(swift.pacing_ns(), 0);
}

TEST(SwiftTest, ShrinksInProportionToTheExcess) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  swift.OnAck(FullWindow(swift, 0, 125 * kUs));
  EXPECT_DOUBLE_EQ(swift.window(), 10 * (1 - 0.8 * 25 / 125));
}

TEST(SwiftTest, ShrinksByTheMaximumAtMost) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  swift.OnAck(FullWindow(swift, 0, 10 * kMs));
  EXPECT_DOUBLE_EQ(swift.window(), 5);
}

TEST(SwiftTest, ShrinksOnceARoundTrip) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  swift.OnAck(FullWindow(swift, 1 * kMs, 200 * kUs));
  const double once = swift.window();
  EXPECT_LT(once, 10);
  swift.OnAck(FullWindow(swift, 1 * kMs + 50 * kUs, 200 * kUs));
  swift.OnLoss({.now_ns = 1 * kMs + 60 * kUs, .packets = 3, .in_flight = 6});
  swift.OnTimeout(1 * kMs + 70 * kUs, 6);
  EXPECT_DOUBLE_EQ(swift.window(), once);
  swift.OnAck(FullWindow(swift, 2 * kMs, 200 * kUs));
  EXPECT_LT(swift.window(), once);
}

TEST(SwiftTest, GrowsWhateverTheDelayIfItIsExcused) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  CongestionControl::Acked acked = FullWindow(swift, 0, /*rtt_ns=*/0, 4);
  acked.excused = true;
  swift.OnAck(acked);
  EXPECT_DOUBLE_EQ(swift.window(), 10 + 1.0 / 10 * 4);
  acked.in_flight = 0;
  swift.OnAck(acked);
  EXPECT_DOUBLE_EQ(swift.window(), 10 + 1.0 / 10 * 4) << "it was not full";
}

TEST(SwiftTest, LossTakesTheMaximumDecrease) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  swift.OnLoss({.now_ns = 0, .packets = 1, .in_flight = 10});
  EXPECT_DOUBLE_EQ(swift.window(), 5);
}

TEST(SwiftTest, TimeoutsInARowFallToTheMinimum) {
  CongestionOptions options = Flat();
  options.timeouts_max = 3;
  Swift swift(options);
  swift.OnTimeout(1 * kMs, 10);
  EXPECT_DOUBLE_EQ(swift.window(), 5);
  swift.OnTimeout(3 * kMs, 10);
  EXPECT_DOUBLE_EQ(swift.window(), 2.5);
  swift.OnTimeout(3 * kMs, 10);
  EXPECT_DOUBLE_EQ(swift.window(), options.window_min_packets);
  EXPECT_EQ(swift.window_packets(), 1u);
  EXPECT_EQ(swift.pacing_ns(), 1 * kMs) << "ten round trips, taken for the target for want of one";
}

TEST(SwiftTest, AnAcknowledgementEndsARowOfTimeouts) {
  CongestionOptions options = Flat();
  options.window_min_packets = 0.001;
  options.timeouts_max = 2;
  Swift swift(options);
  for (int i = 1; i <= 10; ++i) {
    swift.OnTimeout(i * kMs, 1);
    swift.OnAck({.now_ns = i * kMs + 10, .rtt_ns = 0, .packets = 1, .in_flight = 0});
  }
  EXPECT_GT(swift.window(), 10.0 / (1 << 11)) << "halved, not reset";
  EXPECT_LT(swift.window(), 10.0 / (1 << 9));
}

TEST(SwiftTest, BelowOnePacketItPaces) {
  CongestionOptions options = Flat();
  options.window_initial_packets = 1;
  options.window_min_packets = 0.01;
  Swift swift(options);
  for (int i = 0; i < 100; ++i) swift.OnAck(FullWindow(swift, i * kMs, 200 * kUs));
  EXPECT_DOUBLE_EQ(swift.window(), 0.01);
  EXPECT_EQ(swift.window_packets(), 1u);
  EXPECT_NEAR(static_cast<double>(swift.pacing_ns()), 200e3 / 0.01, 1e5);
  swift.OnAck(FullWindow(swift, 200 * kMs, 50 * kUs));
  EXPECT_DOUBLE_EQ(swift.window(), 1.01);
  EXPECT_EQ(swift.pacing_ns(), 0);
}

// Section 3.5: fs_range at windows up to fs_min_cwnd, nothing from fs_max_cwnd on, and as
// 1 / sqrt(cwnd) in between.
TEST(SwiftTest, SmallWindowsHaveAHigherTarget) {
  const CongestionOptions options{.target_delay_ns = 50 * kUs,
                                  .target_range_ns = 30 * kUs,
                                  .target_range_packets_min = 0.25,
                                  .target_range_packets_max = 4};
  const Swift swift(options);
  EXPECT_NEAR(swift.TargetDelayNs(0.01), 80 * kUs, 1);
  EXPECT_NEAR(swift.TargetDelayNs(0.25), 80 * kUs, 1);
  EXPECT_NEAR(swift.TargetDelayNs(1), 60 * kUs, 1);  // alpha = 20 us, beta = -10 us
  EXPECT_NEAR(swift.TargetDelayNs(4), 50 * kUs, 1);
  EXPECT_NEAR(swift.TargetDelayNs(100), 50 * kUs, 1);
}

TEST(SwiftTest, AWindowThatIsNotFullDoesNotGrow) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  for (int i = 0; i < 1000; ++i) {
    swift.OnAck({.now_ns = i * kMs, .rtt_ns = 5 * kUs, .packets = 1, .in_flight = 3});
  }
  EXPECT_DOUBLE_EQ(swift.window(), 10);
}

TEST(SwiftTest, AnUnknownRoundTripChangesNothing) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  swift.OnAck(FullWindow(swift, 0, 0));
  swift.OnAck(FullWindow(swift, 0, -1));
  EXPECT_DOUBLE_EQ(swift.window(), 10);
}

// Loopback: 5 us when the peer is busy, 100 us when it has to be woken.
TEST(SwiftTest, DefaultsBearPeersThatSleep) {
  const CongestionOptions options;
  Swift swift(options);
  Prng prng(1);
  int64_t now_ns = 0;
  double window = swift.window();
  for (int i = 0; i < 40'000; ++i) {
    now_ns += 5 * kUs;
    swift.OnAck(FullWindow(swift, now_ns, static_cast<int64_t>(5 + prng.Below(96)) * kUs));
    ASSERT_GE(swift.window(), window);
    window = swift.window();
  }
  EXPECT_EQ(window, options.window_max_packets);
}

TEST(SwiftTest, ALongPathIsNotACongestedOne) {
  const CongestionOptions options;
  QueueModel model({.packet_ns = 1000, .round_trip_ns = 30 * kMs, .jitter_ns = 20 * kUs}, 1);
  model.Add(Swift::Make(options), 0);
  model.Run(20'000 * kMs);
  EXPECT_EQ(model.control(0).window_packets(), options.window_max_packets);
}

TEST(SwiftTest, ALongPathHasTheTargetOnTopOfItsShortestRoundTrip) {
  const CongestionOptions options = Flat();
  Swift swift(options);
  int64_t now_ns = 0;
  for (int i = 0; i < 100 && swift.TargetDelayNs(1) == 100 * kUs; ++i) {
    swift.OnAck(FullWindow(swift, now_ns += 10 * kMs, i == 0 ? 900 * kUs : 1 * kMs));
  }
  EXPECT_EQ(swift.TargetDelayNs(1), 1100 * kUs) << "the first came at a larger window";
  swift.OnAck(FullWindow(swift, now_ns += 10 * kMs, 1050 * kUs));
  const double window = swift.window();
  EXPECT_GT(window, 1);
  swift.OnAck(FullWindow(swift, now_ns += 10 * kMs, 1375 * kUs));
  EXPECT_DOUBLE_EQ(swift.window(), window * (1 - 0.8 * 275 / 1375));
  // It was the host that was slow, not the path that is long.
  swift.OnAck({.now_ns = now_ns, .rtt_ns = 150 * kUs, .packets = 1, .in_flight = 0});
  EXPECT_EQ(swift.TargetDelayNs(1), 100 * kUs);
}

// A thread that was not scheduled for 5 ms costs half of the window, once.
TEST(SwiftTest, OnePauseOfAHostCostsHalfOfTheWindow) {
  const CongestionOptions options;
  Swift swift(options);
  for (int i = 0; i < 20; ++i) swift.OnAck(FullWindow(swift, 5 * kMs + i * kUs, 5 * kMs));
  EXPECT_DOUBLE_EQ(swift.window(), options.window_initial_packets / 2.0);
}

// Packets of 1250 bytes at 10 and at 100 Gb/s.
constexpr QueueModel::Path k10Gbps = {.packet_ns = 1000, .round_trip_ns = 20 * kUs};
constexpr QueueModel::Path k100Gbps = {.packet_ns = 100, .round_trip_ns = 20 * kUs};

// As in the paper's deployment, where NICs stamp packets.
CongestionOptions Datacenter() {
  return {.target_delay_ns = 50 * kUs, .target_range_ns = 50 * kUs};
}

// All of the link, shared evenly, with a round trip between the target of large windows (less what
// a decrease takes off it) and that of small ones.
void ExpectShared(const QueueModel& model, const QueueModel::Path& path,
                  const CongestionOptions& options) {
  const QueueModel::Result result = model.Measure();
  EXPECT_GE(result.goodput, 0.9);
  EXPECT_LE(result.goodput, 1.01);
  EXPECT_GE(result.jain, 0.9);
  const double rtt_ns = result.queue_ns + static_cast<double>(path.packet_ns + path.round_trip_ns +
                                                              path.jitter_ns / 2);
  EXPECT_GE(rtt_ns, 0.7 * static_cast<double>(options.target_delay_ns));
  EXPECT_LE(rtt_ns, 1.1 * static_cast<double>(options.target_delay_ns + options.target_range_ns));
  EXPECT_EQ(result.lost, 0u);
}

class SwiftQueueTest : public testing::TestWithParam<int> {};

TEST_P(SwiftQueueTest, SharesALinkNearTheTarget) {
  const CongestionOptions options = Datacenter();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    QueueModel model(k10Gbps, seed);
    for (int i = 0; i < GetParam(); ++i) model.Add(Swift::Make(options), 10 * kMs);
    model.Run(50 * kMs);
    model.Reset();
    model.Run(100 * kMs);
    ExpectShared(model, k10Gbps, options);
  }
}

TEST_P(SwiftQueueTest, SharesALinkWithDefaults) {
  const CongestionOptions options;
  QueueModel model(k10Gbps, 1);
  for (int i = 0; i < GetParam(); ++i) model.Add(Swift::Make(options), 10 * kMs);
  model.Run(200 * kMs);
  model.Reset();
  model.Run(200 * kMs);
  ExpectShared(model, k10Gbps, options);
}

// Windows below one packet at 256.
INSTANTIATE_TEST_SUITE_P(Flows, SwiftQueueTest, testing::Values(2, 16, 64, 256));

TEST(SwiftTest, OneFlowFillsAFastLink) {
  const CongestionOptions options;
  QueueModel model(k100Gbps, 1);
  model.Add(Swift::Make(options), 0);
  model.Run(20 * kMs);
  model.Reset();
  model.Run(20 * kMs);
  EXPECT_GE(model.Measure().goodput, 0.9);
}

TEST(SwiftTest, FollowsFlowsThatComeAndGo) {
  const CongestionOptions options = Datacenter();
  QueueModel model(k10Gbps, 1);
  const auto expect_shared = [&] {
    model.Run(50 * kMs);
    model.Reset();
    model.Run(50 * kMs);
    ExpectShared(model, k10Gbps, options);
  };
  for (int i = 0; i < 2; ++i) model.Add(Swift::Make(options), 1 * kMs);
  expect_shared();
  for (int i = 0; i < 30; ++i) model.Add(Swift::Make(options), 1 * kMs);
  expect_shared();
  for (size_t i = 0; i < 28; ++i) model.Stop(i);
  expect_shared();
}

// All begin at once with windows for 32 times the queue: packets are lost, then no more.
TEST(SwiftTest, RecoversFromAnIncast) {
  const CongestionOptions options = Datacenter();
  QueueModel::Path path = k10Gbps;
  path.queue_packets = 128;
  QueueModel model(path, 1);
  for (int i = 0; i < 128; ++i) model.Add(Swift::Make(options), 0);
  model.Run(20 * kMs);
  EXPECT_GT(model.Measure().lost, 1000u);
  model.Run(100 * kMs);
  model.Reset();
  model.Run(100 * kMs);
  ExpectShared(model, path, options);
}

}  // namespace
}  // namespace weft::rpc
