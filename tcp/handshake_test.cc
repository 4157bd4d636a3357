// SPDX-License-Identifier: Apache-2.0
//
// How connections begin: RFC 9293, 3.5 and 3.10.7.2 to 3.10.7.4.
#include <cerrno>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

class HandshakeTest : public DialogueTest {};

TEST_F(HandshakeTest, Passive) {
  Listen();
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  EXPECT_EQ(Event(), "");
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(State(), "ESTABLISHED");
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(engine_->stats().passive_opens, 1u);
}

TEST_F(HandshakeTest, Active) {
  Connect();
  EXPECT_EQ(Hear(), "S 0");
  EXPECT_EQ(last_.options.mss, 1460);
  EXPECT_TRUE(last_.options.sack_permitted);
  EXPECT_TRUE(last_.options.has_timestamps);
  EXPECT_TRUE(last_.options.has_window_scale);
  EXPECT_EQ(State(), "SYN-SENT");
  Say("SA 0 ack 1 mss=1000");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  EXPECT_EQ(Event(), "connected");
  EXPECT_EQ(State(), "ESTABLISHED");
}

// RFC 9293, 3.5, figure 7.
TEST_F(HandshakeTest, SimultaneousOpen) {
  Connect();
  EXPECT_EQ(Hear(), "S 0");
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  EXPECT_EQ(State(), "SYN-RECEIVED");
  Say("SA 0 ack 1 mss=1000");
  EXPECT_EQ(Event(), "connected");
  EXPECT_EQ(State(), "ESTABLISHED");
  EXPECT_EQ(Write("hello"), 5u);
  EXPECT_EQ(Hear(), "PA 1+5 ack 1");
}

// What seems to be a simultaneous open may be by anybody who has guessed the ports.
TEST_F(HandshakeTest, AnAnswerThatKnowsOurNumberBeatsASynThatDoesNot) {
  Connect();
  Hear();
  Say("S 900000 mss=1000 ws=7");
  EXPECT_EQ(Hear(), "SA 0 ack 900001");
  Say("SA 0 ack 1 mss=1000");
  EXPECT_EQ(Event(), "connected");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  Say("PA 1+5 ack 1");
  EXPECT_EQ(Read(), Text(1, 5));
  EXPECT_EQ(Info().send_window_scale, 0);
}

TEST_F(HandshakeTest, TwoThatMisunderstandEachOtherDoNotAnswerForEver) {
  Listen();
  Say("S 0");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  for (int i = 0; i < 100; ++i) Say("SA 500000 ack 300000");
  EXPECT_EQ(HearAll().size(), 1u);
}

TEST_F(HandshakeTest, OptionsAreThoseThatBothSidesHave) {
  Listen();
  Say("S 0 mss=1000 ws=3 sackok ts=7");
  Hear();
  EXPECT_TRUE(last_.options.sack_permitted);
  EXPECT_TRUE(last_.options.has_window_scale);
  EXPECT_EQ(last_.options.timestamp_echo, 7u);
  Say("A 1 ack 1 ts=8 win=1000");
  ASSERT_EQ(Event(), "accepted");
  const StreamInfo info = Info();
  EXPECT_TRUE(info.sack && info.timestamps && info.window_scaling);
  EXPECT_EQ(info.send_window_scale, 3);
  EXPECT_EQ(info.send_window_bytes, 8000u);
  EXPECT_EQ(info.send_mss_bytes, 988u);  // less the timestamps (RFC 6691)
}

TEST_F(HandshakeTest, OptionsThatThePeerHasNot) {
  Listen();
  Say("S 0");
  Hear();
  EXPECT_FALSE(last_.options.sack_permitted);
  EXPECT_FALSE(last_.options.has_window_scale);
  EXPECT_FALSE(last_.options.has_timestamps);
  Say("A 1 ack 1");
  ASSERT_EQ(Event(), "accepted");
  EXPECT_EQ(Info().send_mss_bytes, 536u);  // RFC 9293, 3.7.1
}

TEST_F(HandshakeTest, OptionsThatAreOff) {
  options_.sack = options_.timestamps = options_.window_scaling = false;
  Start();
  Connect();
  Hear();
  EXPECT_FALSE(last_.options.sack_permitted || last_.options.has_window_scale ||
               last_.options.has_timestamps);
  Say("SA 0 ack 1 mss=1000 ws=3 sackok ts=7");
  EXPECT_EQ(Event(), "connected");
  const StreamInfo info = Info();
  EXPECT_FALSE(info.sack || info.timestamps || info.window_scaling);
}

TEST_F(HandshakeTest, SynIsSentAgainAndGivenUp) {
  options_.syn_retries = 2;
  Start();
  Connect();
  EXPECT_EQ(Hear(), "S 0");
  Pass(999 * kMs);
  EXPECT_EQ(Hear(), "");
  Pass(2 * kMs);
  EXPECT_EQ(Hear(), "S 0");
  Pass(2001 * kMs);
  EXPECT_EQ(Hear(), "S 0");
  EXPECT_EQ(Event(), "");
  Pass(4001 * kMs);
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(Event(), absl::StrCat("closed ", ETIMEDOUT));
}

TEST_F(HandshakeTest, SynAckIsSentAgainAndGivenUpSilently) {
  options_.syn_ack_retries = 1;
  Start();
  Listen();
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Pass(1001 * kMs);
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Pass(2001 * kMs);
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(Event(), "");
  EXPECT_EQ(engine_->stats().half_open_timeouts, 1u);
  EXPECT_EQ(engine_->stats().connections.value(), 0);
}

TEST_F(HandshakeTest, ASynThatComesTwiceIsAnsweredTwice) {
  Listen();
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(engine_->stats().half_open.value(), 0);
}

