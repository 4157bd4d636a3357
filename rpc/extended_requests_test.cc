// SPDX-License-Identifier: Apache-2.0
//
// What a server does with requests of one packet in the extended format: each is executed once,
// and whoever asks again is told how it stands.

#include <coroutine>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/rpc/extended_server_fixture.h"

namespace weft::rpc {
namespace {

using ExtendedRequestsTest = ExtendedServerTest;

TEST_F(ExtendedRequestsTest, ARequestGetsAReplyOfItsSession) {
  ServeEcho();
  Open();
  client_.SendRequest(Id(1, 3), "hello");
  const RawPacket reply = Receive();
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.header.type, MessageType::kResponse);
  EXPECT_TRUE(reply.header.first && reply.header.last);
  EXPECT_FALSE(reply.header.resent);
  EXPECT_EQ(reply.header.packet_order, 1);
  EXPECT_EQ(reply.header.session, client_.number);
  EXPECT_EQ(reply.header.from_session, client_.server_number);
  EXPECT_EQ(reply.header.key, client_.key);
  EXPECT_EQ(reply.header.request_id, Id(1, 3));
  EXPECT_TRUE(reply.header.echo_valid);
  EXPECT_EQ(reply.header.echo, 5000u) << "it was not held at all";
  EXPECT_GT(reply.header.credits, 1);
  EXPECT_EQ(server_->stats().requests, 1u);
  EXPECT_EQ(server_->stats().executing.value(), 0);
}

TEST_F(ExtendedRequestsTest, EverySizeUpToThatOfAPacket) {
  ServeEcho();
  Open();
  uint64_t sequence = 0;
  for (size_t size : {0, 1, 64, 500, 955, 956}) {
    EXPECT_EQ(Call(Id(++sequence), std::string(size, 'x')).body, std::string(size, 'x'));
  }
  EXPECT_EQ(client_.port->pool().available(), client_.port->pool().count());
  EXPECT_EQ(server_->port().pool().available(), server_->port().pool().count());
}

TEST_F(ExtendedRequestsTest, TheEchoLeavesOutTheTimeOfTheService) {
  ServeHolding();
  Open();
  ServerCall& call = Hold(Id(1));
  RunFor(absl::Microseconds(300));
  ASSERT_TRUE(call.Reply(Bytes("late")).ok());
  EXPECT_EQ(Receive().header.echo, 5000u + 300'000u);
}

TEST_F(ExtendedRequestsTest, ADuplicateIsNotExecutedButAnsweredAgain) {
  ServeEcho();
  Open();
  ASSERT_EQ(Call(Id(1), "once").body, "once");
  ExtendedHeader again = client_.Header(MessageType::kRequest, Id(1));
  again.resent = true;
  again.timestamp = 6000;
  client_.Send(again, "once");
  const RawPacket reply = Receive();
  EXPECT_EQ(reply.header.type, MessageType::kResponse);
  EXPECT_EQ(reply.body, "once");
  EXPECT_TRUE(reply.header.resent);
  EXPECT_EQ(reply.header.echo, 6000u);
  EXPECT_EQ(server_->stats().requests, 1u);
  EXPECT_EQ(server_->stats().duplicates_answered, 1u);
}

TEST_F(ExtendedRequestsTest, ADuplicateOfARunningRequestLearnsThatItIsHere) {
  ServeHolding();
  Open();
  Hold(Id(1));
  const RawPacket progress = Call(Id(1), "held");
  EXPECT_EQ(progress.header.type, MessageType::kAck);
  EXPECT_EQ(progress.header.kind, ControlKind::kProgress);
  EXPECT_EQ(progress.header.packet_order, 1) << "all of its packets are here";
  EXPECT_TRUE(progress.header.last) << "it is about a request";
  Progress body;
  ASSERT_TRUE(ReadProgress(Bytes(progress.body), &body));
  EXPECT_EQ(body.bits, 0);
  EXPECT_EQ(held_.size(), 1u);
  ASSERT_TRUE(held_[0].Reply(Bytes("done")).ok());
  EXPECT_EQ(Receive().body, "done");
}

TEST_F(ExtendedRequestsTest, AStaleRequestIsDropped) {
  ServeEcho();
  Open();
  Call(Id(1), "one");
  Call(Id(2), "two");
  client_.SendRequest(Id(1), "one");
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().requests, 2u);
  EXPECT_EQ(server_->stats().duplicates, 1u);
}

TEST_F(ExtendedRequestsTest, SlotsDoNotGetInEachOthersWay) {
  ServeHolding();
  Open();
  for (uint16_t slot = 0; slot < 8; ++slot) Hold(Id(1, slot), std::to_string(slot));
  for (uint16_t slot = 8; slot-- > 0;) {
    ASSERT_TRUE(held_[slot].Reply(std::move(held_[slot].request())).ok());
    const RawPacket reply = Receive();
    EXPECT_EQ(reply.header.slot(), slot);
    EXPECT_EQ(reply.body, std::to_string(slot));
  }
}

TEST_F(ExtendedRequestsTest, ARequestBeyondTheSlotsAgreedIsMalformed) {
  ServeEcho();
  Open();
  client_.SendRequest(Id(1, 8), "x");
  client_.SendRequest(Id(0, 0), "x");
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().malformed, 2u);
  EXPECT_EQ(server_->stats().requests, 0u);
}

