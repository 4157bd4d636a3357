// SPDX-License-Identifier: Apache-2.0
//
// How connections end in good order: RFC 9293, 3.6 and 3.10.4.
#include <cerrno>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

using Lines = std::vector<std::string>;

class CloseTest : public DialogueTest {};

// Figure 12, as the one who begins.
TEST_F(CloseTest, Active) {
  Accept();
  CloseWrite();
  EXPECT_EQ(Hear(), "FA 1 ack 1");
  EXPECT_EQ(State(), "FIN-WAIT-1");
  Say("A 1 ack 2");
  EXPECT_EQ(State(), "FIN-WAIT-2");
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
  EXPECT_EQ(Event(), "remote closed");
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(engine_->stats().time_wait.value(), 1);
  Pass(61 * kS);
  EXPECT_EQ(engine_->stats().time_waits, 1u);
}

// As the other one.
TEST_F(CloseTest, Passive) {
  Accept();
  Say("FA 1 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 2");
  EXPECT_EQ(Event(), "remote closed");
  EXPECT_EQ(State(), "CLOSE-WAIT");
  Write(10);
  EXPECT_EQ(Hear(), "PA 1+10 ack 2");
  Say("A 2 ack 11");
  Close();
  EXPECT_EQ(Hear(), "FA 11 ack 2");
  EXPECT_EQ(State(), "LAST-ACK");
  Say("A 2 ack 12");
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(engine_->stats().time_wait.value(), 0);
}

// Figure 13.
TEST_F(CloseTest, Simultaneous) {
  Accept();
  CloseWrite();
  EXPECT_EQ(Hear(), "FA 1 ack 1");
  Say("FA 1 ack 1");
  EXPECT_EQ(Hear(), "A 2 ack 2");
  EXPECT_EQ(State(), "CLOSING");
  Say("A 2 ack 2");
  EXPECT_EQ(Event(), "remote closed");
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(engine_->stats().time_wait.value(), 1);
}

TEST_F(CloseTest, FinAndItsAckInOneSegment) {
  Accept();
  Close();
  EXPECT_EQ(Hear(), "FA 1 ack 1");
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(engine_->stats().time_wait.value(), 1);
}

TEST_F(CloseTest, TheEndGoesWithTheLastData) {
  Accept();
  Set({.cork = true});
  Write(1500);
  EXPECT_EQ(Hear(), "A 1+1000 ack 1");
  Close();
  EXPECT_EQ(Hear(), "FPA 1001+500 ack 1");
}

TEST_F(CloseTest, ALostEndIsSentAgain) {
  Accept();
  Close();
  EXPECT_EQ(Hear(), "FA 1 ack 1");
  Pass(5 * kS);
  const Lines again = HearAll();
  EXPECT_GE(again.size(), 2u);
  for (const std::string& line : again) EXPECT_EQ(line, "FA 1 ack 1");
  Say("A 1 ack 2");
  EXPECT_EQ(Event(), "closed");
}

TEST_F(CloseTest, ALostEndWithDataIsSentAgain) {
  Accept();
  Set({.cork = true});
  Write(10);
  Close();
  EXPECT_EQ(Hear(), "FPA 1+10 ack 1");
  Pass(2 * kS);
  EXPECT_EQ(Hear(), "FPA 1+10 ack 1");
  Forget();
  Say("A 1 ack 11");  // the data came, the end did not
  Pass(5 * kS);
  EXPECT_EQ(HearAll().back(), "FA 11 ack 1");
  Say("A 1 ack 12");
  EXPECT_EQ(Event(), "closed");
}

