// SPDX-License-Identifier: Apache-2.0
//
// What is told of connections: StreamInfo as Linux's TCP_INFO, and looks at all of them.
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

class InfoTest : public DialogueTest {
 protected:
  void OpenMany(uint32_t count) {
    Listen(/*backlog=*/1);
    for (uint32_t i = 0; i < count; ++i) {
      peer_ = netstack::IpAddress::V4(0x0b000000 + i);
      Say("S 0 mss=1460");
      Hear();
      Say("A 1 ack 1");
      ASSERT_EQ(Event(), "accepted");
    }
  }
};

TEST_F(InfoTest, WhatWaits) {
  Accept("mss=1000");
  Say("PA 1+300 ack 1");
  EXPECT_EQ(Event(), "readable");
  Set({.no_delay = true});
  Write(1200);
  EXPECT_EQ(Info().unread_bytes, 300u);
  EXPECT_EQ(Info().unacked_bytes, 1200u);
  Forget();
  Say("A 301 ack 1201");
  EXPECT_EQ(Info().unacked_bytes, 0u);
  EXPECT_EQ(Info().delivered_segments, 2u);
  EXPECT_EQ(Info().bytes_sent, 1200u);
}

TEST_F(InfoTest, TheRateIsThatOfAFullPath) {
  Accept("mss=1000");
  Write(10'000);
  Forget();
  Pass(10 * kMs);
  Say("A 1 ack 10001");
  // 10 kB in 10 ms.
  EXPECT_NEAR(static_cast<double>(Info().delivery_rate_bytes), 1e6, 1e4);
  // Who has little to say does not measure it.
  Write(100);
  Forget();
  Pass(10 * kMs);
  Say("A 1 ack 10101");
  EXPECT_NEAR(static_cast<double>(Info().delivery_rate_bytes), 1e6, 1e4);
}

TEST_F(InfoTest, TimesByWhatKeepsDataWaiting) {
  Accept("mss=1000 win=2000");
  Write(1000);
  Forget();
  Pass(100 * kMs);
  EXPECT_NEAR(static_cast<double>(Info().busy_us), 100e3, 3e3);
  EXPECT_EQ(Info().receive_window_limited_us, 0u);
  Say("A 1 ack 1001 win=0");
  Pass(1 * kS);  // idle
  EXPECT_NEAR(static_cast<double>(Info().busy_us), 100e3, 3e3);
  // The peer's window is closed.
  Write(500);
  Pass(150 * kMs);
  EXPECT_NEAR(static_cast<double>(Info().receive_window_limited_us), 150e3, 3e3);
  EXPECT_NEAR(static_cast<double>(Info().busy_us), 250e3, 5e3);
  Say("A 1 ack 1001 win=9000");
  Forget();
  Pass(50 * kMs);
  Say("A 1 ack 1501 win=9000");
  Pass(1 * kS);
  EXPECT_NEAR(static_cast<double>(Info().receive_window_limited_us), 150e3, 3e3);
  EXPECT_NEAR(static_cast<double>(Info().busy_us), 300e3, 5e3);
  EXPECT_EQ(Info().send_buffer_limited_us, 0u);
}

TEST_F(InfoTest, TimeWithAFullSendBuffer) {
  Accept("mss=1000 win=65535");
  Set({.no_delay = true, .send_buffer_bytes = 4096});
  EXPECT_LT(Write(8000), 8000u);  // what fits is all under way
  Pass(100 * kMs);
  EXPECT_NEAR(static_cast<double>(Info().send_buffer_limited_us), 100e3, 3e3);
  Forget();
  Say("A 1 ack 4097");
  Pass(1 * kS);
  EXPECT_NEAR(static_cast<double>(Info().send_buffer_limited_us), 100e3, 3e3);
}

TEST_F(InfoTest, LossesAndWhatWasSentInVain) {
  Listen();
  Say("S 0 mss=1000 sackok");
  Hear();
  Pass(10 * kMs);
  Say("A 1 ack 1");
  ASSERT_EQ(Event(), "accepted");
  Write(5000);
  Forget();
  EXPECT_EQ(Info().recovery, StreamInfo::Recovery::kOpen);
  Pass(10 * kMs);
  Say("A 1 ack 1001");
  Say("A 1 ack 1001 sack 2001-5001");
  EXPECT_EQ(Info().recovery, StreamInfo::Recovery::kRecovery);
  Pass(10 * kMs);
  EXPECT_EQ(Info().retransmissions, 1u);
  EXPECT_EQ(Info().bytes_retransmitted, 1000u);
  EXPECT_EQ(Info().bytes_sent, 6000u);
  // It had been late only: what was sent again came twice.
  Say("A 1 ack 5001");
  Say("A 1 ack 5001 sack 1001-2001");
  EXPECT_EQ(Info().delivered_segments, 5u);
  EXPECT_GE(Info().dsack_duplicates, 1u);
}

TEST_F(InfoTest, ALookTakesAsManyPlacesAsItIsTold) {
  constexpr uint32_t kConnections = 300;
  OpenMany(kConnections);
  Engine::Scan scan;
  std::set<std::string> seen;
  int turns = 0;
  bool more = true;
  while (more) {
    size_t asked = 0;
    more = engine_->Look(
        &scan, 50, now_ns_,
        [&](const Flow& flow, StreamInfo::State state) {
          EXPECT_EQ(state, StreamInfo::State::kEstablished);
          ++asked;
          return flow.remote.v4() % 2 == 0;
        },
        [&](StreamId stream, const Flow& flow, const StreamInfo& info) {
          EXPECT_TRUE(engine_->FlowOf(stream).ok());
          EXPECT_EQ(info.send_mss_bytes, 1460u);
          EXPECT_TRUE(seen.insert(flow.remote.ToString()).second);
        });
    EXPECT_LE(asked, 50u);
    ++turns;
  }
  EXPECT_EQ(seen.size(), kConnections / 2);
  EXPECT_GE(turns, 6);
}

TEST_F(InfoTest, ALookShowsThoseThatRest) {
  Accept();
  CloseWrite();
  Hear();
  Say("FA 1 ack 2");
  std::vector<StreamInfo::State> states;
  engine_->ForEach(now_ns_, [&](StreamId, const Flow& flow, const StreamInfo& info) {
    EXPECT_EQ(flow.local_port, kOurPort);
    states.push_back(info.state);
  });
  ASSERT_FALSE(states.empty());
  EXPECT_EQ(states.back(), StreamInfo::State::kTimeWait);
  EXPECT_EQ(engine_->stats().time_wait.value(), 1);
  Pass(61 * kS);
  EXPECT_EQ(engine_->stats().time_wait.value(), 0);
}

// What concerns one of many is found within a few turns, each of which takes its part only.
TEST_F(InfoTest, ManyConnectionsAreSearchedInTurns) {
  constexpr uint32_t kConnections = 3000;
  OpenMany(kConnections);
  engine_->OnPathMtu(peer_, 1000, now_ns_);  // the last one's
  EXPECT_TRUE(engine_->is_searching());
  EXPECT_EQ(engine_->stats().path_mtu_changes.value(), 0u);
  for (int i = 0; i < 15; ++i) Turn();
  EXPECT_FALSE(engine_->is_searching());
  EXPECT_EQ(engine_->stats().path_mtu_changes.value(), 1u);
  // So are the handshakes of a listener that has gone; one that ends meanwhile is refused.
  for (uint32_t i = 0; i < 2; ++i) {
    peer_ = netstack::IpAddress::V4(0x0c000000 + i);
    Say("S 0 mss=1460");
    Hear();
  }
  EXPECT_TRUE(engine_->StopListening(us_, kOurPort).ok());
  Say("A 1 ack 1");
  EXPECT_EQ(Event(), "");
  EXPECT_EQ(Hear().substr(0, 1), "R");
  for (int i = 0; i < 15; ++i) Turn();
  EXPECT_FALSE(engine_->is_searching());
  EXPECT_EQ(engine_->stats().half_open.value(), 0);
}

TEST_F(InfoTest, CountsOutliveAnEngineAndGaugesDoNot) {
  TcpStats stats;
  world_.stats = &stats;
  Start();
  Accept();
  EXPECT_EQ(stats.passive_opens.value(), 1u);
  EXPECT_EQ(stats.connections.value(), 1);
  engine_.reset();
  EXPECT_EQ(stats.passive_opens.value(), 1u);
  EXPECT_EQ(stats.connections.value(), 0);
  Start();
  Accept();
  EXPECT_EQ(stats.passive_opens.value(), 2u);
  world_.stats = nullptr;
  Start();
}

}  // namespace
}  // namespace weft::tcp