TEST_F(ExtendedRequestsTest, TheNextRequestOfASlotCancelsTheOneThatStillRuns) {
  ServeHolding();
  Open();
  Hold(Id(1));
  bool told = false;
  held_[0].OnCancel([&] { told = true; });
  EXPECT_FALSE(held_[0].cancelled());
  Hold(Id(2));
  EXPECT_TRUE(told);
  EXPECT_TRUE(held_[0].cancelled());
  EXPECT_TRUE(absl::IsCancelled(held_[0].Reply(Bytes("for nobody"))));
  ASSERT_TRUE(held_[1].Reply(Bytes("two")).ok());
  EXPECT_EQ(Receive().body, "two");
  EXPECT_EQ(server_->stats().cancelled, 1u);
  held_.clear();
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().executing.value(), 0);
  EXPECT_EQ(server_->stats().unanswered, 0u);
}

TEST_F(ExtendedRequestsTest, CancelEndsTheCallAndIsConfirmed) {
  ServeHolding();
  Open();
  Hold(Id(1));
  bool told = false;
  held_[0].OnCancel([&] {
    told = true;
    held_.clear();
  });
  client_.SendControl(ControlKind::kCancel, Id(1));
  const RawPacket drop = Receive();
  EXPECT_EQ(drop.header.type, MessageType::kDrop);
  EXPECT_EQ(drop.header.code, DropReason::kCancelled);
  EXPECT_EQ(drop.header.request_id, Id(1));
  EXPECT_TRUE(told);
  EXPECT_EQ(Call(Id(1), "held").header.code, DropReason::kCancelled) << "a duplicate that is late";
  EXPECT_EQ(server_->stats().requests, 1u);
}

TEST_F(ExtendedRequestsTest, ACancelThatOvertakesItsRequestPreventsIt) {
  ServeHolding();
  Open();
  client_.SendControl(ControlKind::kCancel, Id(1));
  EXPECT_EQ(Receive().header.code, DropReason::kCancelled);
  EXPECT_EQ(Call(Id(1), "late").header.code, DropReason::kCancelled);
  EXPECT_TRUE(held_.empty());
}

TEST_F(ExtendedRequestsTest, OnCancelOfACancelledCallIsCalledAtOnce) {
  ServeHolding();
  Open();
  Hold(Id(1));
  client_.SendControl(ControlKind::kCancel, Id(1));
  Receive();
  bool told = false;
  held_[0].OnCancel([&] { told = true; });
  EXPECT_TRUE(told);
}

