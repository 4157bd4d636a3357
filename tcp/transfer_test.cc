// SPDX-License-Identifier: Apache-2.0
//
// Data on established connections: RFC 9293, 3.7, 3.8.6 and 3.10.7.4; RFC 5681, 4.2; RFC 7323.
#include <cerrno>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

using Lines = std::vector<std::string>;

class TransferTest : public DialogueTest {};

// --- Sending.

TEST_F(TransferTest, SegmentsAreFull) {
  Accept();
  EXPECT_EQ(Write(2500), 2500u);
  EXPECT_EQ(Hear(), "A 1+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1001+1000 ack 1");
  EXPECT_EQ(Hear(), "");  // Nagle: something is under way
  Say("A 1 ack 2001");
  EXPECT_EQ(Hear(), "PA 2001+500 ack 1");
}

class CutSegmentsTest : public TransferTest {
 protected:
  // The device cuts what a buffer holds, six segments of 300 bytes.
  CutSegmentsTest() {
    world_.cut_bytes_max = 1920;
    Start();
  }
};

TEST_F(CutSegmentsTest, LargeOnesGoWholeAndTheirEndWaits) {
  Accept("mss=300 sackok");
  // A quarter of the window each.
  EXPECT_EQ(Write(2000), 2000u);
  EXPECT_EQ(HearAll(), (Lines{"A 1+600 ack 1", "A 601+600 ack 1", "A 1201+600 ack 1"}));
  Say("A 1 ack 1801");
  EXPECT_EQ(Hear(), "PA 1801+200 ack 1");
}

TEST_F(CutSegmentsTest, WithoutSackThereAreNone) {
  Accept("mss=300");
  Write(900);
  EXPECT_EQ(HearAll(), (Lines{"A 1+300 ack 1", "A 301+300 ack 1", "PA 601+300 ack 1"}));
}

TEST_F(CutSegmentsTest, OfALostPartOnlyThatGoesAgain) {
  Accept("mss=300 sackok");
  Write(2400);
  EXPECT_EQ(HearAll().size(), 4u);
  Pass(1 * kMs);
  Say("A 1 ack 1 sack 301-2401");
  EXPECT_EQ(Hear(), "A 1+300 ack 1");
  EXPECT_EQ(Hear(), "");
  Say("A 1 ack 2401");
  EXPECT_EQ(Info().unacked_segments, 0u);
}

// RFC 8985, 6.2: what was sent at the same time has an order, too. Nothing else would show the loss
// before the retransmission timeout.
TEST_F(CutSegmentsTest, OfTheLastPieceALostBeginning) {
  Accept("mss=300 sackok");
  Write(2400);
  EXPECT_EQ(HearAll().size(), 4u);
  Pass(1 * kMs);
  Say("A 1 ack 1801 sack 2101-2401");
  Pass(20 * kMs);
  EXPECT_EQ(Hear(), "A 1801+300 ack 1");
}

TEST_F(CutSegmentsTest, WhatIsLostTogetherGoesAgainTogether) {
  Accept("mss=300 sackok");
  Write(2400);
  EXPECT_EQ(HearAll().size(), 4u);
  Pass(1 * kMs);
  Say("A 1 ack 1 sack 601-2401");
  EXPECT_EQ(Hear(), "A 1+600 ack 1");
}

// The rest of a piece would have to be copied: what is under way makes room for all of it.
TEST_F(CutSegmentsTest, APieceWaitsForRoomForAllOfIt) {
  Accept("mss=300 sackok");
  Write(6000);
  EXPECT_EQ(HearAll().size(), 5u);
  Say("A 1 ack 601 win=2700");
  EXPECT_EQ(Hear(), "");
  Say("A 1 ack 1201 win=2700");
  EXPECT_EQ(Hear(), "A 3001+600 ack 1");
}

// RFC 896; RFC 9293, 3.7.4.
TEST_F(TransferTest, SmallWritesAreGathered) {
  Accept();
  Write(10);
  EXPECT_EQ(Hear(), "PA 1+10 ack 1");
  Write(10);
  Write(10);
  EXPECT_EQ(Hear(), "");
  Say("A 1 ack 11");
  EXPECT_EQ(Hear(), "PA 11+20 ack 1");
}

TEST_F(TransferTest, NoDelaySendsAtOnce) {
  Accept();
  Set({.no_delay = true});
  Write(10);
  Write(10);
  EXPECT_EQ(HearAll(), (Lines{"PA 1+10 ack 1", "PA 11+10 ack 1"}));
}

