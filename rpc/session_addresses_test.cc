// SPDX-License-Identifier: Apache-2.0
//
// A session belongs to the address that its HELLO came from, and counts for nothing until a packet
// with its key shows that its client is there.

#include <string>

#include "gtest/gtest.h"
#include "weft/rpc/extended_server_fixture.h"

namespace weft::rpc {
namespace {

using Kind = SessionEvent::Kind;

class SessionAddressesTest : public ExtendedServerTest {
 protected:
  // Somebody who knows all about the session of `client_`, but is not where it is.
  void Spy() {
    elsewhere_.server_number = client_.server_number;
    elsewhere_.key = client_.key;
  }
  RawClient elsewhere_{*transport_, "elsewhere", client_.client_id};
};

TEST_F(SessionAddressesTest, PacketsFromElsewhereAreRefused) {
  ServeHolding();
  Open();
  Hold(Id(1));
  Spy();
  elsewhere_.SendControl(ControlKind::kPing);
  EXPECT_EQ(Receive(elsewhere_).header.kind, ControlKind::kReset);
  elsewhere_.SendRequest(Id(2), "forged");
  EXPECT_EQ(Receive(elsewhere_).header.kind, ControlKind::kReset);
  elsewhere_.SendControl(ControlKind::kCancel, Id(1));
  EXPECT_EQ(Receive(elsewhere_).header.kind, ControlKind::kReset);
  elsewhere_.SendControl(ControlKind::kClose);
  EXPECT_EQ(Receive(elsewhere_).header.kind, ControlKind::kReset);
  elsewhere_.Send(elsewhere_.Header(MessageType::kResponse, Id(1)), "x");
  EXPECT_TRUE(Silence(elsewhere_)) << "it asks for nothing";
  EXPECT_EQ(server_->stats().wrong_address, 5u);
  EXPECT_EQ(server_->stats().resets, 4u);
  EXPECT_EQ(server_->stats().requests, 1u);
  EXPECT_FALSE(held_[0].cancelled());
  ASSERT_TRUE(held_[0].Reply(Bytes("here")).ok());
  EXPECT_EQ(Receive().body, "here");
  EXPECT_TRUE(Silence(elsewhere_));
}

TEST_F(SessionAddressesTest, PacketsFromElsewhereDoNotKeepASessionAlive) {
  ServeEcho();
  Open();  // with a timeout of one second
  Spy();
  for (int i = 0; i < 4; ++i) {
    RunFor(absl::Milliseconds(500));
    elsewhere_.SendControl(ControlKind::kPing);
  }
  EXPECT_EQ(server_->stats().sessions.value(), 0);
}

TEST_F(SessionAddressesTest, AHelloThatComesAgainFromElsewhereChangesNothing) {
  ServeHolding();
  Open(client_, 5);
  Hold(Id(1));
  Knock(elsewhere_, 5);
  EXPECT_NE(elsewhere_.key, client_.key);
  Open(elsewhere_, 6);
  EXPECT_FALSE(held_[0].cancelled());
  ASSERT_TRUE(held_[0].Reply(Bytes("here")).ok());
  EXPECT_EQ(Receive().body, "here");
  EXPECT_EQ(server_->stats().sessions.value(), 2)
      << "of two clients, whatever they call themselves";
}

TEST_F(SessionAddressesTest, OnlyAClientWithTheKeyEndsItsOldSession) {
  ServeHolding();
  Open(client_, 5);
  Hold(Id(1));
  RawClient& reconnecting = client_;
  const uint32_t key = client_.key;
  Knock(reconnecting, 6);
  RunFor(absl::Milliseconds(10));
  EXPECT_FALSE(held_[0].cancelled()) << "anybody could have sent that HELLO";
  ASSERT_EQ(events_.size(), 1u);

  reconnecting.SendControl(ControlKind::kPing);
  EXPECT_EQ(Receive().header.kind, ControlKind::kPong);
  EXPECT_TRUE(held_[0].cancelled());
  EXPECT_EQ(server_->stats().sessions.value(), 1);
  ASSERT_EQ(events_.size(), 3u);
  EXPECT_EQ(events_[1].kind, Kind::kLost);
  EXPECT_EQ(events_[2].kind, Kind::kOpened);
  EXPECT_NE(client_.key, key);
}

TEST_F(SessionAddressesTest, AHalfOpenSessionThatWasOvertakenStaysClosed) {
  ServeEcho();
  Knock(client_, 5);
  const RawClient& c = client_;
  const ExtendedHeader late = c.Header(MessageType::kRequest, Id(1));
  Open(client_, 6);
  client_.Send(late, "of the session before");
  EXPECT_EQ(Receive().header.kind, ControlKind::kReset);
  EXPECT_EQ(server_->stats().requests, 0u);
  EXPECT_EQ(Call(Id(1), "now").body, "now");
}

TEST_F(SessionAddressesTest, AHalfOpenSessionCountsForNothing) {
  ServeEcho();
  Knock(client_);
  EXPECT_EQ(server_->stats().sessions.value(), 0);
  EXPECT_EQ(server_->stats().sessions_half_open.value(), 1);
  EXPECT_EQ(server_->stats().sessions_opened, 0u);
  EXPECT_TRUE(events_.empty());
  server_->ForEachSession([](const SessionInfo&) { ADD_FAILURE(); });
  EXPECT_EQ(Call(Id(1), "the key is proof").body, "the key is proof");
  EXPECT_EQ(server_->stats().sessions.value(), 1);
  EXPECT_EQ(server_->stats().sessions_half_open.value(), 0);
  ASSERT_EQ(events_.size(), 1u);
  EXPECT_EQ(events_[0].kind, Kind::kOpened);
  EXPECT_EQ(events_[0].session, client_.server_number);
}

TEST_F(SessionAddressesTest, AHalfOpenSessionEndsAfterASecond) {
  ServeEcho({.session = {.timeout = absl::Hours(1)}});
  Knock(client_, 5, {.slots = 8, .packet_bytes = 200, .timeout_us = 3'600'000'000});
  RunFor(absl::Milliseconds(900));
  Knock(client_, 5, {.slots = 8, .packet_bytes = 200, .timeout_us = 3'600'000'000});
  EXPECT_EQ(server_->stats().sessions_half_open.value(), 1);
  RunFor(absl::Milliseconds(110));
  EXPECT_EQ(server_->stats().sessions_half_open.value(), 0);
  EXPECT_EQ(server_->stats().half_open_expired, 1u);
  EXPECT_EQ(loop_.timers().size(), 0u);
  client_.SendRequest(Id(1), "x");
  EXPECT_EQ(Receive().header.kind, ControlKind::kReset);
  EXPECT_TRUE(events_.empty());
}

TEST_F(SessionAddressesTest, WithAShorterTimeoutItEndsSooner) {
  ServeEcho({.session = {.timeout = absl::Milliseconds(100)}});
  Knock(client_);
  RunFor(absl::Milliseconds(110));
  EXPECT_EQ(server_->stats().sessions_half_open.value(), 0);
}

TEST_F(SessionAddressesTest, NoMoreBytesThanAHelloHad) {
  ServeEcho({.session = {.sessions_max = 2}});
  const PortStats& port = server_->port().stats();
  constexpr size_t kLeast = kExtendedHeaderBytes + kHelloBytes;
  size_t received = 0;
  for (uint32_t i = 1; i <= 3; ++i) {
    client_.SendHello(
        i, {.slots = 8, .packet_bytes = 200, .incarnation = 7, .timeout_us = 1'000'000}, kLeast);
    received += kLeast;
    Receive();
    EXPECT_LE(port.sent_bytes, received);
  }
  bool drained = false;
  server_->Drain([&] { drained = true; });
  ASSERT_TRUE(RunUntil([&] { return drained; }));
  server_.reset();
  EXPECT_TRUE(Silence()) << "neither DRAIN nor CLOSE";
}

TEST_F(SessionAddressesTest, ThoseWhoShowUpWhileTheServerDrainsAreTold) {
  ServeHolding();
  Open();
  Hold(Id(1));
  RawClient late(*transport_, "late", 2);
  Knock(late);
  server_->Drain([] {});
  EXPECT_EQ(Receive().header.kind, ControlKind::kDrain);
  EXPECT_TRUE(Silence(late));
  late.SendControl(ControlKind::kPing);
  EXPECT_EQ(Receive(late).header.kind, ControlKind::kDrain);
  EXPECT_EQ(Receive(late).header.kind, ControlKind::kPong);
  held_.clear();
}

}  // namespace
}  // namespace weft::rpc
