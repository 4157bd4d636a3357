// SPDX-License-Identifier: Apache-2.0
//
// Rules of LossDetection one by one; sender_simulation_test.cc has them all at once.
#include "weft/tcp/loss_detection.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/buffer.h"
#include "weft/core/rtt_estimator.h"
#include "weft/tcp/block_pool.h"
#include "weft/tcp/congestion/new_reno.h"
#include "weft/tcp/send_queue.h"
#include "weft/tcp/sender_model.h"

namespace weft::tcp {
namespace {

constexpr uint32_t kMss = 1000;
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kRttNs = 100 * kMs;
constexpr Seq kFirst(0xffff'fc00);

using Outcome = LossDetection::Outcome;
using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;

// A sender with a known round trip; segments are numbered from 0, in hundreds of thousands of
// nanoseconds apart.
class LossDetectionTest : public ::testing::Test {
 protected:
  LossDetectionTest() { Start(true); }
  ~LossDetectionTest() override {
    queue_.Clear();
    EXPECT_EQ(memory_.taken_bytes(), 0u);
  }

  void Start(bool sack, uint32_t window_packets = 10) {
    queue_.Clear();
    queue_.Start(kFirst);
    rtt_ = RttEstimator();
    rtt_.Add(options_.rtt, now_ns_, kRttNs);
    congestion_.Start(NewReno(), kMss, window_packets);
    congestion_.ssthresh_bytes = kMss;  // congestion avoidance
    loss_.Start(sack);
  }
  Sender sender() { return {queue_, rtt_, congestion_, options_, kMss}; }

  void Write(uint32_t segments) {
    for (uint32_t i = 0; i < segments; ++i) {
      Buffer buffer = buffers_.Allocate();
      std::memset(buffer.Append(kMss), 'x', kMss);
      ASSERT_TRUE(queue_.Append(std::move(buffer), memory_));
    }
  }
  void Sent(const SendQueue::Piece& piece) {
    ASSERT_TRUE(piece.buffer);
    sent_.push_back(Number(piece.seq));
    loss_.OnSent(sender(), piece, now_ns_);
  }
  // What the window has room for; the numbers of the segments.
  std::vector<uint32_t> Output() {
    sent_.clear();
    for (;;) {
      now_ns_ += 1000;
      const LossDetection::Next next = loss_.NextToSend(sender());
      if (next == LossDetection::Next::kNothing) return sent_;
      Sent(next == LossDetection::Next::kResend ? queue_.ResendLost(kMss, now_ns_, buffers_, 64)
                                                : queue_.SendNext(kMss, now_ns_, buffers_, 64));
    }
  }
  std::vector<uint32_t> Probe() {
    sent_.clear();
    SendQueue::Piece piece = queue_.SendNext(kMss, now_ns_, buffers_, 64);
    if (!piece.buffer) piece = queue_.ResendLast(kMss, now_ns_, buffers_, 64);
    Sent(piece);
    return sent_;
  }
  // Acknowledges `segments` from the beginning, and SACKs ranges of segments.
  Outcome Ack(uint32_t segments, const Ranges& sacks = {}, bool ece = false,
              int64_t echoed_ns = 0) {
    std::vector<SeqRange> blocks;
    for (auto [begin, end] : sacks) {
      blocks.push_back({kFirst + begin * kMss, kFirst + end * kMss});
    }
    now_ns_ += 1000;
    return loss_.OnAck(sender(), {.now_ns = now_ns_,
                                  .ack = kFirst + segments * kMss,
                                  .sacks = blocks,
                                  .ece = ece,
                                  .may_be_duplicate = true,
                                  .echoed_ns = echoed_ns});
  }
  LossDetection::Action Fire() {
    now_ns_ = loss_.deadline_ns(queue_);
    return loss_.OnTimer(sender(), now_ns_);
  }
  // Timers until the retransmission timer; probes are not heard.
  void Timeout() {
    for (int i = 0; i < 5; ++i) {
      const LossDetection::Action action = Fire();
      if (action == LossDetection::Action::kTimeout || action == LossDetection::Action::kReneged) {
        return;
      }
      if (action == LossDetection::Action::kProbe) Probe();
    }
    FAIL() << "no timeout";
  }
  static uint32_t Number(Seq seq) { return static_cast<uint32_t>(seq - kFirst) / kMss; }
  RecoveryPhase phase() const { return loss_.phase(queue_); }
  uint32_t window() const { return congestion_.cwnd_bytes / kMss; }

  LossOptions options_;
  BufferPool buffers_{{.count = 1024, .bytes = 2048, .headroom = 128}};
  BlockPool memory_;
  SendQueue queue_;
  RttEstimator rtt_;
  CongestionState congestion_;
  LossDetection loss_;
  int64_t now_ns_ = 1'000'000'000;
  std::vector<uint32_t> sent_;
};

using Numbers = std::vector<uint32_t>;

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
  EXPECT_EQ(loss_.backoff(), 0);
  EXPECT_EQ(phase(), RecoveryPhase::kOpen);
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
  Ack(2, {{0, 1}});
  Ack(2, {{1, 2}});  // in the same round
  Ack(2, {{4, 5}});
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
  now_ns_ += 10'000 * kMs;
  loss_.BeforeFirst(sender(), now_ns_);
  EXPECT_EQ(window(), 10u);
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
