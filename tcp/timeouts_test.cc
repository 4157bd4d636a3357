// SPDX-License-Identifier: Apache-2.0
//
// Windows that are closed, peers that are silent: RFC 9293, 3.8.3, 3.8.4 and 3.8.6.1.
#include <cerrno>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

class TimeoutsTest : public DialogueTest {};

TEST_F(TimeoutsTest, AClosedWindowIsProbed) {
  Accept();
  Say("A 1 ack 1 win=0");
  Write(100);
  EXPECT_EQ(Hear(), "");
  Pass(1100 * kMs);
  EXPECT_EQ(Hear(), "A 0 ack 1");
  Forget();
  Say("A 1 ack 1 win=0");
  Pass(10 * kS);
  EXPECT_EQ(Hear(), "A 0 ack 1");
  Forget();
  Say("A 1 ack 1 win=1000");
  EXPECT_EQ(Hear(), "PA 1+100 ack 1");
}

// 3.8.6: a peer should not, but it drops what lies beyond the window that it has now.
TEST_F(TimeoutsTest, WhatAPeerMustHearLiesInAWindowThatItHasTakenBack) {
  Accept();
  Write(100);
  EXPECT_EQ(Hear(), "PA 1+100 ack 1");
  Say("A 1 ack 1 win=0");
  Say("PA 1+10 ack 1 win=0");
  EXPECT_EQ(Hear(), "A 1 ack 11");
  engine_->Abort(stream_, now_ns_);
  Turn();
  EXPECT_EQ(Hear(), "RA 1 ack 11");
}

// 3.8.6.1: as long as the peer answers, the connection stays.
TEST_F(TimeoutsTest, AWindowMayStayClosedForLong) {
  Accept();
  Say("A 1 ack 1 win=0");
  Write(100);
  for (int i = 0; i < 600; ++i) {
    Pass(10 * kS);
    if (!outbox_.empty()) Say("A 1 ack 1 win=0");
    Forget();
  }
  EXPECT_EQ(State(), "ESTABLISHED");
  EXPECT_GE(engine_->stats().window_probes, 40u);
  EXPECT_LE(engine_->stats().window_probes, 200u);
}

TEST_F(TimeoutsTest, AWindowThatNobodyKeepsClosedIsGivenUp) {
  Accept();
  Set({.user_timeout_ms = 30'000});
  Say("A 1 ack 1 win=0");
  Write(100);
  Pass(120 * kS);
  EXPECT_EQ(Event(), absl::StrCat("closed ", ETIMEDOUT));
  Forget();
}

// 3.8.6.2.1, the override timeout.
TEST_F(TimeoutsTest, ASillyWindowIsUsedWhenNothingElseComes) {
  Accept();
  Say("A 1 ack 1 win=10");
  Write(100);
  EXPECT_EQ(Hear(), "");
  Pass(1100 * kMs);
  EXPECT_EQ(Hear(), "A 1+10 ack 1");
}

TEST_F(TimeoutsTest, TheEndFollowsWhenAWindowOpens) {
  Accept();
  Say("A 1 ack 1 win=0");
  Write(100);
  Close();
  Forget();
  Say("A 1 ack 1 win=1000");
  EXPECT_EQ(Hear(), "FPA 1+100 ack 1");
}

TEST_F(TimeoutsTest, Keepalive) {
  Accept();
  Set({.keepalive = true,
       .keepalive_idle_s = 60,
       .keepalive_interval_s = 10,
       .keepalive_probes = 3});
  Pass(59 * kS);
  EXPECT_EQ(Hear(), "");
  Pass(2 * kS);
  EXPECT_EQ(Hear(), "A 0 ack 1");
  Say("A 1 ack 1");
  Pass(50 * kS);
  EXPECT_EQ(Hear(), "");
  Pass(11 * kS);
  EXPECT_EQ(Hear(), "A 0 ack 1");
  Pass(10 * kS);
  EXPECT_EQ(Hear(), "A 0 ack 1");
  Pass(10 * kS);
  EXPECT_EQ(Hear(), "A 0 ack 1");
  EXPECT_EQ(Event(), "");
  Pass(10 * kS);
  EXPECT_EQ(Event(), absl::StrCat("closed ", ETIMEDOUT));
  EXPECT_EQ(Hear(), "RA 1 ack 1");
}

TEST_F(TimeoutsTest, KeepaliveIsOffUnlessAskedFor) {
  Accept();
  Pass(30'000 * kS);
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(State(), "ESTABLISHED");
}

TEST_F(TimeoutsTest, KeepaliveOfAll) {
  options_.keepalive = {.all = true, .idle_s = 5, .interval_s = 1, .probes = 1};
  Start();
  Accept();
  Pass(7 * kS);
  EXPECT_EQ(Event(), absl::StrCat("closed ", ETIMEDOUT));
  Forget();
}

TEST_F(TimeoutsTest, ProbesOfPeersAreAnswered) {
  Accept();
  Say("A 0 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 1");
}

TEST_F(TimeoutsTest, AnIdleConnectionNeedsNoTimer) {
  Accept();
  Say("PA 1+10 ack 1");
  Read();
  Write(10);
  Forget();
  Say("A 11 ack 11");
  Pass(400 * kS);
  EXPECT_EQ(wheel_->size(), 0u);
}

}  // namespace
}  // namespace weft::tcp