TEST_F(ExtendedRequestsTest, ACoroutineIsDestroyedWhenItsCallIsCancelled) {
  int begun = 0;
  int ended = 0;
  int destroyed = 0;
  struct Guard {
    int& count;
    ~Guard() { ++count; }
  };
  Serve([&](ServerCall call) -> Task<void> {
    const Guard guard{destroyed};
    ++begun;
    co_await call.loop().Sleep(absl::Seconds(1));
    ++ended;
    EXPECT_TRUE(call.Reply(Bytes("slow")).ok());
  });
  Open();
  client_.SendRequest(Id(1, 0), "");
  client_.SendRequest(Id(1, 1), "");
  ASSERT_TRUE(RunUntil([&] { return begun == 2; }));
  client_.SendControl(ControlKind::kCancel, Id(1, 0));
  EXPECT_EQ(Receive().header.code, DropReason::kCancelled);
  EXPECT_EQ(destroyed, 1);
  client_.SendControl(ControlKind::kPing);
  EXPECT_EQ(Receive().header.kind, ControlKind::kPong);
  EXPECT_EQ(Receive().body, "slow");
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(destroyed, 2);
  EXPECT_EQ(server_->stats().executing.value(), 0);
}

TEST_F(ExtendedRequestsTest, ACoroutineIsDestroyedAtItsDeadline) {
  bool destroyed = false;
  struct Guard {
    bool& flag;
    ~Guard() { flag = true; }
  };
  Serve([&](ServerCall call) -> Task<void> {
    const Guard guard{destroyed};
    co_await call.loop().Sleep(absl::Seconds(1));
    ADD_FAILURE() << "it waits no more";
  });
  Open();
  ExtendedHeader header = client_.Header(MessageType::kRequest, Id(1));
  header.deadline_us = 2000;
  client_.Send(header, "hurry");
  EXPECT_EQ(Receive().header.code, DropReason::kDeadline);
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(server_->stats().unanswered, 0u);
}

TEST_F(ExtendedRequestsTest, ACoroutineThatGivesItsCallAwayMayEnd) {
  Serve([this](ServerCall call) -> Task<void> {
    Loop& loop = call.loop();
    held_.push_back(std::move(call));
    co_await loop.Sleep(absl::Milliseconds(1));
  });
  Open();
  Hold(Id(1));
  RunFor(absl::Milliseconds(5));
  EXPECT_FALSE(held_[0].cancelled());
  client_.SendControl(ControlKind::kCancel, Id(1));
  EXPECT_EQ(Receive().header.code, DropReason::kCancelled);
  EXPECT_TRUE(held_[0].cancelled());
}

TEST_F(ExtendedRequestsTest, ACallbackMayEndTheCoroutineThatIsCancelled) {
  std::coroutine_handle<> waiting;
  struct Wait {
    std::coroutine_handle<>& handle;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) { handle = awaiting; }
    void await_resume() const {}
  };
  bool ended = false;
  Serve([&](ServerCall call) -> Task<void> {
    call.OnCancel([&] { waiting.resume(); });
    co_await Wait{waiting};
    EXPECT_TRUE(absl::IsCancelled(call.Reply(Bytes("too late"))));
    ended = true;
  });
  Open();
  client_.SendRequest(Id(1), "");
  ASSERT_TRUE(RunUntil([&] { return waiting != nullptr; }));
  client_.SendControl(ControlKind::kCancel, Id(1));
  EXPECT_EQ(Receive().header.code, DropReason::kCancelled);
  EXPECT_TRUE(ended);
  EXPECT_EQ(server_->stats().executing.value(), 0);
}

