// SPDX-License-Identifier: Apache-2.0
//
// Requests in the extended format that come again: executed at most once.
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/router/dispatcher_fixture.h"

namespace weft::router {
namespace {

TEST_F(DispatcherTest, ARequestThatIsDoneIsRememberedAndSentToItsServerAgain) {
  Make({});
  const Decision first = Arrive(Numbered(1, 1));
  Done(first.server, 1);
  const Decision again = Arrive(Resent(1, 1, 500));
  EXPECT_EQ(again.fate, Fate::kRepeat);
  EXPECT_EQ(again.server, first.server);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 0u);
}

TEST_F(DispatcherTest, AHigherSequenceInTheSlotIsANewRequestAndALowerOneIsLate) {
  Make({});
  const Decision first = Arrive(Numbered(1, 5));
  EXPECT_EQ(Arrive(Numbered(1, 4)).fate, Fate::kIgnore);
  const Decision next = Arrive(Numbered(1, 6));
  EXPECT_EQ(next.fate, Fate::kForward);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 1u) << "the former one has ended";
  EXPECT_EQ(Arrive(Numbered(1, 5)).fate, Fate::kIgnore);
  EXPECT_EQ(Done(next.server, 1), DoneResult::kDone);
  EXPECT_EQ(Arrive(Numbered(1, 6)).fate, Fate::kRepeat);
  EXPECT_EQ(Arrive(Numbered(1, 5)).fate, Fate::kIgnore);
  EXPECT_EQ(Done(first.server, 1), DoneResult::kUnknown);
}

TEST_F(DispatcherTest, ACopyStaysWithItsServerThoughALaterRequestOfTheSlotIsInTheSameBurst) {
  for (const bool done : {true, false}) {
    Make({.policy = "round_robin"});
    const Decision first = Arrive(Numbered(1, 5));
    if (done) Done(first.server, 1);
    const Arrival burst[] = {Numbered(1, 5), Numbered(1, 6), Numbered(1, 5)};
    Decision decisions[3];
    dispatcher_->Arrive(burst, now_ns_, absl::MakeSpan(decisions));
    EXPECT_EQ(decisions[0].fate, Fate::kRepeat);
    EXPECT_EQ(decisions[0].server, first.server);
    EXPECT_EQ(decisions[1].fate, Fate::kForward);
    EXPECT_NE(decisions[1].server, first.server);
    EXPECT_EQ(decisions[2].fate, Fate::kIgnore);
    servers_.clear();
  }
}

TEST_F(DispatcherTest, ACancelledRequestIsKnownAtItsServerUntilThatIsLost) {
  using Where = Cancellation::Where;
  Make({}, 1, 1);
  const Arrival request = Numbered(1, 5);
  Arrive(request);
  EXPECT_EQ(dispatcher_->Cancel(1, request.request_id).where, Where::kAtServer);
  Done(servers_[0], 1);
  EXPECT_EQ(dispatcher_->Cancel(1, request.request_id).server, servers_[0]);
  dispatcher_->Lose(servers_[0]);
  EXPECT_EQ(dispatcher_->Cancel(1, request.request_id).where, Where::kEnded);
}

TEST_F(DispatcherTest, AHigherSequenceTakesThePlaceOfOneThatWaits) {
  Make({}, 1, 1);
  Arrive(Numbered(9, 1));
  const Decision waiting = Arrive(Numbered(1, 1));
  Arrive(Numbered(2, 1));
  const Decision next = Arrive(Numbered(1, 2));
  EXPECT_EQ(next.fate, Fate::kQueueInstead);
  EXPECT_EQ(next.ticket, waiting.ticket);
  EXPECT_EQ(Arrive(Numbered(1, 1)).fate, Fate::kIgnore);
  EXPECT_EQ(Arrive(Numbered(1, 2)).fate, Fate::kIgnore);
  Done(servers_[0], 9);
  EXPECT_EQ(TakeReady()[0].ticket, waiting.ticket);
}

TEST_F(DispatcherTest, OfAServerThatWasLostARepeatedRequestIsNotExecutedElsewhere) {
  Make({});
  const Decision placed = Arrive(Numbered(1, 1));
  const Decision done = Arrive(Numbered(2, 1));
  Done(done.server, 2);
  dispatcher_->Lose(servers_[0]);
  dispatcher_->Lose(servers_[1]);
  EXPECT_EQ(Arrive(Resent(1, 1, 100)).fate, Fate::kServerLost);
  EXPECT_EQ(Arrive(Resent(2, 1, 100)).fate, Fate::kServerLost);
  EXPECT_EQ(Arrive(Numbered(1, 2)).fate, Fate::kForward);
  EXPECT_EQ(Arrive(Numbered(2, 2)).fate, Fate::kForward);
  static_cast<void>(placed);
}

TEST_F(DispatcherTest, AnUnknownRepeatedRequestGoesOnOnlyIfItCannotHaveBeenHere) {
  Make({.now_ns = 500 * kMs});
  // Sent 450 ms ago: after the router was made, with a packet's life to spare.
  EXPECT_EQ(Arrive(Resent(1, 1, 300 * kMs)).fate, Fate::kForward);
  EXPECT_EQ(Arrive(Resent(2, 1, 400 * kMs)).fate, Fate::kReplyGone);
  EXPECT_EQ(Arrive(Resent(3, 1, 5000 * kMs)).fate, Fate::kReplyGone);
  EXPECT_EQ(stats().refused_reply_gone.value(), 2u);
}