TEST_F(CloseTest, AnEndThatNobodyAcknowledgesIsGivenUp) {
  Accept();
  Set({.user_timeout_ms = 10'000});
  Close();
  Pass(60 * kS);
  EXPECT_EQ(Event(), absl::StrCat("closed ", ETIMEDOUT));
}

TEST_F(CloseTest, ReadingGoesOnAfterHalfClose) {
  Accept();
  CloseWrite();
  Hear();
  Say("A 1 ack 2");
  Say("PA 1+100 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 101");
  EXPECT_EQ(Event(), "readable");
  EXPECT_EQ(Read(), Text(1, 100));
  Pass(3600 * kS);  // there is no hurry
  EXPECT_EQ(State(), "FIN-WAIT-2");
  EXPECT_EQ(Write(1), 0u);
}

TEST_F(CloseTest, ClosedIsToldWhenAllIsRead) {
  Accept();
  CloseWrite();
  Forget();
  Say("FPA 1+10 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 12");
  EXPECT_EQ(Event(), "readable");
  EXPECT_EQ(Event(), "remote closed");
  EXPECT_EQ(Event(), "");
  EXPECT_EQ(Read(), Text(1, 10));
  EXPECT_EQ(Event(), "closed");
}

// After Close() nothing is read, and the peer may take its time.
TEST_F(CloseTest, WhatArrivesAfterCloseIsDiscarded) {
  Accept();
  Write(10);
  Close();
  EXPECT_EQ(HearAll(), (Lines{"PA 1+10 ack 1", "FA 11 ack 1"}));
  Say("PA 1+100 ack 1");
  EXPECT_EQ(Hear(), "A 12 ack 101");
  Say("A 101 ack 12");
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(engine_->stats().connections.value(), 1);  // until the event was acted on
  Event();
  EXPECT_EQ(engine_->stats().connections.value(), 0);
  // What is left takes 64 bytes.
  Say("PA 101+100 ack 12");
  EXPECT_EQ(Hear(), "A 12 ack 201");
  Say("FA 201 ack 12");
  EXPECT_EQ(Hear(), "A 12 ack 202");
  Pass(61 * kS);
  Say("A 202 ack 12");
  EXPECT_EQ(Hear(), "R 12");
}

TEST_F(CloseTest, APeerThatNeverEndsIsForgotten) {
  Accept();
  Close();
  Hear();
  Say("A 1 ack 2");
  EXPECT_EQ(Event(), "closed");
  EXPECT_EQ(engine_->stats().time_wait.value(), 1);
  Pass(61 * kS);
  Say("PA 1+1 ack 2");
  EXPECT_EQ(Hear(), "R 2");
}

TEST_F(CloseTest, ClosingAcceptedData) {
  Accept();
  Say("PA 1+100 ack 1");
  Hear();
  Close();
  EXPECT_EQ(Hear(), "FA 1 ack 101");
  EXPECT_EQ(Event(), "");
  Say("FA 101 ack 2");
  EXPECT_EQ(Event(), "closed");
}

TEST_F(CloseTest, DataAfterTheEndIsIgnored) {
  Accept();
  Say("FA 1 ack 1");
  Hear();
  Say("PA 2+10 ack 1");
  EXPECT_EQ(Read(), "");
}

TEST_F(CloseTest, AnEndThatOvertakesItsDataWaits) {
  Accept();
  Say("FA 101 ack 1");
  EXPECT_EQ(State(), "ESTABLISHED");
  Forget();
  Say("A 1+100 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 102");
  EXPECT_EQ(State(), "CLOSE-WAIT");
}

TEST_F(CloseTest, AnEndFitsAClosedWindow) {
  options_.receive_buffer_bytes = options_.receive_buffer_bytes_max = 4096;
  Start();
  Accept();
  for (uint32_t at = 1; at < 4096; at += 1024) Say(absl::StrCat("A ", at, "+1024 ack 1"));
  Forget();
  Say("FA 4097 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 4098");
  EXPECT_EQ(State(), "CLOSE-WAIT");
}

TEST_F(CloseTest, NothingIsCommittedBehindTheEnd) {
  Accept();
  ASSERT_EQ(engine_->Reserve(stream_, 10).size(), 10u);
  CloseWrite();
  EXPECT_EQ(Hear(), "FA 1 ack 1");
  engine_->Commit(stream_, 10, now_ns_);
  Turn();
  EXPECT_EQ(Hear(), "");
  Say("A 1 ack 2");
  EXPECT_EQ(State(), "FIN-WAIT-2");
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
}

// A user that goes away leaves behind what it has closed; nobody is told of the end.
TEST_F(CloseTest, WithoutAUser) {
  Accept();
  Close();
  EXPECT_EQ(Hear(), "FA 1 ack 1");
  engine_->RemoveUser(0, now_ns_);
  EXPECT_EQ(engine_->stats().connections.value(), 1);
  Say("FA 1 ack 2");
  EXPECT_EQ(Hear(), "A 2 ack 2");
  EXPECT_EQ(engine_->stats().connections.value(), 0);
  Start();
  Accept();
  Say("FA 1 ack 1");
  Close();
  Forget();
  engine_->RemoveUser(0, now_ns_);
  EXPECT_EQ(engine_->stats().connections.value(), 1);
  Say("A 2 ack 2");
  EXPECT_EQ(engine_->stats().connections.value(), 0);
  EXPECT_EQ(Event(), "");
}

TEST_F(CloseTest, AbortResets) {
  Accept();
  Write(10);
  Hear();
  Abort();
  EXPECT_EQ(Hear(), "RA 11 ack 1");
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNABORTED));
  EXPECT_EQ(Event(), "");
  Say("A 1 ack 11");
  EXPECT_EQ(Hear(), "R 11");
}

TEST_F(CloseTest, CallsOnWhatIsGoneAreHarmless) {
  Accept();
  Abort();
  Event();
  Event();
  EXPECT_EQ(Write(10), 0u);
  EXPECT_EQ(Read(), "");
  CloseWrite();
  Close();
  Abort();
  EXPECT_TRUE(absl::IsNotFound(engine_->Info(stream_, now_ns_).status()));
  EXPECT_TRUE(absl::IsNotFound(engine_->SetOptions(stream_, {}, now_ns_)));
  for (const uint64_t value : {uint64_t{0}, uint64_t{12345678}, UINT64_MAX}) {
    stream_ = StreamId{value};
    EXPECT_EQ(Write(10), 0u);
    Close();
  }
  Forget();
}

}  // namespace
}  // namespace weft::tcp
