// SPDX-License-Identifier: Apache-2.0
//
// What LossDetection takes back, what it makes of ECN and of odd peers, and how it does in a loop
// with a network.
#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/tcp/loss_detection.h"
#include "weft/tcp/loss_detection_fixture.h"
#include "weft/tcp/sender_model.h"

namespace weft::tcp {
namespace {

// RFC 5682, 3.1: what was sent before the timeout arrives after all.
TEST_F(LossDetectionTest, ATimeoutThatWasNotNeededIsUndone) {
  Write(30);
  Output();
  Timeout();
  ASSERT_EQ(window(), 1u);
  Output();
  const Outcome outcome = Ack(2);  // the second was sent once only
  EXPECT_TRUE(outcome.undone);
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  EXPECT_GE(window(), 10u);
  EXPECT_EQ(queue_.lost_bytes(), queue_.resent_bytes()) << "nothing more is sent again";
}

// What arrives says that the timeout was not needed. That there were losses was seen before.
TEST_F(LossDetectionTest, ATimeoutInARecoveryDoesNotUndoTheRecovery) {
  Write(30);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}});
  ASSERT_EQ(phase(), RecoveryPhase::kRecovery);
  Output();
  Timeout();
  Output();
  EXPECT_FALSE(Ack(4, {{5, 9}}).undone);
  EXPECT_EQ(congestion_.ssthresh_bytes, 5 * kMss);
}

TEST_F(LossDetectionTest, WithoutSackTwoNewSegmentsTell) {
  Start(false);
  Write(30);
  Output();
  Timeout();
  Output();
  EXPECT_FALSE(Ack(1).undone);
  const Numbers sent = Output();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent[0], 10u) << "new data (RFC 5682, 2.1, step 2b)";
  EXPECT_TRUE(Ack(2).undone);
  EXPECT_GE(window(), 10u);
}

TEST_F(LossDetectionTest, WhatSeemsLostGoesIfNothingNewMay) {
  Start(false);
  Write(30);
  Output();
  EXPECT_FALSE(loss_.CannotSendNew(sender()));
  Timeout();
  Output();
  Ack(1);
  ASSERT_EQ(loss_.NextToSend(sender()), LossDetection::Next::kNew);
  EXPECT_TRUE(loss_.CannotSendNew(sender()));
  EXPECT_EQ(Output()[0], 1u);
}

TEST_F(LossDetectionTest, WithoutSackADuplicateConfirmsTheTimeout) {
  Start(false);
  Write(30);
  Output();
  Timeout();
  Output();
  Ack(1);
  Output();
  EXPECT_FALSE(Ack(1).undone);
  EXPECT_EQ(Output()[0], 1u);
  EXPECT_EQ(congestion_.ssthresh_bytes, 5 * kMss);
}

// RFC 3522.
TEST_F(LossDetectionTest, ATimestampShowsThatNothingWasLost) {
  Write(20);
  Output();
  const int64_t sent_ns = now_ns_;
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}});
  ASSERT_EQ(phase(), RecoveryPhase::kRecovery);
  Output();
  const Outcome outcome = Ack(4, {}, false, sent_ns);
  EXPECT_TRUE(outcome.undone);
  EXPECT_EQ(congestion_.ssthresh_bytes, kMss);
  EXPECT_TRUE(loss_.reordering_seen());
}

// RFC 3708.
TEST_F(LossDetectionTest, DsacksForAllThatWasSentAgainUndoIt) {
  Write(20);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}});
  ASSERT_EQ(Output(), (Numbers{0}));
  Ack(10);
  ASSERT_LT(window(), 10u);
  EXPECT_TRUE(Ack(10, {{0, 1}}).undone);
  EXPECT_GE(window(), 10u);
}

TEST_F(LossDetectionTest, ADsackIsWaitedForWhenAllIsAcknowledged) {
  Write(5);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 5}});
  ASSERT_EQ(Output(), (Numbers{0}));
  Ack(5);
  EXPECT_TRUE(queue_.empty());
  EXPECT_GT(memory_.taken_bytes(), 0u);
  EXPECT_TRUE(Ack(5, {{0, 1}}).undone);
  EXPECT_EQ(memory_.taken_bytes(), 0u);
  EXPECT_EQ(window(), 10u);
}

