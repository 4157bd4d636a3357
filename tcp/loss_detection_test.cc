// SPDX-License-Identifier: Apache-2.0
//
// How LossDetection finds losses and repairs them, rule by rule; sender_simulation_test.cc has all
// rules at once.
#include "weft/tcp/loss_detection.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "weft/tcp/loss_detection_fixture.h"

namespace weft::tcp {
namespace {

TEST_F(LossDetectionTest, IsSmallAndQuietWhileNothingIsInFlight) {
  EXPECT_LE(sizeof(LossDetection), 48u);
  EXPECT_EQ(loss_.deadline_ns(queue_), LossDetection::kNever);
  EXPECT_EQ(loss_.NextToSend(sender()), LossDetection::Next::kNothing);
  EXPECT_EQ(Ack(0).acked_bytes, 0u);
}

TEST_F(LossDetectionTest, SendsWhatTheWindowHasRoomFor) {
  Write(20);
  EXPECT_EQ(Output().size(), 10u);
  now_ns_ += kRttNs;
  Ack(2);
  EXPECT_EQ(Output(), (Numbers{10, 11}));
}

TEST_F(LossDetectionTest, TheWindowGrowsOnlyIfItWasFull) {
  congestion_.ssthresh_bytes = CongestionState::kNoThreshold;
  Write(5);
  Output();
  Ack(5);
  EXPECT_EQ(window(), 10u);
  Write(15);
  Output();
  Ack(10);
  EXPECT_EQ(window(), 15u);
}

// RFC 6298, 5.2 and 5.3.
TEST_F(LossDetectionTest, TheTimerRunsFromTheLastAcknowledgementThatWentForward) {
  options_.rack = false;  // no probes
  Write(3);
  Output();
  now_ns_ += kRttNs;
  Ack(1);
  EXPECT_EQ(loss_.deadline_ns(queue_), now_ns_ + loss_.rto_ns(sender()));
  const int64_t before = loss_.deadline_ns(queue_);
  now_ns_ += kMs;
  Ack(1);
  EXPECT_EQ(loss_.deadline_ns(queue_), before);
  Ack(3);
  EXPECT_EQ(loss_.deadline_ns(queue_), LossDetection::kNever);
}

// RFC 6298, 5.4 to 5.7; RFC 5681, 3.1.
TEST_F(LossDetectionTest, ATimeoutSendsTheFirstAgainAndBacksOff) {
  options_.rack = false;
  Write(10);
  Output();
  EXPECT_EQ(Fire(), LossDetection::Action::kTimeout);
  EXPECT_EQ(phase(), RecoveryPhase::kTimeout);
  EXPECT_EQ(window(), 1u);
  EXPECT_EQ(congestion_.ssthresh_bytes, 5 * kMss);
  EXPECT_EQ(Output(), (Numbers{0}));
  const int64_t rto_ns = rtt_.rto_ns(options_.rtt);
  EXPECT_EQ(loss_.rto_ns(sender()), 2 * rto_ns);
  EXPECT_EQ(Fire(), LossDetection::Action::kTimeout);
  EXPECT_EQ(loss_.rto_ns(sender()), 4 * rto_ns);
  EXPECT_EQ(congestion_.ssthresh_bytes, 5 * kMss) << "once for the same window";
  Output();
  Ack(10);
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  EXPECT_EQ(loss_.backoff(), 2) << "of which sending it is cannot be told (Karn)";
  Write(1);
  Output();
  Ack(11);
  EXPECT_EQ(loss_.backoff(), 0);
}

// RFC 8985, 6.3 with RFC 6298, 5.4: what was sent a moment ago may be on the way, but the first
// segment goes at once, whatever else does.
TEST_F(LossDetectionTest, AtATimeoutTheFirstSegmentGoesWhateverIsOnTheWay) {
  Write(2);
  Output();
  now_ns_ += kRttNs;
  Ack(1);
  Timeout();
  ASSERT_EQ(Output(), (Numbers{1}));
  now_ns_ = loss_.deadline_ns(queue_) - kMs;
  congestion_.SetWindow(10 * kMss);
  Write(5);
  ASSERT_EQ(Output(), (Numbers{2, 3, 4, 5, 6}));
  EXPECT_EQ(Fire(), LossDetection::Action::kTimeout);
  ASSERT_EQ(queue_.pipe_bytes(), 5 * kMss);
  EXPECT_EQ(Output(), (Numbers{1}));
}

// RFC 8985, 6.2: three segments SACKed, reordering never seen.
TEST_F(LossDetectionTest, RackFindsALossByWhatCameBehindIt) {
  Write(20);
  Output();
  now_ns_ += kRttNs;
  EXPECT_FALSE(Ack(0, {{1, 2}}).recovery_began);
  EXPECT_FALSE(Ack(0, {{1, 3}}).recovery_began);
  EXPECT_TRUE(Ack(0, {{1, 4}}).recovery_began);
  EXPECT_EQ(phase(), RecoveryPhase::kRecovery);
  EXPECT_EQ(Output()[0], 0u);
  now_ns_ += kRttNs;
  Ack(Number(queue_.next()));
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  EXPECT_EQ(window(), 5u);
}

// RFC 8985, 6.2, step 5: with fewer, a quarter of a round trip later.
TEST_F(LossDetectionTest, RackWaitsForWhatMayBeReorderedOnly) {
  Write(5);
  Output();
  now_ns_ += kRttNs;
  EXPECT_FALSE(Ack(0, {{1, 2}}).recovery_began);
  const int64_t wait_ns = loss_.deadline_ns(queue_) - now_ns_;
  EXPECT_GT(wait_ns, 20 * kMs);
  EXPECT_LT(wait_ns, 30 * kMs);
  EXPECT_EQ(Fire(), LossDetection::Action::kOutput);
  EXPECT_EQ(Output(), (Numbers{0}));
}

TEST_F(LossDetectionTest, RackFindsThatWhatWasSentAgainIsLostAgain) {
  Write(30);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}});
  ASSERT_EQ(Output()[0], 0u);
  now_ns_ += kRttNs / 2;
  Ack(0, {{1, 10}});
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 14}});  // some of it was sent after the second sending of the first
  const Numbers sent = Output();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent[0], 0u);
}