TEST_F(ExtendedRequestsTest, ACoroutineThatHasAnsweredGoesOn) {
  bool ended = false;
  Serve([&](ServerCall call) -> Task<void> {
    Loop& loop = call.loop();
    EXPECT_TRUE(call.Reply(Bytes("quick")).ok());
    co_await loop.Sleep(absl::Milliseconds(100));
    ended = true;
  });
  Open();
  EXPECT_EQ(Call(Id(1), "").body, "quick");
  client_.SendControl(ControlKind::kCancel, Id(1));
  EXPECT_EQ(Receive().header.code, DropReason::kCancelled);
  EXPECT_TRUE(RunUntil([&] { return ended; }));
}

TEST_F(ExtendedRequestsTest, ADeadlineEndsTheCall) {
  ServeHolding();
  Open();
  ExtendedHeader header = client_.Header(MessageType::kRequest, Id(1));
  header.deadline_us = 2000;
  client_.Send(header, "hurry");
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 1; }));
  EXPECT_EQ(held_[0].remaining(), absl::Microseconds(2000));
  EXPECT_EQ(held_[0].deadline_ns(), network_.NowNs() + 2'000'000);
  const RawPacket drop = Receive();
  EXPECT_EQ(drop.header.type, MessageType::kDrop);
  EXPECT_EQ(drop.header.code, DropReason::kDeadline);
  EXPECT_TRUE(held_[0].cancelled());
  EXPECT_EQ(held_[0].remaining(), absl::ZeroDuration());
  EXPECT_EQ(server_->stats().deadlines, 1u);
  EXPECT_EQ(Call(Id(1), "hurry").header.code, DropReason::kDeadline);
}

TEST_F(ExtendedRequestsTest, NoDeadlineUnlessTheClientSaysSo) {
  ServeHolding();
  Open();
  EXPECT_EQ(Hold(Id(1)).deadline_ns(), ServerCall::kNever);
  EXPECT_EQ(held_[0].remaining(), absl::InfiniteDuration());
}

TEST_F(ExtendedRequestsTest, AnAnswerDisarmsTheDeadline) {
  ServeHolding();
  Open();
  ExtendedHeader header = client_.Header(MessageType::kRequest, Id(1));
  header.deadline_us = 2000;
  client_.Send(header, "hurry");
  ASSERT_TRUE(RunUntil([&] { return held_.size() == 1; }));
  ASSERT_TRUE(held_[0].Reply(Bytes("ok")).ok());
  EXPECT_EQ(Receive().body, "ok");
  RunFor(absl::Milliseconds(5));
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().deadlines, 0u);
}

TEST_F(ExtendedRequestsTest, ACallDestroyedUnansweredIsDropped) {
  Serve([](ServerCall) {});
  Open();
  const RawPacket drop = Call(Id(1), "ignored");
  EXPECT_EQ(drop.header.type, MessageType::kDrop);
  EXPECT_EQ(drop.header.code, DropReason::kUnanswered);
  EXPECT_EQ(Call(Id(1), "ignored").header.code, DropReason::kUnanswered);
  EXPECT_EQ(server_->stats().unanswered, 1u);
  EXPECT_EQ(server_->stats().requests, 1u);
}

TEST_F(ExtendedRequestsTest, TheApplicationRefuses) {
  Serve([](ServerCall call) { call.Drop(); });
  server_->set_admission([](Peer, absl::Span<const uint8_t> first) { return first.size() < 4; });
  Open();
  EXPECT_EQ(Call(Id(1), "long").header.code, DropReason::kRefused);
  EXPECT_EQ(server_->stats().requests, 0u) << "by the admission";
  EXPECT_EQ(Call(Id(2), "ok").header.code, DropReason::kRefused);
  EXPECT_EQ(server_->stats().requests, 1u) << "by the handler";
  EXPECT_EQ(server_->stats().refused_by_application, 2u);
}

TEST_F(ExtendedRequestsTest, ReplicatedExecutionIsRefused) {
  ServeEcho();
  Open();
  ExtendedHeader header = client_.Header(MessageType::kRequest, Id(1));
  header.policy = Policy::kReplicatedRoute;
  client_.Send(header, "x");
  EXPECT_EQ(Receive().header.code, DropReason::kUnsupported);
}