TEST_F(LossDetectionTest, AndNotForEver) {
  Write(5);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 5}});
  Output();
  Ack(5);
  EXPECT_EQ(Fire(), LossDetection::Action::kNone);
  EXPECT_EQ(memory_.taken_bytes(), 0u);
  EXPECT_EQ(loss_.deadline_ns(queue_), LossDetection::kNever);
}

// RFC 3168, 6.1.2.
TEST_F(LossDetectionTest, EcnShrinksTheWindowOnceForEachWindowOfData) {
  Write(60);
  Output();
  now_ns_ += kRttNs;
  EXPECT_TRUE(Ack(1, {}, true).ecn_reduced);
  for (uint32_t i = 2; i <= 10; ++i) {
    Output();
    EXPECT_FALSE(Ack(i, {}, true).ecn_reduced) << i;
  }
  EXPECT_EQ(window(), 5u);
  EXPECT_EQ(queue_.lost_bytes(), 0u);
  Output();
  EXPECT_TRUE(Ack(12, {}, true).ecn_reduced) << "the next window's";
}

TEST_F(LossDetectionTest, ALossAnswersForTheMarksOfItsWindow) {
  Write(60);
  Output();
  now_ns_ += kRttNs;
  EXPECT_FALSE(loss_.TakeReduced());
  Ack(0, {{1, 4}});
  ASSERT_EQ(phase(), RecoveryPhase::kRecovery);
  EXPECT_TRUE(loss_.TakeReduced()) << "CWR, whatever the reason";
  EXPECT_FALSE(loss_.TakeReduced());
  Output();
  const uint32_t threshold = congestion_.ssthresh_bytes;
  EXPECT_FALSE(Ack(5, {}, true).ecn_reduced);
  EXPECT_FALSE(Ack(10, {}, true).ecn_reduced) << "what the marks are of was sent before";
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  EXPECT_EQ(congestion_.ssthresh_bytes, threshold);
}

// RFC 3168, 6.1.2: a mark is no less real as nothing was lost.
TEST_F(LossDetectionTest, WhatAMarkAskedForIsNotUndone) {
  Write(20);
  Output();
  const int64_t sent_ns = now_ns_;
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}}, true);
  ASSERT_EQ(phase(), RecoveryPhase::kRecovery);
  Output();
  EXPECT_TRUE(Ack(4, {}, false, sent_ns).undone);
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  EXPECT_EQ(window(), 5u);
}

TEST_F(LossDetectionTest, EcnForAllThatIsInFlightAlsoShrinksIt) {
  Write(10);
  Output();
  EXPECT_TRUE(Ack(10, {}, true).ecn_reduced);
  EXPECT_EQ(window(), 5u);
  EXPECT_EQ(memory_.taken_bytes(), 0u);
}

// RFC 2018, 8.
TEST_F(LossDetectionTest, APeerThatTakesSacksBackGetsAllAgain) {
  Write(10);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}});
  Output();
  now_ns_ += kRttNs;
  Ack(1);  // and no word of what it had SACKed
  ASSERT_TRUE(queue_.first_is_sacked());
  EXPECT_LE(loss_.deadline_ns(queue_) - now_ns_, kRttNs);
  EXPECT_EQ(Fire(), LossDetection::Action::kReneged);
  EXPECT_EQ(queue_.sacked_bytes(), 0u);
  EXPECT_EQ(Output(), (Numbers{1}));
}

TEST_F(LossDetectionTest, LiesAreCounted) {
  Write(10);
  Output();
  EXPECT_EQ(Ack(0, {{5, 50}, {8, 7}}).bad_sacks, 2u);
  EXPECT_EQ(queue_.sacked_bytes(), 0u);
}