// RFC 8985, 6.2, step 3.
TEST_F(LossDetectionTest, RackLearnsThatThePathReorders) {
  Write(20);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 2}});
  EXPECT_FALSE(loss_.reordering_seen());
  Ack(2);
  EXPECT_TRUE(loss_.reordering_seen());
  Output();
  EXPECT_FALSE(Ack(2, {{3, 9}}).recovery_began) << "it waits now, whatever is SACKed";
}

// RFC 8985, 6.2, step 4.
TEST_F(LossDetectionTest, ADsackWidensTheReorderingWindowOnceARound) {
  Write(40);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 2}});
  Ack(2);  // reordering
  Output();
  Ack(2, {{3, 4}});
  ASSERT_EQ(Fire(), LossDetection::Action::kOutput);
  ASSERT_EQ(Output()[0], 2u);
  Ack(4);  // it had been late
  Ack(4, {{2, 3}});
  Ack(4, {{2, 3}});  // in the same round
  Ack(4, {{5, 6}});
  const int64_t wait_ns = loss_.deadline_ns(queue_) - now_ns_;
  EXPECT_GT(wait_ns, 2 * kRttNs / 4 - 10 * kMs);
  EXPECT_LT(wait_ns, 2 * kRttNs / 4 + 10 * kMs);
}

// RFC 8985, 7.2 and 7.3.
TEST_F(LossDetectionTest, AProbeGoesOutForATail) {
  Write(5);
  Output();
  EXPECT_LT(loss_.deadline_ns(queue_) - now_ns_, loss_.rto_ns(sender()));
  EXPECT_EQ(Fire(), LossDetection::Action::kProbe);
  EXPECT_EQ(Probe(), (Numbers{4}));
  EXPECT_EQ(loss_.deadline_ns(queue_), now_ns_ + loss_.rto_ns(sender())) << "one only";
  // The probe's SACK shows what is lost, long before the timeout.
  now_ns_ += kRttNs;
  EXPECT_TRUE(Ack(0, {{4, 5}}).recovery_began || Fire() == LossDetection::Action::kOutput);
  EXPECT_EQ(Output()[0], 0u);
}

TEST_F(LossDetectionTest, AProbeIsNewDataIfThereIsSome) {
  Write(20);
  Output();
  EXPECT_EQ(Fire(), LossDetection::Action::kProbe);
  EXPECT_EQ(Probe(), (Numbers{10}));
}

