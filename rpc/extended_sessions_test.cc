// SPDX-License-Identifier: Apache-2.0
//
// How a server's sessions begin, are kept alive and end.

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "weft/rpc/extended_server_fixture.h"

namespace weft::rpc {
namespace {

using ExtendedSessionsTest = ExtendedServerTest;
using Kind = SessionEvent::Kind;

TEST_F(ExtendedSessionsTest, AHelloIsAnsweredWithWhatIsAgreed) {
  ServeEcho({.session = {.timeout = absl::Seconds(2), .slots = 16, .credits = 100}});
  client_.SendHello(42,
                    {.slots = 64,
                     .packet_bytes = 1200,
                     .incarnation = client_.client_id,
                     .timeout_us = 3'000'000},
                    1200);
  const RawPacket ack = Receive();
  EXPECT_EQ(ack.header.kind, ControlKind::kHelloAck);
  EXPECT_EQ(ack.header.session, client_.number);
  EXPECT_EQ(ack.header.from_session, 1u);
  EXPECT_EQ(ack.header.key, 42u);
  EXPECT_EQ(ack.header.credits, 100);
  EXPECT_EQ(ack.header.echo, 77u);
  Hello agreed;
  ASSERT_TRUE(ReadHello(Bytes(ack.body), &agreed));
  EXPECT_EQ(agreed.version, kExtendedVersion);
  EXPECT_EQ(agreed.slots, 16);
  EXPECT_EQ(agreed.packet_bytes, 1200u);
  EXPECT_EQ(agreed.timeout_us, 2'000'000u);
  EXPECT_NE(agreed.key, 0u);
  EXPECT_NE(agreed.incarnation, 0u);
}

TEST_F(ExtendedSessionsTest, AHelloThatComesAgainOpensNothing) {
  ServeEcho();
  Open(client_, 5);
  const uint32_t key = client_.key;
  Open(client_, 5);
  EXPECT_EQ(client_.key, key);
  EXPECT_EQ(server_->stats().sessions.value(), 1);
  EXPECT_EQ(events_.size(), 1u);
}

TEST_F(ExtendedSessionsTest, AClientThatReconnectsEndsItsOldSession) {
  ServeHolding();
  Open(client_, 5);
  const uint32_t old_key = client_.key;
  Hold(Id(1));
  Open(client_, 6);
  EXPECT_NE(client_.key, old_key);
  EXPECT_TRUE(held_[0].cancelled());
  EXPECT_EQ(server_->stats().sessions.value(), 1);
  ASSERT_EQ(events_.size(), 3u);
  EXPECT_EQ(events_[1].kind, Kind::kLost);
  EXPECT_EQ(events_[2].kind, Kind::kOpened);

  client_.SendHello(
      5, {.slots = 8, .packet_bytes = 200, .incarnation = client_.client_id, .timeout_us = 1000},
      200);
  EXPECT_TRUE(Silence()) << "a HELLO of the old session that was on its way for long";
  EXPECT_EQ(Hold(Id(1)).cancelled(), false);
}

TEST_F(ExtendedSessionsTest, AHelloOvertakenByTheNextEndsNothing) {
  ServeHolding();
  Open(client_, 0x00000005);
  Hold(Id(1));
  const Hello hello = {
      .slots = 8, .packet_bytes = 200, .incarnation = client_.client_id, .timeout_us = 1000};
  for (const uint32_t never_seen : {0x00000004u, 0xFFFFFFF0u}) {
    client_.SendHello(never_seen, hello, 200);
    EXPECT_TRUE(Silence()) << never_seen;
  }
  EXPECT_FALSE(held_[0].cancelled());
  EXPECT_EQ(server_->stats().sessions_opened, 1u);
}

TEST_F(ExtendedSessionsTest, NoLongerPacketsThanTheHelloProved) {
  ServeEcho();
  client_.SendHello(
      5, {.slots = 8, .packet_bytes = 1400, .incarnation = 1, .timeout_us = 1'000'000}, 600);
  Hello agreed;
  ASSERT_TRUE(ReadHello(Bytes(Receive().body), &agreed));
  EXPECT_EQ(agreed.packet_bytes, 600u);
}

TEST_F(ExtendedSessionsTest, MalformedHellosOpenNothing) {
  ServeEcho();
  const Hello good = {.slots = 8, .packet_bytes = 200, .incarnation = 1, .timeout_us = 1000};
  client_.SendHello(5, {.slots = 0, .packet_bytes = 200, .timeout_us = 1000}, 200);
  client_.SendHello(5, {.slots = 8, .packet_bytes = 175, .timeout_us = 1000}, 200);
  client_.SendHello(5, {.slots = 8, .packet_bytes = 200, .timeout_us = 0}, 200);
  client_.number = 0;
  client_.SendHello(5, good, 200);
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().malformed, 4u);
  EXPECT_EQ(server_->stats().sessions.value(), 0);
}

TEST_F(ExtendedSessionsTest, SessionsBeyondTheLimitAreRefused) {
  ServeEcho({.session = {.sessions_max = 1}});
  Open();
  RawClient second(*transport_, "second", 2);
  second.SendHello(7, {.slots = 8, .packet_bytes = 200, .incarnation = 2, .timeout_us = 1000}, 200);
  const RawPacket drop = Receive(second);
  EXPECT_EQ(drop.header.type, MessageType::kDrop);
  EXPECT_EQ(drop.header.code, DropReason::kNoSessions);
  EXPECT_EQ(drop.header.session, second.number);
  EXPECT_EQ(drop.header.key, 7u);
  EXPECT_EQ(server_->stats().sessions_refused, 1u);
  client_.SendControl(ControlKind::kClose);
  EXPECT_EQ(Receive().header.kind, ControlKind::kCloseAck);
  Open(second);
  EXPECT_EQ(second.server_number, 1u) << "numbers are used again";
  EXPECT_NE(second.key, client_.key);
}

TEST_F(ExtendedSessionsTest, APacketOfNoSessionIsAnsweredByReset) {
  ServeEcho();
  Open();
  const RawClient& c = client_;
  ExtendedHeader header = c.Header(MessageType::kRequest, Id(4, 2));
  header.key ^= 1;
  client_.Send(header, "x");
  const RawPacket reset = Receive();
  EXPECT_EQ(reset.header.kind, ControlKind::kReset);
  EXPECT_EQ(reset.header.session, c.number);
  EXPECT_EQ(reset.header.key, header.key);
  EXPECT_EQ(reset.header.request_id, Id(4, 2));
  header = c.Header(MessageType::kAck, 0, ControlKind::kPing);
  header.session = 1000;
  client_.Send(header);
  EXPECT_EQ(Receive().header.kind, ControlKind::kReset);
  EXPECT_EQ(server_->stats().resets, 2u);
  EXPECT_EQ(server_->stats().requests, 0u);
}

TEST_F(ExtendedSessionsTest, AnswersAreNotAnswered) {
  ServeEcho();
  for (const ControlKind kind : {ControlKind::kHelloAck, ControlKind::kPong, ControlKind::kCloseAck,
                                 ControlKind::kReset, ControlKind::kDrain}) {
    client_.SendControl(kind);
  }
  client_.Send(client_.Header(MessageType::kResponse, 1), "x");
  client_.Send(client_.Header(MessageType::kDrop, 1), "x");
  EXPECT_TRUE(Silence());
  Open();
  client_.SendControl(ControlKind::kReset);
  client_.Send(client_.Header(MessageType::kResponse, 1), "x");
  EXPECT_TRUE(Silence());
  EXPECT_EQ(server_->stats().sessions.value(), 1);
  EXPECT_EQ(server_->stats().unexpected, 9u);
}

TEST_F(ExtendedSessionsTest, ASessionThatIsNotHeardOfIsLost) {
  ServeHolding();
  Open();  // with a timeout of one second
  Hold(Id(1));
  for (int i = 0; i < 4; ++i) {
    RunFor(absl::Milliseconds(700));
    client_.SendControl(ControlKind::kPing);
    ASSERT_EQ(Receive().header.kind, ControlKind::kPong);
  }
  EXPECT_FALSE(held_[0].cancelled());
  ASSERT_TRUE(RunUntil([&] { return server_->stats().sessions.value() == 0; }));
  EXPECT_TRUE(held_[0].cancelled());
  ASSERT_EQ(events_.size(), 2u);
  EXPECT_EQ(events_[1].kind, Kind::kLost);
  EXPECT_GE(events_[1].age_ns, 3'800'000'000);
  held_.clear();
  EXPECT_EQ(loop_.timers().size(), 0u);
}

TEST_F(ExtendedSessionsTest, CloseForgetsTheSession) {
  ServeHolding();
  Open();
  Hold(Id(1));
  client_.SendControl(ControlKind::kClose);
  EXPECT_EQ(Receive().header.kind, ControlKind::kCloseAck);
  EXPECT_TRUE(held_[0].cancelled());
  EXPECT_EQ(events_.back().kind, Kind::kClosed);
  EXPECT_EQ(server_->stats().sessions.value(), 0);
  client_.SendControl(ControlKind::kClose);
  EXPECT_EQ(Receive().header.kind, ControlKind::kReset);
}

TEST_F(ExtendedSessionsTest, AServerThatEndsTellsItsClients) {
  ServeHolding();
  Open();
  Hold(Id(1));
  RawClient second(*transport_, "second", 2);
  Open(second);
  held_.clear();
  EXPECT_EQ(Receive().header.code, DropReason::kUnanswered);
  server_.reset();
  EXPECT_EQ(Receive().header.kind, ControlKind::kClose);
  const RawPacket close = Receive(second);
  EXPECT_EQ(close.header.kind, ControlKind::kClose);
  EXPECT_EQ(close.header.key, second.key);
}

TEST_F(ExtendedSessionsTest, AServerMayEndWhileHandlersRun) {
  bool destroyed = false;
  struct Guard {
    bool& flag;
    ~Guard() { flag = true; }
  };
  int begun = 0;
  Serve([&](ServerCall call) -> Task<void> {
    const Guard guard{destroyed};
    ++begun;
    co_await call.loop().Sleep(absl::InfiniteDuration());
  });
  Open();
  client_.SendRequest(Id(1), "");
  ASSERT_TRUE(RunUntil([&] { return begun == 1; }));
  server_.reset();
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(Receive().header.kind, ControlKind::kClose);
}

TEST_F(ExtendedSessionsTest, DrainingFinishesWhatRunsAndRefusesTheRest) {
  ServeHolding();
  Open();
  Hold(Id(1, 0));
  bool drained = false;
  server_->Drain([&] { drained = true; });
  EXPECT_EQ(Receive().header.kind, ControlKind::kDrain);
  EXPECT_EQ(Call(Id(1, 1), "new").header.code, DropReason::kShuttingDown);
  RawClient second(*transport_, "second", 2);
  second.SendHello(7, {.slots = 8, .packet_bytes = 200, .incarnation = 2, .timeout_us = 1000}, 200);
  EXPECT_EQ(Receive(second).header.code, DropReason::kShuttingDown);
  EXPECT_FALSE(drained);
  ASSERT_TRUE(held_[0].Reply(Bytes("last")).ok());
  EXPECT_EQ(Receive().body, "last");
  EXPECT_TRUE(RunUntil([&] { return drained; }));
}

TEST_F(ExtendedSessionsTest, TheServerMayBeDestroyedOnceItHasDrained) {
  ServeEcho();
  Open();
  server_->Drain([&] { server_.reset(); });
  EXPECT_EQ(Receive().header.kind, ControlKind::kDrain);
  EXPECT_EQ(Receive().header.kind, ControlKind::kClose);
}

TEST_F(ExtendedSessionsTest, EveryOneOfManySessionsIsToldOfTheEnd) {
  ServeEcho();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (uint64_t i = 0; i < 200; ++i) {
    clients.push_back(
        std::make_unique<RawClient>(*transport_, "client" + std::to_string(i), 1000 + i));
    Open(*clients.back());
  }
  bool drained = false;
  server_->Drain([&] { drained = true; });
  ASSERT_TRUE(RunUntil([&] { return drained; }));
  server_.reset();
  for (auto& client : clients) {
    EXPECT_EQ(Receive(*client).header.kind, ControlKind::kDrain);
    EXPECT_EQ(Receive(*client).header.kind, ControlKind::kClose);
  }
}

TEST_F(ExtendedSessionsTest, ASnapshotShowsEachSession) {
  ServeHolding();
  Open();
  Hold(Id(1, 0));
  ASSERT_TRUE(Hold(Id(1, 1)).Reply(Bytes("x")).ok());
  std::vector<SessionInfo> infos;
  server_->ForEachSession([&](const SessionInfo& info) { infos.push_back(info); });
  ASSERT_EQ(infos.size(), 1u);
  EXPECT_EQ(infos[0].session, client_.server_number);
  EXPECT_EQ(infos[0].requests, 2u);
  EXPECT_EQ(infos[0].executing, 1u);
  EXPECT_EQ(infos[0].kept_replies, 1u);
  EXPECT_EQ(infos[0].slots, 8u);
  EXPECT_EQ(infos[0].packet_bytes, 1000u);
}

TEST_F(ExtendedSessionsTest, AClientThatCannotBeReachedIsLost) {
  ServeHolding();
  {
    RawClient gone(*transport_, "gone", 3);
    Open(gone);
    gone.SendRequest(Id(1), "x");
    ASSERT_TRUE(RunUntil([&] { return held_.size() == 1; }));
  }
  ASSERT_TRUE(held_[0].Reply(Bytes("nobody")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_->stats().sessions.value() == 0; }));
  EXPECT_LT(network_.NowNs(), 100'000'000) << "long before the timeout";
  EXPECT_EQ(server_->stats().sessions_lost, 1u);
}

}  // namespace
}  // namespace weft::rpc