// RFC 5681, 4.1.
TEST_F(LossDetectionTest, AnIdleConnectionBeginsAnew) {
  Write(10);
  Output();
  Ack(10);
  congestion_.SetWindow(100 * kMss);
  now_ns_ += kRttNs;
  loss_.BeforeFirst(sender(), now_ns_);
  EXPECT_EQ(window(), 100u);
  Write(1);  // for a long time there is no room for it at the peer
  now_ns_ += 10'000 * kMs;
  loss_.BeforeFirst(sender(), now_ns_);
  EXPECT_EQ(window(), 10u);
}

// By timestamps of a coarse clock: a round trip is not taken for shorter than it is.
TEST_F(LossDetectionTest, TimestampsAreOfSomeTimeWithinTheirTick) {
  Write(1);
  Output();
  Timeout();
  Output();
  now_ns_ += 100;
  EXPECT_GE(Ack(1, {}, false, now_ns_).rtt_ns, kMs);
}

// Karn: what was sent again, and what waited for it, gives no sample.
TEST_F(LossDetectionTest, RoundTripsAreOfWhatWasSentOnce) {
  Write(5);
  Output();
  now_ns_ += kRttNs;
  EXPECT_NEAR(static_cast<double>(Ack(1).rtt_ns), kRttNs, kMs);
  Timeout();
  Output();
  EXPECT_EQ(Ack(3).rtt_ns, 0);
}

// ---- In a loop with a network.

TEST(LossDetectionLoopTest, OnePercentOfLossNeedsNoTimeouts) {
  SenderModelOptions options;
  options.total_bytes = 20'000'000;
  options.write_bytes_max = 4000;
  options.loss = 0.01;
  SenderModel model(options);
  ASSERT_TRUE(model.Run());
  EXPECT_LT(model.timeouts(), 5u);
  EXPECT_LT(model.needless_pieces(), model.resent_pieces() / 20);
}

// At 1 % and a round trip of 2 ms CUBIC is as fast as RFC 5681: sqrt(3 / 2p) segments a round trip
// (RFC 9438, 4.3).
TEST(LossDetectionLoopTest, GoodputUnderLossIsThatOfTheResponseFunction) {
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    SenderModelOptions options;
    options.seed = seed;
    options.total_bytes = 20'000'000;
    options.whole_segments = true;
    options.loss = 0.01;
    options.delay_ns = 1'000'000;
    SenderModel model(options);
    ASSERT_TRUE(model.Run());
    const double expected_ns = 20'000'000.0 / 1000 / std::sqrt(1.5 / options.loss) * 2'000'000;
    EXPECT_GE(expected_ns / static_cast<double>(model.now_ns()), 0.9) << seed;
  }
}

TEST(LossDetectionLoopTest, ReorderingIsNotTakenForLoss) {
  SenderModelOptions options;
  options.total_bytes = 5'000'000;
  options.reordering = 0.2;
  options.reordering_ns = 1'000'000;
  SenderModel model(options);
  ASSERT_TRUE(model.Run());
  EXPECT_LT(model.resent_pieces(), 60u) << "of 5000 segments, a fifth of them late";
  EXPECT_EQ(model.timeouts(), 0u);
}

TEST(LossDetectionLoopTest, DelaySpikesAreUndone) {
  SenderModelOptions options;
  options.total_bytes = 3'000'000;
  options.spike = 0.002;
  options.delay_ns = 20'000'000;
  SenderModel model(options);
  ASSERT_TRUE(model.Run());
  EXPECT_GT(model.undone(), 0u);
}

TEST(LossDetectionLoopTest, DctcpKeepsQueuesShort) {
  SenderModelOptions options;
  options.congestion_control = "dctcp";
  options.total_bytes = 10'000'000;
  options.delay_ns = 100'000;
  options.bottleneck_ns_per_byte = 8;  // 1 Gb/s
  options.bottleneck_bytes = 500'000;
  options.mark_bytes = 30'000;
  options.delayed_acks = false;
  SenderModel model(options);
  ASSERT_TRUE(model.Run());
  EXPECT_GT(model.ecn_reductions(), 10u);
  EXPECT_EQ(model.resent_pieces(), 0u);
  const double ideal_ns = 10'000'000.0 * 8;
  EXPECT_LT(static_cast<double>(model.now_ns()), 1.3 * ideal_ns);
}

}  // namespace
}  // namespace weft::tcp