TEST_F(ExtendedRequestsTest, RequestsBeyondExecutingMaxAreTold) {
  ServeHolding({.executing_max = 2});
  Open();
  Hold(Id(1, 0));
  Hold(Id(1, 1));
  const RawPacket drop = Call(Id(1, 2), "too much");
  EXPECT_EQ(drop.header.code, DropReason::kOverloaded);
  EXPECT_GT(ReadDrop(Bytes(drop.body)), 0u) << "when to try again";
  ASSERT_TRUE(held_[0].Reply(Bytes("room")).ok());
  EXPECT_EQ(Receive().body, "room");
  EXPECT_EQ(Call(Id(1, 2), "too much").header.code, DropReason::kOverloaded) << "the same request";
  Hold(Id(2, 2));
  EXPECT_EQ(held_.size(), 3u);
  EXPECT_EQ(server_->stats().refused_overloaded, 1u);
}

TEST_F(ExtendedRequestsTest, TheLastBuffersAreNotTakenByRequests) {
  transport_ = sim::OpenTransport(&network_, {.count = 32});
  ServeHolding();
  Open(client_, 1, {.slots = 64, .packet_bytes = 1000, .timeout_us = 1'000'000});
  std::optional<RawPacket> answer;
  for (uint16_t slot = 0; slot < 40 && !answer.has_value(); ++slot) {
    client_.SendRequest(Id(1, slot), "x");
    const size_t held = held_.size();
    ASSERT_TRUE(RunUntil([&] {
      answer = client_.TryReceive();
      return held_.size() > held || answer.has_value();
    }));
  }
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->header.code, DropReason::kOverloaded);
  EXPECT_EQ(answer->header.credits, 1);
  EXPECT_LT(held_.size(), 32u);
  for (ServerCall& call : held_) EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
}

TEST_F(ExtendedRequestsTest, AHandlerMayAnswerOtherCallsAndItsOwn) {
  Serve([this](ServerCall call) {
    held_.push_back(std::move(call));
    if (held_.size() < 3) return;
    for (ServerCall& held : held_) EXPECT_TRUE(held.Reply(std::move(held.request())).ok());
    held_.clear();
  });
  Open();
  for (uint16_t slot = 0; slot < 3; ++slot) client_.SendRequest(Id(1, slot), std::to_string(slot));
  for (uint16_t slot = 0; slot < 3; ++slot) EXPECT_EQ(Receive().body, std::to_string(slot));
  EXPECT_EQ(server_->stats().executing.value(), 0);
}

TEST_F(ExtendedRequestsTest, ACancelledCallMayAnswerAnother) {
  ServeHolding();
  Open();
  Hold(Id(1, 0));
  Hold(Id(1, 1));
  held_[0].OnCancel([&] { EXPECT_TRUE(held_[1].Reply(Bytes("instead")).ok()); });
  client_.SendControl(ControlKind::kCancel, Id(1, 0));
  EXPECT_EQ(Receive().body, "instead");
  EXPECT_EQ(Receive().header.code, DropReason::kCancelled);
}

TEST_F(ExtendedRequestsTest, OneServerAnswersBothFormats) {
  ServeEcho();
  Open();
  std::string original(kHeaderBytes, '\0');
  WriteHeader({.first = true, .last = true, .request_id = 7},
              reinterpret_cast<uint8_t*>(original.data()));
  client_.SendBytes(original + "old");
  Datagram datagram[1];
  ASSERT_TRUE(RunUntil([&] { return client_.port->Receive(absl::MakeSpan(datagram)) == 1; }));
  Header header;
  ASSERT_TRUE(ReadHeader(datagram[0].buffer.bytes(), &header));
  EXPECT_EQ(header.type, MessageType::kResponse);
  EXPECT_EQ(header.request_id, 7);
  EXPECT_EQ(Call(Id(1), "new").body, "new");
}

}  // namespace
}  // namespace weft::rpc