TEST_F(DispatcherTest, WhatIsForgottenForWantOfRoomIsNotExecutedAgain) {
  Make({.placements_max = 3}, 1, 10);
  Done(Arrive(Numbered(1, 1)).server, 1);
  now_ns_ += 500 * kMs;
  Done(Arrive(Numbered(2, 1)).server, 2);
  now_ns_ += 500 * kMs;
  Done(Arrive(Numbered(3, 1)).server, 3);
  EXPECT_EQ(Arrive(Numbered(4, 1)).fate, Fate::kForward);  // forgets key 1
  EXPECT_EQ(stats().forgotten.value(), 1u);
  EXPECT_EQ(Arrive(Resent(1, 1, 1000 * kMs)).fate, Fate::kReplyGone);
  EXPECT_EQ(Arrive(Resent(2, 1, 500 * kMs)).fate, Fate::kRepeat) << "still known";
  EXPECT_EQ(Arrive(Resent(5, 1, 300 * kMs)).fate, Fate::kForward) << "younger than all forgotten";
}

TEST_F(DispatcherTest, WhatFindsTheTableFullIsRefusedAndStaysSo) {
  Make({.placements_max = 16}, 1, 100);
  uint64_t key = 1;
  while (Arrive(Numbered(key, 1)).fate == Fate::kForward) ++key;
  EXPECT_EQ(key, 15u) << "an eighth is for what is remembered";
  EXPECT_EQ(stats().refused_table_full.value(), 1u);
  Done(servers_[0], 1);
  EXPECT_EQ(Arrive(Numbered(key, 1)).fate, Fate::kTableFull) << "a copy that the network made";
  EXPECT_EQ(Arrive(Resent(key, 1, 100)).fate, Fate::kTableFull);
  EXPECT_EQ(Arrive(Numbered(key, 2)).fate, Fate::kForward) << "the client has tried again";
  // Those that are remembered do not come back beyond the limit either.
  EXPECT_EQ(Arrive(Numbered(1, 2)).fate, Fate::kTableFull);
  EXPECT_EQ(Arrive(100).fate, Fate::kTableFull) << "of the original format, too";
  Done(servers_[0], 2);
  EXPECT_EQ(Arrive(100).fate, Fate::kForward);
}

// Numbers of requests begin anew, at random, with each program, which may have the address of an
// earlier one.
TEST_F(DispatcherTest, AnotherClientAtTheSameAddressIsNotTakenForTheFormerOne) {
  Make({.queue_max = 4}, 1, 1);
  const auto of = [](uint64_t client, uint64_t sequence) {
    Arrival arrival = Numbered(1, sequence);
    arrival.client = client;
    return arrival;
  };
  EXPECT_EQ(Arrive(of(7, 500)).fate, Fate::kForward);
  EXPECT_EQ(Arrive(of(8, 300)).fate, Fate::kForward) << "the former one's slot is free again";
  EXPECT_EQ(dispatcher_->outstanding(), 1u);
  Done(servers_[0], 1);
  EXPECT_EQ(Arrive(of(9, 300)).fate, Fate::kForward) << "nor is what was done";
  EXPECT_EQ(Arrive(of(9, 299)).fate, Fate::kIgnore);
  Arrive(50);  // waits
  dispatcher_->RemoveServer(servers_[0]);
  EXPECT_EQ(TakeReady().size(), 1u);
  EXPECT_EQ(Arrive(of(10, 1)).fate, Fate::kNoServer);
  dispatcher_->AddServer(200, 1, 1);
  EXPECT_EQ(Arrive(of(11, 1)).fate, Fate::kForward);
  const Decision waits = Arrive(51);
  EXPECT_EQ(waits.fate, Fate::kQueue);
}

TEST_F(DispatcherTest, WhatWasRefusedStaysRefusedUntilTheClientsNextRequest) {
  Make({.queue_max = 1}, 1, 1);
  Arrive(9);
  Arrive(Numbered(1, 1));
  EXPECT_EQ(Arrive(Numbered(2, 1)).fate, Fate::kQueueFull);
  Done(servers_[0], 9);
  ASSERT_EQ(TakeReady().size(), 1u);
  EXPECT_EQ(Arrive(Numbered(2, 1)).fate, Fate::kQueueFull) << "a copy that the network made";
  EXPECT_EQ(Arrive(Resent(2, 1, 100)).fate, Fate::kQueueFull);
  EXPECT_EQ(Arrive(Numbered(2, 2)).fate, Fate::kQueue);
  dispatcher_->SetAvailable(servers_[0], false);
  EXPECT_EQ(TakeReady()[0].server, kNoServerIndex);
  EXPECT_EQ(Arrive(Numbered(3, 1)).fate, Fate::kNoServer);
  dispatcher_->SetAvailable(servers_[0], true);
  EXPECT_EQ(Arrive(Resent(2, 2, 100)).fate, Fate::kNoServer);
  EXPECT_EQ(Arrive(Numbered(3, 1)).fate, Fate::kNoServer);
  Arrival burst[] = {Numbered(4, 1), Numbered(4, 1)};
  Decision decisions[2];
  dispatcher_->SetAvailable(servers_[0], false);
  dispatcher_->Arrive(burst, now_ns_, absl::MakeSpan(decisions));
  EXPECT_EQ(decisions[0].fate, Fate::kNoServer);
  EXPECT_EQ(decisions[1].fate, Fate::kIgnore);
}

TEST_F(DispatcherTest, AnExpiredLeaseIsRememberedAsDone) {
  Make({.lease_ns = kMs});
  const Decision first = Arrive(Numbered(1, 1));
  now_ns_ += kMs;
  EXPECT_EQ(dispatcher_->Expire(now_ns_), 1u);
  const Decision again = Arrive(Resent(1, 1, kMs));
  EXPECT_EQ(again.fate, Fate::kRepeat);
  EXPECT_EQ(again.server, first.server);
}

}  // namespace
}  // namespace weft::router
