// SPDX-License-Identifier: Apache-2.0
//
// Resets, SYNs and acknowledgements that may be forged: RFC 9293, 3.5.2, 3.5.3 and 3.10.7.4; RFC
// 5961.
#include <cerrno>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

class ResetTest : public DialogueTest {};

TEST_F(ResetTest, AtExactlyTheNextNumberItIsBelieved) {
  Accept();
  Say("R 1");
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNRESET));
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(engine_->stats().resets_received, 1u);
}

TEST_F(ResetTest, ElsewhereInTheWindowItIsChallenged) {
  Accept();
  Say("R 2");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  EXPECT_EQ(State(), "ESTABLISHED");
  EXPECT_EQ(engine_->stats().challenge_acks, 1u);
  // A peer that has gone answers the challenge by one that is believed.
  Say("R 1");
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNRESET));
}

TEST_F(ResetTest, OutsideOfTheWindowItIsIgnored) {
  Accept();
  Say("R 200000");
  Say("R 0");
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(State(), "ESTABLISHED");
}

TEST_F(ResetTest, ASynIsChallengedWhereverItIs) {
  Accept();
  Say("S 1");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  Pass(kS);
  Say("S 500");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  Pass(kS);
  Say("S 3000000");
  EXPECT_EQ(Hear(), "A 1 ack 1");
  EXPECT_EQ(State(), "ESTABLISHED");
}

// 3.5.3, figure 9: a peer that has restarted.
TEST_F(ResetTest, HalfOpenConnectionsAreFoundOut) {
  Accept();
  Say("S 900");  // another connection, as the peer sees it
  EXPECT_EQ(Hear(), "A 1 ack 1");
  Say("R 1");
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNRESET));
  peer_isn_ = Seq(900);
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
}

TEST_F(ResetTest, ChallengesAreLimitedForAConnection) {
  Accept();
  for (int i = 0; i < 100; ++i) Say("R 2");
  EXPECT_EQ(HearAll().size(), 1u);
  Pass(600 * kMs);
  Say("R 2");
  EXPECT_EQ(HearAll().size(), 1u);
}

// Ticks go around once in 19 hours: a challenge of half of them ago is not one of just now.
TEST_F(ResetTest, ChallengesOfLongAgoDoNotCount) {
  Accept();
  Say("R 2");
  EXPECT_EQ(HearAll().size(), 1u);
  Pass(12 * 3600 * kS);
  Say("R 2");
  EXPECT_EQ(HearAll().size(), 1u);
}

TEST_F(ResetTest, ChallengesAreLimitedForAll) {
  options_.challenge_acks_per_s = 10;
  Start();
  Listen(1000);
  for (uint32_t i = 0; i < 100; ++i) {
    const auto stream = engine_->Connect({us_, peer_, 0, kPeerPort}, now_ns_);
    stream_ = *stream;
    our_port_ = engine_->FlowOf(stream_)->local_port;
    Turn();
    Hear();
    Say("SA 0 ack 1");
    Forget();
    Say("R 2");
    Forget();
  }
  EXPECT_LE(engine_->stats().challenge_acks, 15u);
  EXPECT_GE(engine_->stats().challenge_acks_limited, 85u);
}

// What was received before it can be read still.
TEST_F(ResetTest, DataBeforeAResetIsThere) {
  Accept();
  Say("PA 1+10 ack 1");
  Say("R 11");
  EXPECT_EQ(Event(), "readable");
  EXPECT_EQ(Read(), Text(1, 10));
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNRESET));
}

TEST_F(ResetTest, InEachState) {
  for (const char* state : {"FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK"}) {
    SCOPED_TRACE(state);
    Start();
    Accept();
    const std::string wanted = state;
    uint32_t next = 1;
    const auto their_end = [&] {
      Say("FA 1 ack 1");
      next = 2;
    };
    if (wanted == "FIN-WAIT-1" || wanted == "FIN-WAIT-2" || wanted == "CLOSING") CloseWrite();
    if (wanted == "FIN-WAIT-2") Say("A 1 ack 2");
    if (wanted == "CLOSE-WAIT" || wanted == "CLOSING" || wanted == "LAST-ACK") their_end();
    if (wanted == "LAST-ACK") CloseWrite();
    ASSERT_EQ(State(), wanted);
    Forget();
    Say(absl::StrCat("R ", next));
    EXPECT_EQ(Hear(), "");
    std::string last;
    for (std::string event = Event(); !event.empty(); event = Event()) last = event;
    // RFC 9293, 3.10.7.4: when both have said their end, it is one.
    const bool over = wanted == "CLOSING" || wanted == "LAST-ACK";
    EXPECT_EQ(last, over ? "closed" : absl::StrCat("closed ", ECONNRESET));
  }
}

TEST_F(ResetTest, ResetsOfOursAreLimited) {
  options_.resets_per_s = 10;
  Start();
  our_isn_ = Seq(0);
  for (int i = 0; i < 100; ++i) Say("A 1 ack 77");
  EXPECT_EQ(HearAll().size(), 1u);
  EXPECT_EQ(engine_->stats().resets_limited, 99u);
  Pass(kS);
  Say("A 1 ack 77");
  EXPECT_EQ(HearAll().size(), 1u);
}

}  // namespace
}  // namespace weft::tcp
