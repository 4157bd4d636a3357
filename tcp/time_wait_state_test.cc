// SPDX-License-Identifier: Apache-2.0
//
// TIME-WAIT as peers see it: RFC 9293, 3.10.7.4; RFC 6191; RFC 1337.
#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

class TimeWaitStateTest : public DialogueTest {
 protected:
  // Closes a connection from here; the last number heard is 2, of both sides.
  void CloseOne(absl::string_view options = "mss=1000") {
    Accept(options);
    Close();
    Hear();
    Say(absl::StrCat("FA 1 ack 2", Echo(options)));
    EXPECT_EQ(Hear(), "A 2 ack 2");
    EXPECT_EQ(Event(), "closed");
    EXPECT_EQ(engine_->stats().time_wait.value(), 1);
  }
};

TEST_F(TimeWaitStateTest, ALostLastAckIsSentAgain) {
  CloseOne();
  Pass(30 * kS);
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
  Pass(40 * kS);  // the rest has begun anew
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
  Pass(61 * kS);
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "R 2");
}

TEST_F(TimeWaitStateTest, ResetsDoNotEndIt) {
  CloseOne();
  Say("R 2");
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
}

TEST_F(TimeWaitStateTest, AcksAreNotAnswered) {
  CloseOne();
  Say("A 2 ack 2");
  EXPECT_EQ(Hear(), "");
}

TEST_F(TimeWaitStateTest, ANewSynAboveTakesOver) {
  CloseOne();
  const Seq old_isn = our_isn_;
  peer_isn_ += 100'000;
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  EXPECT_GT(our_isn_, old_isn + 2);
  EXPECT_EQ(engine_->stats().time_wait_reused, 1u);
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
}

TEST_F(TimeWaitStateTest, AnOldSynDoesNot) {
  CloseOne();
  const Seq isn = peer_isn_;
  peer_isn_ -= 100'000;
  Say("S 0 mss=1000");
  peer_isn_ = isn;
  EXPECT_EQ(Hear(), "A 2 ack 2");
  EXPECT_EQ(engine_->stats().time_wait.value(), 1);
}

// RFC 6191: by timestamps, whatever the numbers.
TEST_F(TimeWaitStateTest, ALaterTimestampTakesOver) {
  CloseOne("mss=1000 ts=100");
  const Seq isn = peer_isn_;
  peer_isn_ -= 100'000;
  Say("S 0 mss=1000 ts=100");
  peer_isn_ = isn;
  EXPECT_EQ(Hear(), "A 2 ack 2");
  peer_isn_ -= 100'000;
  Say("S 0 mss=1000 ts=101");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
}

TEST_F(TimeWaitStateTest, OursMayBeginAnewByTimestamps) {
  const auto connect = [&] { return engine_->Connect({us_, peer_, 1234, kPeerPort}, now_ns_); };
  stream_ = *connect();
  Turn();
  EXPECT_EQ(Hear(), "S 0");
  Say("SA 0 ack 1 mss=1000 ts=100");
  Event();
  Close();
  Forget();
  Say("FA 1 ack 2 ts=100");
  Event();
  Event();
  const Seq end = our_isn_ + 2;
  EXPECT_TRUE(absl::IsAlreadyExists(connect().status()));
  Pass(2 * kS);
  Forget();
  const auto again = connect();
  ASSERT_TRUE(again.ok()) << again.status();
  Turn();
  EXPECT_EQ(Hear(), "S 0");
  EXPECT_GT(our_isn_, end);
}

TEST_F(TimeWaitStateTest, TheOldestIsForgottenAtTheLimit) {
  options_.time_wait_max = 2;
  Start();
  Listen();
  for (uint32_t i = 0; i < 3; ++i) {
    peer_ = netstack::IpAddress::V4(0x0b000000 + i);
    Say("S 0 mss=1000");
    Hear();
    Say("A 1 ack 1");
    Event();
    Close();
    Hear();
    Say("FA 1 ack 2");
    Hear();
    Event();
  }
  EXPECT_EQ(engine_->stats().time_wait.value(), 2);
  EXPECT_EQ(engine_->stats().time_wait_evicted, 1u);
}

}  // namespace
}  // namespace weft::tcp
