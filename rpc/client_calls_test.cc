// SPDX-License-Identifier: Apache-2.0
//
// Calls in the extended format that begin, wait and end in unusual ways.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/restart_fixture.h"

namespace weft::rpc {
namespace {

class ClientCallsTest : public RestartFixture {
 protected:
  struct Ended {
    bool ended = false;
    absl::Status status;
  };

  void StartServer(std::function<void(ServerCall)> handler) {
    server_ = *Server::Create(loop_, Open("server"), {.session = session_, .key_seed = ++seed_},
                              std::move(handler));
  }
  void Call(const Target& target, Payload request, Ended* outcome,
            const CallOptions& options = {}) {
    const absl::StatusOr<CallId> begun = client_->Call(
        target, std::move(request),
        [outcome](absl::StatusOr<BufferChain> reply) {
          outcome->ended = true;
          outcome->status = reply.status();
        },
        options);
    ASSERT_TRUE(begun.ok()) << begun.status();
  }
  bool RunUntil(const std::function<bool()>& done, int64_t ns = 1'000'000'000) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + ns);
  }
};

TEST_F(ClientCallsTest, CallsThatAreTooLateAndMadeAgainLeaveTheLoopItsTurn) {
  session_.slots = 2;
  RestartFixture::StartServer();
  StartClient();
  for (int i = 0; i < 4; ++i) Begin(/*handler_us=*/1'000);
  ASSERT_TRUE(Finish());
  // Less than twice what a reply takes: whoever has to wait is too late from the beginning.
  const CallOptions soon = {.timeout = absl::Microseconds(1'500)};
  constexpr int kLimit = 10'000;
  int again = 0;
  std::function<void()> then = [&] {
    if (++again < kLimit) Begin(peer_, 1'000, then, soon);
  };
  for (int i = 0; i < 8; ++i) Begin(peer_, 1'000, then, soon);
  RunFor(20'000'000);
  EXPECT_LT(again, kLimit);
  again = kLimit;
  ASSERT_TRUE(Finish());
  ExpectNothingLeft();
}

TEST_F(ClientCallsTest, TheServerGivesNoCallUpBeforeItsClient) {
  std::optional<ServerCall> held;
  StartServer([&held](ServerCall call) { held.emplace(std::move(call)); });
  StartClient();
  Ended outcome;
  Call(peer_, Payload::Copy({}), &outcome, {.timeout = absl::InfiniteDuration()});
  RunFor(7'200'000'000'000);  // 32 bits of microseconds are 72 minutes
  ASSERT_TRUE(held.has_value());
  EXPECT_FALSE(held->cancelled());
  EXPECT_FALSE(outcome.ended) << outcome.status;
  (void)held->Reply(Payload::Copy({}));
  ASSERT_TRUE(RunUntil([&] { return outcome.ended; }));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  held.reset();
  ExpectNothingLeft();
}

TEST_F(ClientCallsTest, LongRepliesDoNotCountAsSlowOnes) {
  const std::vector<uint8_t> bytes(2 << 20);
  StartServer([&bytes](ServerCall call) { EXPECT_TRUE(call.Reply(Payload::Copy(bytes)).ok()); });
  StartClient();
  for (int i = 0; i < 5; ++i) {
    Ended outcome;
    Call(peer_, Payload::Copy({}), &outcome);
    ASSERT_TRUE(RunUntil([&] { return outcome.ended; }));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  }
  client_->sessions().ForEach([](const ClientSession& session) {
    // The first packet of a reply comes after a round trip, the last one after many.
    EXPECT_LT(session.response_time.srtt_ns(), 3 * session.rtt.srtt_ns());
  });
}

TEST_F(ClientCallsTest, ARequestThatFoundNoRoomIsThereSoonAfterThereIsSome) {
  transport_ = sim::OpenTransport(&network_, {.count = 64});
  std::vector<ServerCall> held;
  StartServer([&held](ServerCall call) { held.push_back(std::move(call)); });
  StartClient();
  const std::vector<uint8_t> bytes(size_t{30} * 1400);
  const CallOptions patient = {.timeout = absl::Seconds(10)};
  Ended first;
  Ended second;
  Call(peer_, Payload::Copy(bytes), &first, patient);
  ASSERT_TRUE(RunUntil([&] { return held.size() == 1; }));
  Call(peer_, Payload::Copy(bytes), &second, patient);
  RunFor(543'210'987);
  ASSERT_EQ(held.size(), 1u) << "the first handler has the buffers";
  const int64_t began_ns = network_.NowNs();
  ASSERT_TRUE(held[0].Reply(Payload::Copy({})).ok());
  held.clear();
  ASSERT_TRUE(RunUntil([&] { return held.size() == 1; }));
  EXPECT_LT(network_.NowNs() - began_ns, 10'000'000);
  ASSERT_TRUE(held[0].Reply(Payload::Copy({})).ok());
  held.clear();
  ASSERT_TRUE(RunUntil([&] { return first.ended && second.ended; }));
  EXPECT_TRUE(second.status.ok()) << second.status;
  RunFor(10'000'000);
  ExpectNothingLeft();
}

TEST_F(ClientCallsTest, WhatACancelledCallHeldMayEndItsSession) {
  RestartFixture::StartServer();
  StartClient();
  absl::StatusOr<SessionId> session = client_->Connect(peer_);
  ASSERT_TRUE(session.ok());
  Begin();
  ASSERT_TRUE(Finish());
  std::vector<uint8_t> bytes(30'000);
  bytes[0] = 0xFF;  // no Outcome
  Ended after;
  std::shared_ptr<void> guard(static_cast<void*>(&after), [&](void*) {
    client_->Disconnect(*session);
    Call(peer_, Payload::Copy(bytes), &after);
  });
  absl::StatusOr<CallId> call = client_->Call(
      *session, Payload::Copy({}), [guard](const absl::StatusOr<BufferChain>&) { FAIL(); });
  ASSERT_TRUE(call.ok());
  guard.reset();
  client_->Cancel(*call);
  ASSERT_TRUE(RunUntil([&] { return after.ended; }));
  EXPECT_TRUE(after.status.ok()) << after.status;
  RunFor(100'000'000);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace weft::rpc