// RFC 8985, 7.4.
TEST_F(LossDetectionTest, AProbeThatRepairedALossCounts) {
  Write(10);
  Output();
  now_ns_ += kRttNs;
  Ack(9);
  ASSERT_EQ(Fire(), LossDetection::Action::kProbe);
  ASSERT_EQ(Probe(), (Numbers{9}));
  now_ns_ += kRttNs;
  const uint32_t before = window();
  Ack(10);
  EXPECT_GE(window(), before) << "which of the two was it?";
  Write(10);
  Output();
  now_ns_ += kRttNs;
  Ack(12);
  EXPECT_LT(window(), before);
}

TEST_F(LossDetectionTest, AProbeThatWasNeedlessDoesNot) {
  Write(10);
  Output();
  now_ns_ += kRttNs;
  Ack(9);
  ASSERT_EQ(Fire(), LossDetection::Action::kProbe);
  ASSERT_EQ(Probe(), (Numbers{9}));
  Ack(10);
  Ack(10, {{9, 10}});
  Write(10);
  Output();
  now_ns_ += kRttNs;
  Ack(12);
  EXPECT_GE(window(), 10u);
}

// RFC 6675: counting, when told not to use RACK.
TEST_F(LossDetectionTest, CountsWithoutRack) {
  options_.rack = false;
  Write(20);
  Output();
  Ack(0, {{1, 2}});
  EXPECT_FALSE(Ack(0, {{1, 3}}).recovery_began);
  EXPECT_TRUE(Ack(0, {{1, 3}, {4, 5}}).recovery_began);
  const Numbers sent = Output();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent[0], 0u);
  Ack(0, {{1, 3}, {4, 8}});
  bool third = false;
  for (const uint32_t number : Output()) third |= number == 3;
  EXPECT_TRUE(third);
}

// RFC 3042 and RFC 5681, 3.2.
TEST_F(LossDetectionTest, WithoutSackDuplicatesLetNewDataGoThenMeanALoss) {
  Start(false);
  Write(30);
  Output();
  Ack(0);
  EXPECT_EQ(Output(), (Numbers{10}));
  Ack(0);
  EXPECT_EQ(Output(), (Numbers{11}));
  EXPECT_TRUE(Ack(0).recovery_began);
  EXPECT_EQ(Output()[0], 0u);
  EXPECT_EQ(congestion_.ssthresh_bytes, 6 * kMss);
}

// RFC 6582, 3.2.
TEST_F(LossDetectionTest, WithoutSackAPartialAcknowledgementShowsTheNextLoss) {
  Start(false);
  Write(30);
  Output();
  for (int i = 0; i < 3; ++i) Ack(0);
  ASSERT_EQ(Output()[0], 0u);
  for (int i = 0; i < 5; ++i) Ack(0);
  Output();
  Ack(4);
  const Numbers sent = Output();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent[0], 4u);
  EXPECT_EQ(phase(), RecoveryPhase::kRecovery);
  Ack(Number(queue_.next()));
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  EXPECT_EQ(window(), 5u);
}

// RFC 6582, 3.2, step 1: duplicates that a timeout's resending brings are no loss.
TEST_F(LossDetectionTest, WithoutSackDuplicatesOfWhatWasSentBeforeATimeoutSayNothing) {
  Start(false);
  Write(10);
  Output();
  Timeout();
  Output();
  Ack(10);
  Write(10);
  Output();
  for (int i = 0; i < 3; ++i) Ack(10);
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
  Ack(11);
  Output();
  for (int i = 0; i < 3; ++i) Ack(11);
  EXPECT_EQ(phase(), RecoveryPhase::kRecovery) << "beyond it they do";
}

// RFC 6937: while it recovers, the sender sends about 7 for each 10 that are delivered.
TEST_F(LossDetectionTest, TheWindowIsLedDownInProportion) {
  Start(true, 40);
  Write(200);
  Output();
  now_ns_ += kRttNs;
  Ack(0, {{1, 4}});
  ASSERT_EQ(phase(), RecoveryPhase::kRecovery);
  uint32_t sent = static_cast<uint32_t>(Output().size());
  for (uint32_t i = 5; i <= 40; ++i) {
    Ack(0, {{1, i}});
    const auto n = static_cast<uint32_t>(Output().size());
    EXPECT_LE(n, 2u) << "no burst";
    sent += n;
  }
  EXPECT_NEAR(sent, 20, 2);
  EXPECT_NEAR(loss_.pipe_bytes(sender()) / kMss, 20, 1);
}

}  // namespace
}  // namespace weft::tcp