TEST_F(TransferTest, CorkHoldsBackWhatDoesNotFillASegment) {
  Accept();
  Set({.cork = true});
  Write(10);
  EXPECT_EQ(Hear(), "");
  Write(1500);
  EXPECT_EQ(Hear(), "A 1+1000 ack 1");
  EXPECT_EQ(Hear(), "");
  Say("A 1 ack 1001");
  EXPECT_EQ(Hear(), "");
  Set({.cork = false});
  EXPECT_EQ(Hear(), "PA 1001+510 ack 1");
}

TEST_F(TransferTest, AWindowIsNotExceeded) {
  Listen();
  Say("S 0 mss=1000 win=2500");
  Hear();
  Say("A 1 ack 1 win=2500");
  Event();
  Write(5000);
  EXPECT_EQ(HearAll(), (Lines{"A 1+1000 ack 1", "A 1001+1000 ack 1"}));
  Say("A 1 ack 2001 win=2500");
  EXPECT_EQ(HearAll(), (Lines{"A 2001+1000 ack 1", "A 3001+1000 ack 1"}));
}

// RFC 9293, 3.8.6.2.1: half of the largest window is no silly segment.
TEST_F(TransferTest, HalfOfTheLargestWindowIsSent) {
  Listen();
  Say("S 0 mss=1000 win=800");
  Hear();
  Say("A 1 ack 1 win=800");
  Event();
  Write(5000);
  EXPECT_EQ(Hear(), "A 1+800 ack 1");
  Say("A 1 ack 801 win=150");
  EXPECT_EQ(Hear(), "");
  Say("A 1 ack 801 win=700");  // the rest of the segment that was cut, and half of the window
  EXPECT_EQ(HearAll(), (Lines{"A 801+200 ack 1", "A 1001+500 ack 1"}));
}

TEST_F(TransferTest, AnOldSegmentDoesNotChangeTheWindow) {
  Accept();
  Say("A 1+10 ack 1 win=5000");
  Say("A 11+10 ack 1 win=9000");
  EXPECT_EQ(Info().send_window_bytes, 9000u);
  Say("A 1+10 ack 1 win=1");
  EXPECT_EQ(Info().send_window_bytes, 9000u);
}

TEST_F(TransferTest, ThePeerIsScaled) {
  Accept("mss=1000 ws=4");
  Say("A 1 ack 1 win=10");
  EXPECT_EQ(Info().send_window_bytes, 160u);
}

// RFC 6298, 5.4 to 5.6.
TEST_F(TransferTest, TimeoutsBackOff) {
  Accept();
  Write(10);
  EXPECT_EQ(Hear(), "PA 1+10 ack 1");
  int64_t waited_ns[3] = {};
  for (int64_t& wait_ns : waited_ns) {
    while (outbox_.empty() && wait_ns < 60 * kS) {
      Pass(10 * kMs);
      wait_ns += 10 * kMs;
    }
    EXPECT_EQ(Hear(), "PA 1+10 ack 1");
  }
  EXPECT_GE(waited_ns[1], waited_ns[0] * 3 / 2);
  EXPECT_GE(waited_ns[2], waited_ns[1] * 3 / 2);
  Say("A 1 ack 11");
  Pass(60 * kS);
  EXPECT_EQ(Hear(), "");
}

TEST_F(TransferTest, TheUserTimeoutEndsIt) {
  Accept();
  Set({.user_timeout_ms = 5000});
  Write(10);
  Pass(20 * kS);
  EXPECT_EQ(Event(), absl::StrCat("closed ", ETIMEDOUT));
  EXPECT_EQ(HearAll().back().substr(0, 2), "RA");
}

TEST_F(TransferTest, DuplicateAcksBringTheLostSegment) {
  Accept();
  Write(5000);
  Forget();
  Say("A 1 ack 1");
  Say("A 1 ack 1");
  EXPECT_EQ(engine_->stats().retransmissions, 0u);
  Say("A 1 ack 1");
  EXPECT_EQ(engine_->stats().retransmissions, 1u);
  EXPECT_EQ(HearAll().back(), "A 1+1000 ack 1");
}

TEST_F(TransferTest, SacksBringTheLostSegment) {
  options_.rack = false;
  Start();
  Accept("mss=1000 sackok");
  Write(5000);
  Forget();
  Say("A 1 ack 1 sack 1001-4001");
  EXPECT_EQ(Hear(), "A 1+1000 ack 1");
  Say("A 1 ack 5001");
  EXPECT_EQ(Info().unacked_segments, 0u);
}

TEST_F(TransferTest, AcksOfWhatWasNeverSentAreAnswered) {
  Accept();
  Write(10);
  Forget();
  Say("A 1 ack 100");  // RFC 5961, 5
  EXPECT_EQ(Hear(), "A 11 ack 1");
  EXPECT_EQ(Info().unacked_segments, 1u);
  EXPECT_EQ(engine_->stats().bad_acks, 1u);
}

