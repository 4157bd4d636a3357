// SPDX-License-Identifier: Apache-2.0
//
// Listeners, their limits, and SYN cookies (RFC 4987).
#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

class ListenTest : public DialogueTest {};

TEST_F(ListenTest, Addresses) {
  const auto any = netstack::IpAddress::V4(0u);
  EXPECT_EQ(*engine_->Listen(us_, 80, 1), 80);
  EXPECT_TRUE(absl::IsAlreadyExists(engine_->Listen(us_, 80, 1).status()));
  EXPECT_TRUE(engine_->Listen(any, 80, 1).ok());
  EXPECT_FALSE(engine_->Listen(us_, 81, 0).ok());
  const auto chosen = engine_->Listen(any, 0, 1);
  ASSERT_TRUE(chosen.ok());
  EXPECT_GE(*chosen, world_.port_min);
  int listeners = 0;
  engine_->ForEachListener([&](const ListenerInfo&) { ++listeners; });
  EXPECT_EQ(listeners, 3);
  EXPECT_TRUE(engine_->StopListening(us_, 80).ok());
  EXPECT_TRUE(absl::IsNotFound(engine_->StopListening(us_, 80)));
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");  // the one for all
}

TEST_F(ListenTest, WhoStopsListeningGivesUpHandshakes) {
  Listen();
  Say("S 0 mss=1000");
  Hear();
  EXPECT_TRUE(engine_->StopListening(us_, kOurPort).ok());
  Turn();
  EXPECT_EQ(Hear(), "RA 1 ack 1");
  EXPECT_EQ(engine_->stats().connections.value(), 0);
  Say("A 1 ack 1");
  EXPECT_EQ(Hear(), "R 1");
}

TEST_F(ListenTest, ConnectionsOutliveTheirListener) {
  Accept();
  EXPECT_TRUE(engine_->StopListening(us_, kOurPort).ok());
  Write(10);
  EXPECT_EQ(Hear(), "PA 1+10 ack 1");
}

TEST_F(ListenTest, SynsBeyondTheBacklogAreDropped) {
  Listen(/*backlog=*/1);
  Say("S 0 mss=1000");
  Hear();
  Say("A 1 ack 1");
  // Not taken. Another flow: the same ports at another address of the peer.
  peer_ = netstack::IpAddress::V4(0x0a000003);
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "");
  EXPECT_EQ(engine_->stats().syns_dropped, 1u);
  EXPECT_EQ(Event(), "accepted");
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
}

TEST_F(ListenTest, HandshakesThatEndBeyondTheBacklogWait) {
  Listen(/*backlog=*/1);
  const auto first = peer_;
  const auto other = netstack::IpAddress::V4(0x0a000003);
  Say("S 0 mss=1000");
  Hear();
  const Seq first_isn = our_isn_;
  peer_ = other;
  Say("S 0 mss=1000");
  Hear();
  Say("A 1 ack 1");
  peer_ = first;
  our_isn_ = first_isn;
  Say("A 1 ack 1");
  EXPECT_EQ(engine_->stats().accept_overflows, 1u);
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Event(), "");
  // The peer thinks that it is connected; what it says ends the handshake.
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Event(), "readable");
}

TEST_F(ListenTest, HalfOpenConnectionsAreBounded) {
  options_.syn_backlog = 10;
  options_.syn_cookies = SynCookieMode::kNever;
  Start();
  Listen();
  for (uint32_t i = 0; i < 100; ++i) {
    peer_ = netstack::IpAddress::V4(0x0b000000 + i);
    Say("S 0 mss=1000");
  }
  EXPECT_EQ(engine_->stats().half_open.value(), 10);
  EXPECT_EQ(engine_->stats().syns_dropped, 90u);
  EXPECT_EQ(HearAll().size(), 10u);
  Pass(200 * kS);
  EXPECT_EQ(engine_->stats().half_open.value(), 0);
  Forget();
}

class CookieTest : public DialogueTest {
 protected:
  CookieTest() {
    options_.syn_cookies = SynCookieMode::kAlways;
    Start();
    Listen();
  }
};

TEST_F(CookieTest, NothingIsKeptUntilThePeerAnswers) {
  Say("S 0 mss=1460");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  EXPECT_EQ(engine_->stats().connections.value(), 0);
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Info().send_mss_bytes, 1460u);
  EXPECT_FALSE(Info().sack);
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Hear(), "A 1 ack 11");
  Write(10);
  EXPECT_EQ(Hear(), "PA 1+10 ack 11");
}

TEST_F(CookieTest, TimestampsRememberOptions) {
  Say("S 0 mss=1460 ws=5 sackok ts=100");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  Say("A 1 ack 1 ts=101 win=10");
  EXPECT_EQ(Event(), "accepted");
  const StreamInfo info = Info();
  EXPECT_TRUE(info.sack && info.window_scaling && info.timestamps);
  EXPECT_EQ(info.send_window_scale, 5);
  EXPECT_EQ(info.send_window_bytes, 320u);
}

TEST_F(CookieTest, AGuessIsReset) {
  Say("S 0 mss=1460");
  Hear();
  Say("A 1 ack 1001");
  EXPECT_EQ(Hear(), "R 1001");
  EXPECT_EQ(Event(), "");
  EXPECT_EQ(engine_->stats().syn_cookies_failed, 1u);
}

TEST_F(CookieTest, AnOldOneIsNotGood) {
  Say("S 0 mss=1460");
  Hear();
  Pass(300 * kS);
  Say("A 1 ack 1");
  EXPECT_EQ(Hear(), "R 1");
}

TEST_F(CookieTest, DataThatOvertakesItsCookieIsSentAgain) {
  Say("S 0 mss=1460");
  Hear();
  Say("A 101+100 ack 1");
  EXPECT_EQ(Hear(), "");
  Say("A 1+100 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Read(), Text(1, 100));
}

TEST_F(CookieTest, AreSentWhenTheBacklogIsFull) {
  options_.syn_cookies = SynCookieMode::kAuto;
  options_.syn_backlog = 1;
  Start();
  Listen();
  Say("S 0 mss=1000");
  Hear();
  peer_ = netstack::IpAddress::V4(0x0a000003);
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  EXPECT_EQ(engine_->stats().syn_cookies_sent, 1u);
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(engine_->stats().half_open.value(), 1);
}

// A SYN was answered by a cookie, a copy of it found room: the peer goes by what it heard first.
TEST_F(CookieTest, HoldWhereTheSynCameTwice) {
  options_.syn_cookies = SynCookieMode::kAuto;
  options_.syn_backlog = 1;
  options_.syn_ack_retries = 0;
  Start();
  Listen();
  const auto first = peer_;
  peer_ = netstack::IpAddress::V4(0x0a000003);
  Say("S 0 mss=1000");
  peer_ = first;
  Say("S 0 mss=1000");
  Hear();
  Hear();
  const Seq cookie = our_isn_;
  Pass(2 * kS);  // the first handshake was given up
  Say("S 0 mss=1000");
  EXPECT_EQ(Hear(), "SA 0 ack 1");
  our_isn_ = cookie;
  Say("PA 1+10 ack 1");
  EXPECT_EQ(Event(), "accepted");
  EXPECT_EQ(Read(), Text(1, 10));
  EXPECT_EQ(engine_->stats().half_open.value(), 0);
}

}  // namespace
}  // namespace weft::tcp
