// SPDX-License-Identifier: Apache-2.0
//
// Clients and servers that restart, are cut off from each other, or say that they are leaving.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/restart_fixture.h"

namespace weft::rpc {
namespace {

class RestartTest : public RestartFixture {
 protected:
  void SetUp() override {
    StartServer();
    StartClient();
  }
};

TEST_F(RestartTest, CallsGoOnAfterTheServerHasCrashed) {
  Begin();
  ASSERT_TRUE(Finish());
  const size_t lost = Begin(50'000);
  RunFor(1'000'000);
  CrashServer();
  StartServer();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(lost))) << StatusOf(lost);
  EXPECT_FALSE(WasNotExecuted(StatusOf(lost)));
  const size_t after = Begin();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(StatusOf(after).ok()) << StatusOf(after);
  ExpectNothingLeft();
}

TEST_F(RestartTest, CallsThatWaitedGoToTheServerThatCameAfter) {
  std::vector<size_t> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(Begin(50'000));
  RunFor(1'000'000);
  CrashServer();
  StartServer();
  ASSERT_TRUE(Finish());
  size_t succeeded = 0;
  for (const size_t call : calls) succeeded += StatusOf(call).ok();
  EXPECT_EQ(succeeded, calls.size() - session_.slots)
      << "what was under way may have been executed";
  ExpectNothingLeft();
}

TEST_F(RestartTest, CallbacksOfALostSessionMayCallAgain) {
  Begin();
  ASSERT_TRUE(Finish());
  std::vector<size_t> again;
  for (int i = 0; i < 5; ++i) Begin(50'000, [&] { again.push_back(Begin()); });
  RunFor(20'000);  // sent, and nothing is known of them
  CrashServer();
  StartServer();
  ASSERT_TRUE(Finish());
  ASSERT_EQ(again.size(), 5u);
  for (const size_t call : again) EXPECT_TRUE(StatusOf(call).ok()) << StatusOf(call);
  ExpectNothingLeft();
}

TEST_F(RestartTest, AServerThatDrainsTakesNoneOfTheCallsThatWait) {
  std::vector<size_t> calls;
  for (size_t i = 0; i < 2 * session_.slots; ++i) calls.push_back(Begin(50'000));
  RunFor(1'000'000);
  server_->Drain(nullptr);
  RunFor(2'000'000);
  for (size_t i = 0; i < calls.size(); ++i) {
    const Outcome& outcome = outcomes_[calls[i]];
    EXPECT_EQ(outcome.ended, i < session_.slots ? 0 : 1) << "those that wait end at once";
    if (outcome.ended == 0) continue;
    EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
    EXPECT_TRUE(WasNotExecuted(outcome.status));
  }
  ASSERT_TRUE(Finish());
  for (size_t i = 0; i < session_.slots; ++i) EXPECT_TRUE(StatusOf(calls[i]).ok());
  ExpectNothingLeft();
}

TEST_F(RestartTest, CallsSurviveAPartitionShorterThanTheTimeout) {
  Begin();
  ASSERT_TRUE(Finish());
  std::vector<size_t> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(Begin(i % 2 == 0 ? 0 : 30'000));
  CutOff("client");
  RunFor(kTimeoutNs / 2);
  network_.Heal();
  ASSERT_TRUE(Finish());
  for (const size_t call : calls) EXPECT_TRUE(StatusOf(call).ok()) << StatusOf(call);
  EXPECT_EQ(client_->stats().sessions_lost, 0u);
  ExpectNothingLeft();
}

TEST_F(RestartTest, BothSidesGiveUpAfterALongPartitionAndMeetAgain) {
  Begin();
  ASSERT_TRUE(Finish());
  const size_t lost = Begin(1'000'000);
  RunFor(1'000'000);
  CutOff("client");
  RunFor(2 * kTimeoutNs);
  EXPECT_TRUE(absl::IsUnavailable(StatusOf(lost))) << StatusOf(lost);
  EXPECT_EQ(server_->stats().sessions.value(), 0);
  EXPECT_EQ(server_->stats().executing.value(), 0) << "its handler was cancelled";
  network_.Heal();
  const size_t after = Begin();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(StatusOf(after).ok()) << StatusOf(after);
  ExpectNothingLeft();
}

TEST_F(RestartTest, AClientThatRestartsHasNothingToDoWithItsForerunner) {
  Begin(5'000'000);
  RunFor(1'000'000);
  CutOff("client");
  client_.reset();
  network_.Heal();
  outcomes_.clear();
  StartClient();
  std::vector<size_t> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(Begin(100));
  ASSERT_TRUE(Finish());
  for (const size_t call : calls) EXPECT_TRUE(StatusOf(call).ok()) << StatusOf(call);
  RunFor(2 * kTimeoutNs);
  EXPECT_EQ(server_->stats().sessions.value(), 1) << "the forerunner's was lost, this one is kept";
  ExpectNothingLeft();
}

TEST_F(RestartTest, AThousandSessionsComeAndGo) {
  std::vector<SessionId> sessions;
  for (int i = 0; i < 1000; ++i) {
    sessions.push_back(*client_->Connect(peer_));
    Begin(sessions.back(), 0);
    if (i % 100 != 99) continue;
    ASSERT_TRUE(Finish());
  }
  for (const Outcome& outcome : outcomes_) EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(server_->stats().sessions.value(), 1000);
  for (const SessionId id : sessions) client_->Disconnect(id);
  RunFor(kTimeoutNs);
  EXPECT_EQ(server_->stats().sessions.value(), 0);
  EXPECT_EQ(loop_.timers().size(), 0u);
  ExpectNothingLeft();
}

TEST_F(RestartTest, WhenTheClockJumpsCallsEndAndOthersFollow) {
  Begin();
  ASSERT_TRUE(Finish());
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 20; ++i) Begin(static_cast<uint32_t>(i) * 50);
    RunFor(300'000);
    // Nothing is on the wire: the machine slept.
    while (network_.NextEventNs() < INT64_MAX) network_.AdvanceTo(network_.NextEventNs());
    network_.AdvanceTo(network_.NowNs() + int64_t{5} * 3600 * 1'000'000'000);
    ASSERT_TRUE(Finish());
    const size_t after = Begin();
    ASSERT_TRUE(Finish());
    EXPECT_TRUE(StatusOf(after).ok()) << StatusOf(after);
  }
  ExpectNothingLeft();
}

}  // namespace
}  // namespace weft::rpc
