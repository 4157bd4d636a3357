// SPDX-License-Identifier: Apache-2.0
//
// Clients that open sessions and are not heard of again.
#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/rpc/extended_server_fixture.h"
#include "weft/rpc/restart_fixture.h"

namespace weft::rpc {
namespace {

class HalfOpenSessionsTest : public RestartFixture {
 protected:
  static constexpr size_t kSessionsMax = 1000;

  HalfOpenSessionsTest() { session_.sessions_max = kSessionsMax; }

  // One HELLO each from so many clients.
  void Knock(RawClient& stranger, size_t clients) {
    for (size_t i = 0; i < clients; ++i) {
      stranger.SendHello(static_cast<uint32_t>(i + 1),
                         {.slots = 4096,
                          .packet_bytes = 200,
                          .incarnation = ++last_client_,
                          .timeout_us = UINT32_MAX},
                         200);
      if (i % 32 == 31) RunFor(100'000);
    }
    RunFor(100'000);
    Datagram answers[32];
    while (stranger.port->Receive(absl::MakeSpan(answers)) > 0) {
      for (Datagram& answer : answers) answer.buffer.Reset();
    }
  }

  uint64_t last_client_ = 0;
};

TEST_F(HalfOpenSessionsTest, TheTableIsBoundedAndReclaimed) {
  StartServer();
  RawClient stranger(*transport_, "stranger", 1);
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    Knock(stranger, 5 * kSessionsMax);
    EXPECT_EQ(server_->stats().sessions.value(), static_cast<int64_t>(kSessionsMax));
    RunFor(3 * kTimeoutNs);
    EXPECT_EQ(server_->stats().sessions.value(), 0);
    EXPECT_EQ(loop_.timers().size(), 0u);
  }
  EXPECT_EQ(server_->stats().sessions_refused, 3 * 4 * kSessionsMax);
  ExpectNothingLeft();
}

TEST_F(HalfOpenSessionsTest, ThoseWhoCallAreServedAllTheSame) {
  StartServer();
  StartClient();
  Begin();
  ASSERT_TRUE(Finish());
  RawClient stranger(*transport_, "stranger", 1);
  Knock(stranger, 2 * kSessionsMax);
  const size_t known = Begin();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(StatusOf(known).ok()) << StatusOf(known);

  // A session more is refused, and its call was not executed.
  const SessionId id = *client_->Connect(peer_);
  const size_t refused = Begin(id);
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(absl::IsResourceExhausted(StatusOf(refused))) << StatusOf(refused);
  EXPECT_TRUE(WasNotExecuted(StatusOf(refused)));
  RunFor(3 * kTimeoutNs);
  const size_t later = Begin(id);
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(StatusOf(later).ok()) << StatusOf(later);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace weft::rpc