TEST_F(TransferTest, WritersWaitForRoomAndAreTold) {
  Accept();
  Set({.send_buffer_bytes = 4096});
  EXPECT_LT(Write(10'000), 10'000u);
  EXPECT_EQ(Event(), "");
  Say("A 1 ack 1001");
  Say("A 1 ack 4001");
  EXPECT_EQ(Event(), "writable");
  EXPECT_GT(Write(1000), 0u);
}

TEST_F(TransferTest, BuffersAreSentAsTheyAre) {
  Accept();
  Buffer buffer = pool_->Allocate();
  std::memcpy(buffer.Append(5), "hello", 5);
  EXPECT_TRUE(engine_->SendBuffer(stream_, &buffer, now_ns_));
  EXPECT_FALSE(buffer);
  Turn();
  EXPECT_EQ(Hear(), "PA 1+5 ack 1");
  EXPECT_EQ(last_.payload, "hello");
  EXPECT_EQ(engine_->stats().copied_buffers, 0u);
}

TEST_F(TransferTest, DscpAndTtl) {
  Accept();
  Set({.dscp = 46, .ttl = 7});
  Write(10);
  Hear();
  EXPECT_EQ(last_.dscp, 46);
  EXPECT_EQ(last_.ttl, 7);
}

// --- Receiving.

TEST_F(TransferTest, TheFirstAcksAreNotHeldBack) {
  Accept();
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 11");
}

class DelayedAckTest : public DialogueTest {
 protected:
  // The connection has seen enough.
  void AcceptAndSettle() {
    Accept();
    for (uint32_t i = 0; i < 20; ++i) {
      Say(absl::StrCat("PA ", 1 + i, "+1 ack 1"));
      Read();
      Pass(100 * kMs);
    }
    Forget();
    Event();
  }
};

// RFC 9293, 3.8.6.3.
TEST_F(DelayedAckTest, OneSegmentWaits) {
  AcceptAndSettle();
  Say("A 21+1000 ack 1");
  EXPECT_EQ(Hear(), "");
  Pass(39 * kMs);
  EXPECT_EQ(Hear(), "");
  Pass(2 * kMs);
  EXPECT_EQ(Hear(), "A 1 ack 1021");
}

TEST_F(DelayedAckTest, TwoFullSegmentsDoNot) {
  AcceptAndSettle();
  Say("A 21+1000 ack 1");
  Say("A 1021+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 2021");
}

TEST_F(DelayedAckTest, DataTakesTheAckAlong) {
  AcceptAndSettle();
  Say("A 21+100 ack 1");
  Write(10);
  EXPECT_EQ(Hear(), "PA 1+10 ack 121");
  Pass(100 * kMs);
  for (const std::string& line : HearAll()) EXPECT_EQ(line, "PA 1+10 ack 121");  // sent again
}

TEST_F(DelayedAckTest, Off) {
  options_.delayed_ack_ns = 0;
  Start();
  AcceptAndSettle();
  Say("A 21+10 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 31");
}

// RFC 5681, 4.2.
TEST_F(TransferTest, GapsAreToldAtOnceAndWhenFilled) {
  Accept("mss=1000 sackok");
  Say("A 1001+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1 sack 1001-2001");
  Say("A 3001+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1 sack 3001-4001 1001-2001");
  Say("A 1+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 2001 sack 3001-4001");
  Say("A 2001+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 4001");
  EXPECT_EQ(Read(), Text(1, 4000));
}

TEST_F(TransferTest, DuplicatesAreTold) {
  Accept("mss=1000 sackok");
  Say("A 1+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1001");
  Say("A 1+1000 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1001 sack 1-1001");  // RFC 2883
}

TEST_F(TransferTest, WithoutSackEachSegmentBeyondAGapIsAnswered) {
  Accept();
  Say("A 1001+1000 ack 1");
  Say("A 2001+1000 ack 1");
  EXPECT_EQ(HearAll(), (Lines{"A 1 ack 1", "A 1 ack 1"}));
}

TEST_F(TransferTest, TheWindowClosesAndOpens) {
  options_.receive_buffer_bytes = options_.receive_buffer_bytes_max = 4096;
  Start();
  Accept();
  for (uint32_t at = 1; at < 4096; at += 1024) Say(absl::StrCat("A ", at, "+1024 ack 1"));
  EXPECT_EQ(HearAll().back(), "A 1 ack 4097");
  EXPECT_EQ(last_.window, 0u);
  Say("A 4097+1 ack 1");  // a probe
  EXPECT_EQ(Hear(), "A 1 ack 4097");
  EXPECT_EQ(last_.window, 0u);
  EXPECT_EQ(Read(100).size(), 100u);
  EXPECT_EQ(Hear(), "");  // no silly window (3.8.6.2.2)
  EXPECT_EQ(Read().size(), 3996u);
  EXPECT_EQ(Hear(), "A 1 ack 4097");
  EXPECT_EQ(last_.window, 4096u);
}

TEST_F(TransferTest, DataBeyondTheWindowIsDropped) {
  options_.receive_buffer_bytes = options_.receive_buffer_bytes_max = 4096;
  Start();
  Accept();
  Say("A 10000+100 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  EXPECT_EQ(engine_->stats().out_of_window, 1u);
}

// A segment without data that lies outside is answered too, but not by two engines for ever.
TEST_F(TransferTest, AcksOutsideOfTheWindowAreAnsweredNowAndThen) {
  Accept();
  Say("A 0 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  Say("A 0 ack 1");
  EXPECT_EQ(Hear(), "");
  Pass(600 * kMs);
  Say("A 0 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1");
}

TEST_F(TransferTest, SegmentsWithoutAckAreDropped) {
  Accept();
  Say("P 1+10");
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(engine_->stats().no_ack, 1u);
}

// RFC 6093: urgent data is in line.
TEST_F(TransferTest, UrgentDataIsData) {
  Accept();
  Say("PAU 1+10 ack 1");
  EXPECT_EQ(Read(), Text(1, 10));
}

// --- Timestamps (RFC 7323).

TEST_F(TransferTest, TimestampsAreEchoed) {
  Accept("mss=1000 ts=100");
  Say("PA 1+10 ack 1 ts=150");
  Hear();
  EXPECT_EQ(last_.options.timestamp_echo, 150u);
  // Of what lies beyond a gap it is not (4.3).
  Say("PA 21+10 ack 1 ts=160");
  Hear();
  EXPECT_EQ(last_.options.timestamp_echo, 150u);
}

// 5.3, R1.
TEST_F(TransferTest, SegmentsOfThePastAreDropped) {
  Accept("mss=1000 ts=100");
  Say("PA 1+10 ack 1 ts=150");
  Forget();
  Say("PA 11+10 ack 1 ts=149");
  EXPECT_EQ(Hear(), "A 1 ack 11");
  EXPECT_EQ(engine_->stats().paws_dropped, 1u);
  Say("PA 11+10 ack 1 ts=150");
  EXPECT_EQ(Read(), Text(1, 20));
}

// 5.5.
TEST_F(TransferTest, AfterALongSilenceTimestampsSayNothing) {
  Accept("mss=1000 ts=100");
  Pass(25LL * 24 * 3600 * kS);
  Say("PA 1+10 ack 1 ts=50");
  EXPECT_EQ(Read(), Text(1, 10));
}

// 3.2.
TEST_F(TransferTest, SegmentsWithoutATimestampAreDropped) {
  Accept("mss=1000 ts=100");
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(Hear(), "");
}

// --- ECN (RFC 3168).

TEST_F(TransferTest, MarksAreEchoedUntilThePeerHasReduced) {
  Listen();
  Say("SEC 0 mss=1000");
  Hear();
  Say("A 1 ack 1");
  Event();
  Say("PA 1+10 ack 1 ce");
  EXPECT_EQ(Hear(), "AE 1 ack 11");
  Say("PA 11+10 ack 1");
  EXPECT_EQ(Hear(), "AE 1 ack 21");
  Say("PAC 21+10 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 31");
}

TEST_F(TransferTest, EchoesShrinkTheWindowOnce) {
  Listen();
  Say("SEC 0 mss=1000");
  Hear();
  Say("A 1 ack 1");
  Event();
  Write(20'000);
  Forget();
  EXPECT_EQ(last_.ecn, 2);
  const uint32_t before = Info().cwnd_bytes;
  Say("AE 1 ack 1001");
  Say("AE 1 ack 2001");
  EXPECT_LT(Info().ssthresh_bytes, before);
  EXPECT_EQ(engine_->stats().ecn_reductions, 1u);
  Say("A 1 ack 10001");
  bool reduced = false;
  while (!outbox_.empty()) reduced |= Hear().find('C') != std::string::npos;
  EXPECT_TRUE(reduced);
}

// --- Back-pressure.

TEST_F(TransferTest, AFullOutboxHoldsConnectionsBack) {
  world_.outbox_segments = 4;
  Start();
  Accept();
  held_back_ = true;
  Write(10'000);
  EXPECT_EQ(engine_->pending().size(), 4u);
  EXPECT_GE(engine_->stats().outbox_full, 1u);
  held_back_ = false;
  Turn();
  EXPECT_EQ(HearAll().size(), 10u);
}

}  // namespace
}  // namespace weft::tcp