TEST_F(HandshakeTest, Refused) {
  Connect();
  Hear();
  Say("RA 0 ack 1");
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNREFUSED));
}

// RFC 5961, 3: without an acknowledgement of our SYN it may be from anybody.
TEST_F(HandshakeTest, ResetsOfStrangersAreNotBelieved) {
  Connect();
  Hear();
  Say("R 0");
  Say("RA 0 ack 7");
  EXPECT_EQ(Event(), "");
  EXPECT_EQ(State(), "SYN-SENT");
  EXPECT_EQ(Hear(), "");
}

// RFC 9293, 3.5.1, figure 8: an old SYN is answered, the peer resets it, the new one goes on.
TEST_F(HandshakeTest, AnOldDuplicateSyn) {
  Listen();
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("R 1");
  EXPECT_EQ(engine_->stats().connections.value(), 0);
  peer_isn_ = Seq(5000);
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
}

// 3.10.7.3: an ACK of what was never sent.
TEST_F(HandshakeTest, AWrongAckOfASynIsReset) {
  Connect();
  Hear();
  Say("SA 0 ack 100");
  EXPECT_EQ(Hear(), "R 100");
  EXPECT_EQ(State(), "SYN-SENT");
  Say("SA 0 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1");
}

TEST_F(HandshakeTest, AWrongAckInSynReceivedIsReset) {
  Listen();
  Say("S 0 mss=1000");
  Hear();
  Say("A 1 ack 100");
  EXPECT_EQ(Hear(), "R 100");
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
}

TEST_F(HandshakeTest, DataWithTheLastAckIsTaken) {
  Listen();
  Say("S 0 mss=1000");
  Hear();
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Event(), "readable");
  EXPECT_EQ(Hear(), "A 1 ack 11");
  EXPECT_EQ(Read(), Text(1, 10));
}

TEST_F(HandshakeTest, DataWithASynIsTolerated) {
  Listen();
  Say("S 0+10 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Hear(), "A 1 ack 11");
}

TEST_F(HandshakeTest, DataWithASynAckIsTolerated) {
  Connect();
  Hear();
  Say("SA 0+10 ack 1 mss=1000");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  EXPECT_EQ(Event(), "connected");
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 11");
}

TEST_F(HandshakeTest, ALostAckIsMadeUpForByData) {
  Listen();
  Say("S 0 mss=1000");
  Hear();
  Pass(1001 * kMs);
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Event(), "accepted");
}

TEST_F(HandshakeTest, SynWithFinIsNoSyn) {
  Listen();
  Say("SF 0");
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(engine_->stats().malformed, 1u);
}

TEST_F(HandshakeTest, NobodyListens) {
  Say("S 0 mss=1000");
  EXPECT_EQ(last_.payload, "");
  our_isn_ = Seq(0);
  EXPECT_EQ(Hear(), "RA 0 ack 1");
  Say("A 1 ack 77");
  EXPECT_EQ(Hear(), "R 77");
  Say("R 1");
  EXPECT_EQ(Hear(), "");
}

TEST_F(HandshakeTest, AListenerAnswersAcksByResets) {
  Listen();
  our_isn_ = Seq(0);
  Say("A 1 ack 77");
  EXPECT_EQ(Hear(), "R 77");
  Say("R 1");
  Say("F 1");
  EXPECT_EQ(Hear(), "");
}

TEST_F(HandshakeTest, ClosingBeforeItIsConnected) {
  Connect();
  Hear();
  Close();
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(Hear(), "");
  Say("SA 0 ack 1");
  EXPECT_EQ(Hear(), "R 1");
}

TEST_F(HandshakeTest, EcnIsAgreedOn) {
  Listen();
  Say("SEC 0 mss=1000");  // RFC 3168, 6.1.1
  EXPECT_EQ(Hear(), "SAE 0 ack 1");
  Say("A 1 ack 1");
  Event();
  EXPECT_TRUE(Info().ecn);
}

TEST_F(HandshakeTest, EcnIsAskedForOnce) {
  options_.ecn = EcnMode::kOn;
  Start();
  Connect();
  EXPECT_EQ(Hear(), "SEC 0");
  Pass(1001 * kMs);
  EXPECT_EQ(Hear(), "S 0");  // 6.1.1.1
  Say("SAE 0 ack 1 mss=1000");
  Event();
  EXPECT_TRUE(Info().ecn);
}

TEST_F(HandshakeTest, EcnIsNotBelievedWhereBothFlagsComeBack) {
  options_.ecn = EcnMode::kOn;
  Start();
  Connect();
  Hear();
  Say("SAEC 0 ack 1 mss=1000");
  Event();
  EXPECT_FALSE(Info().ecn);
}

TEST_F(HandshakeTest, PortsAreOnesOfTheWorker) {
  world_.workers = 4;
  world_.worker = 3;
  Start();
  for (int i = 0; i < 50; ++i) {
    Connect();
    EXPECT_EQ((our_port_ - world_.port_min) % 4, 3);
  }
  Forget();
}

TEST_F(HandshakeTest, ConnectionsMax) {
  options_.connections_max = 2;
  Start();
  Listen();
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Connect();
  EXPECT_EQ(Hear(), "S 0");
  EXPECT_TRUE(
      absl::IsResourceExhausted(engine_->Connect({us_, peer_, 0, kPeerPort}, now_ns_).status()));
  EXPECT_EQ(engine_->stats().connections_refused, 1u);
}

TEST_F(HandshakeTest, AFlowIsThereOnce) {
  const Flow flow = {us_, peer_, 1234, kPeerPort};
  EXPECT_TRUE(engine_->Connect(flow, now_ns_).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(engine_->Connect(flow, now_ns_).status()));
}

}  // namespace
}  // namespace weft::tcp
