// SPDX-License-Identifier: Apache-2.0
//
// Clients that open sessions and are not heard of again.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/extended_server_fixture.h"
#include "weft/rpc/restart_fixture.h"

namespace weft::rpc {
namespace {

class HalfOpenSessionsTest : public RestartFixture {
 protected:
  static constexpr size_t kSessionsMax = 1000;

  HalfOpenSessionsTest() { session_.sessions_max = kSessionsMax; }

  static Hello Said(uint64_t client) {
    return {.slots = 4096, .packet_bytes = 200, .incarnation = client, .timeout_us = UINT32_MAX};
  }
  // One HELLO each from so many clients, all at once but for what the network takes.
  void Knock(RawClient& stranger, size_t clients) {
    for (size_t i = 0; i < clients; ++i) {
      stranger.SendHello(static_cast<uint32_t>(i + 1), Said(++last_client_), 200);
      if (i % 32 == 31) RunFor(100'000);
    }
    RunFor(100'000);
    Ignore(stranger);
  }
  static void Ignore(RawClient& stranger) {
    Datagram answers[32];
    while (stranger.port->Receive(absl::MakeSpan(answers)) > 0) {
      for (Datagram& answer : answers) answer.buffer.Reset();
    }
  }

  uint64_t last_client_ = 0;
};

TEST_F(HalfOpenSessionsTest, TheTableIsBoundedAndReclaimed) {
  StartServer();
  const ServerStats& stats = server_->stats();
  RawClient stranger(*transport_, "stranger", 1);
  for (uint64_t round = 1; round <= 3; ++round) {
    SCOPED_TRACE(round);
    Knock(stranger, 5 * kSessionsMax);
    EXPECT_EQ(stats.sessions_half_open.value(), static_cast<int64_t>(kSessionsMax));
    EXPECT_EQ(stats.half_open_evicted, round * 4 * kSessionsMax);
    RunFor(kTimeoutNs + 10'000'000);
    EXPECT_EQ(stats.sessions_half_open.value(), 0);
    EXPECT_EQ(stats.half_open_expired, round * kSessionsMax);
    EXPECT_EQ(loop_.timers().size(), 0u);
  }
  EXPECT_EQ(stats.sessions_opened, 0u);
  EXPECT_EQ(stats.sessions_refused, 0u);
  ExpectNothingLeft();
}

TEST_F(HalfOpenSessionsTest, TheOldestGoFirst) {
  StartServer();
  RawClient early(*transport_, "early", 1);
  early.SendHello(1, Said(100), 200);
  RunFor(100'000);
  const RawPacket ack = *early.TryReceive();
  Hello agreed;
  ASSERT_TRUE(ReadHello(Bytes(ack.body), &agreed));
  early.server_number = ack.header.from_session;
  early.key = agreed.key;
  RawClient stranger(*transport_, "stranger", 2);
  Knock(stranger, kSessionsMax - 1);
  EXPECT_EQ(server_->stats().half_open_evicted, 0u);
  Knock(stranger, 1);
  EXPECT_EQ(server_->stats().half_open_evicted, 1u);
  early.SendControl(ControlKind::kPing);
  RunFor(100'000);
  EXPECT_EQ(early.TryReceive()->header.kind, ControlKind::kReset);
}

// Thirty thousand HELLOs a second turn the table over every 33 ms.
TEST_F(HalfOpenSessionsTest, ThoseWhoCallAreServedAllTheSame) {
  StartServer();
  StartClient();
  Begin();
  ASSERT_TRUE(Finish());
  std::vector<std::unique_ptr<RawClient>> strangers;
  for (uint64_t i = 0; i < 30; ++i) {
    strangers.push_back(
        std::make_unique<RawClient>(*transport_, "stranger" + std::to_string(i), i));
  }
  constexpr uint64_t kMilliseconds = 1000;
  std::vector<size_t> calls;
  for (uint64_t ms = 0; ms < kMilliseconds; ++ms) {
    for (auto& stranger : strangers) {
      Ignore(*stranger);
      stranger->SendHello(1, Said(++last_client_), 200);
    }
    RunFor(400'000);
    calls.push_back(Begin());
    if (ms % 10 == 0) {
      const SessionId id = *client_->Connect(peer_);
      calls.push_back(Begin(id, 0, [this, id] { client_->Disconnect(id); }));
    }
    RunFor(600'000);
  }
  ASSERT_TRUE(Finish());
  for (const size_t call : calls) EXPECT_TRUE(StatusOf(call).ok()) << StatusOf(call);
  const ServerStats& stats = server_->stats();
  EXPECT_EQ(stats.sessions_opened, 1 + kMilliseconds / 10);
  EXPECT_EQ(stats.half_open_evicted,
            30 * kMilliseconds - static_cast<uint64_t>(stats.sessions_half_open.value()));
  EXPECT_EQ(stats.sessions_refused, 0u);
  EXPECT_EQ(stats.sessions_lost, 0u);
  EXPECT_EQ(client_->stats().sessions_lost, 0u);
  for (auto& stranger : strangers) Ignore(*stranger);
  RunFor(2 * kTimeoutNs);
  EXPECT_EQ(stats.sessions.value(), 1);
  EXPECT_EQ(stats.sessions_half_open.value(), 0);
  ExpectNothingLeft();
}

TEST_F(HalfOpenSessionsTest, AClientThatCannotBeReachedIsFoundAmongMany) {
  session_.sessions_max = 10'000;
  StartServer();
  RawClient stranger(*transport_, "stranger", 1);
  Knock(stranger, 9'000);
  {
    RawClient gone(*transport_, "gone", 2);
    gone.SendHello(1, Said(100'000), 200);
    RunFor(50'000);
    Hello agreed;
    const RawPacket ack = *gone.TryReceive();
    ASSERT_TRUE(ReadHello(Bytes(ack.body), &agreed));
    gone.server_number = ack.header.from_session;
    gone.key = agreed.key;
    gone.SendControl(ControlKind::kPing);
    gone.SendControl(ControlKind::kPing);
  }
  RunFor(1'000'000);
  EXPECT_EQ(server_->stats().sessions_opened, 1u);
  EXPECT_EQ(server_->stats().sessions_lost, 1u) << "long before its timeout";
  EXPECT_EQ(server_->stats().sessions_half_open.value(), 9'000);
}

TEST_F(HalfOpenSessionsTest, AnIdleClientIsThereNevertheless) {
  session_.timeout = absl::Seconds(100);
  StartServer();
  StartClient();
  std::vector<SessionEvent> events;
  client_->set_session_events([&](const SessionEvent& event) { events.push_back(event); });
  ASSERT_TRUE(client_->Connect(peer_).ok());
  RunFor(3'000'000'000);
  EXPECT_EQ(server_->stats().sessions.value(), 1);
  EXPECT_EQ(server_->stats().half_open_expired, 0u);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, SessionEvent::Kind::kOpened);
}

}  // namespace
}  // namespace weft::rpc
