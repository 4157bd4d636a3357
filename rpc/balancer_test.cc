// SPDX-License-Identifier: Apache-2.0
//
// How a balancer spreads calls over servers that are well, and what happens at its limits.
#include "weft/rpc/balancer.h"

#include <optional>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/json_writer.h"
#include "weft/core/metrics.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/balancer_fixture.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/metrics.h"

namespace weft::rpc {
namespace {

using BalancerTest = BalancerFixture;

TEST_F(BalancerTest, SpreadsCallsOverAllServers) {
  for (const absl::string_view policy : r2p2::PolicyNames()) {
    SCOPED_TRACE(policy);
    handled_.clear();
    balancer_.reset();
    client_.reset();
    servers_.clear();
    Start(4, {.policy = std::string(policy)});
    for (uint64_t i = 0; i < 400; ++i) EXPECT_TRUE(CallAll(1, 1, {.affinity = i}));
    for (int server = 0; server < 4; ++server) EXPECT_GT(handled_[server], 50u) << server;
    EXPECT_EQ(balancer_->outstanding(), 0u);
    EXPECT_EQ(balancer_->stats().replies, 400u);
  }
}

TEST_F(BalancerTest, CallsWithTheSameKeyGoToTheSameServer) {
  Start(4, {.policy = "affinity"});
  std::set<int> used;
  for (uint64_t key = 1; key <= 20; ++key) {
    handled_.clear();
    EXPECT_TRUE(CallAll(10, 1, {.affinity = key}));
    ASSERT_EQ(handled_.size(), 1u);
    used.insert(handled_.begin()->first);
  }
  EXPECT_GT(used.size(), 2u);
}

TEST_F(BalancerTest, CallsWithoutAKeyAreSpread) {
  Start(4, {.policy = "affinity"});
  EXPECT_TRUE(CallAll(400));
  for (int server = 0; server < 4; ++server) EXPECT_GT(handled_[server], 50u) << server;
}

TEST_F(BalancerTest, CallsGoToTheServerWithFewest) {
  Start(3, {.policy = "jsq"});
  hold_[0] = hold_[1] = hold_[2] = true;
  for (int i = 0; i < 9; ++i) Call();
  RunFor(absl::Milliseconds(10));
  for (int server = 0; server < 3; ++server) {
    EXPECT_EQ(balancer_->outstanding(AddressOf(server)), 3u);
    AnswerHeld(server);
  }
  EXPECT_TRUE(RunUntil([&] { return ended_.calls == 9; }));
  EXPECT_EQ(balancer_->outstanding(AddressOf(0)), 0u);
}

TEST_F(BalancerTest, WithJbsqCallsWaitForASlotInOrder) {
  Start(2, {.policy = "jbsq", .slots = 2});
  hold_[0] = hold_[1] = true;
  std::vector<int> order;
  for (int i = 0; i < 7; ++i) {
    ASSERT_TRUE(balancer_
                    ->Call(kRequest,
                           [&order, i](absl::StatusOr<BufferChain> reply) {
                             EXPECT_TRUE(reply.ok());
                             order.push_back(i);
                           })
                    .ok());
  }
  RunFor(absl::Milliseconds(10));
  EXPECT_EQ(handled_[0] + handled_[1], 4u);
  EXPECT_EQ(balancer_->waiting(), 3u);
  EXPECT_EQ(balancer_->outstanding(), 7u);
  hold_[0] = hold_[1] = false;
  AnswerHeld(0, 1);
  EXPECT_TRUE(RunUntil([&] { return balancer_->waiting() == 0; }));
  AnswerHeld(0);
  AnswerHeld(1);
  EXPECT_TRUE(RunUntil([&] { return order.size() == 7; }));
  EXPECT_EQ(balancer_->stats().queued, 3u);
  std::vector<int> waited;
  for (const int i : order) {
    if (i >= 4) waited.push_back(i);
  }
  EXPECT_EQ(waited, (std::vector<int>{4, 5, 6}));
}

TEST_F(BalancerTest, NoMoreWaitThanMay) {
  Start(1, {.policy = "jbsq", .slots = 1, .waiting_max = 2});
  hold_[0] = true;
  for (int i = 0; i < 4; ++i) Call();
  ASSERT_EQ(ended_.errors.size(), 1u);
  EXPECT_EQ(ended_.errors[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(WasNotExecuted(ended_.errors[0]));
  EXPECT_EQ(balancer_->stats().refused, 1u);
}

TEST_F(BalancerTest, WhoWaitsInVainIsToldThatNothingWasExecuted) {
  Start(1, {.policy = "jbsq", .slots = 1});
  hold_[0] = true;
  Call({.timeout = absl::Seconds(10)});
  Call({.timeout = absl::Milliseconds(20)});
  EXPECT_TRUE(RunUntil([&] { return ended_.calls == 1; }));
  ASSERT_EQ(ended_.errors.size(), 1u);
  EXPECT_EQ(ended_.errors[0].code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(WasNotExecuted(ended_.errors[0]));
  EXPECT_EQ(balancer_->waiting(), 0u);
  EXPECT_EQ(balancer_->stats().waiting.value(), 0);
  RunFor(absl::Milliseconds(1));
  EXPECT_EQ(handled_[0], 1u);
}

TEST_F(BalancerTest, CancelledCallsGiveTheirSlotsBack) {
  Start(1, {.policy = "jbsq", .slots = 1});
  hold_[0] = true;
  const auto never = [](absl::StatusOr<BufferChain>) { ADD_FAILURE(); };
  const CallId sent = *balancer_->Call(kRequest, never);
  const CallId waiting = *balancer_->Call(kRequest, never);
  Call();
  RunFor(absl::Milliseconds(1));
  balancer_->Cancel(waiting);
  EXPECT_EQ(balancer_->waiting(), 1u);
  hold_[0] = false;
  balancer_->Cancel(sent);
  balancer_->Cancel(sent);
  EXPECT_TRUE(RunUntil([&] { return ended_.calls == 1; }));
  EXPECT_TRUE(ended_.errors.empty());
  EXPECT_EQ(balancer_->outstanding(), 0u);
}

TEST_F(BalancerTest, CoroutinesWaitForCallsAndCancelThem) {
  Start(2);
  std::optional<absl::StatusOr<BufferChain>> reply;
  const auto call = [&]() -> Task<void> { reply = co_await balancer_->Call(kRequest); };
  {
    TaskGroup tasks;
    tasks.Spawn(call());
    EXPECT_TRUE(RunUntil([&] { return reply.has_value(); }));
    EXPECT_TRUE(reply->ok());
    hold_[0] = hold_[1] = true;
    reply.reset();
    tasks.Spawn(call());
    RunFor(absl::Milliseconds(1));
    EXPECT_EQ(balancer_->outstanding(), 1u);
  }
  EXPECT_EQ(balancer_->outstanding(), 0u);
  EXPECT_FALSE(reply.has_value());
}

TEST_F(BalancerTest, ServersComeAndGo) {
  Start(2);
  EXPECT_TRUE(absl::IsAlreadyExists(balancer_->Add(AddressOf(0))));
  EXPECT_TRUE(absl::IsNotFound(balancer_->Remove(AddressOf(7))));
  EXPECT_TRUE(absl::IsNotFound(balancer_->Drain(AddressOf(7))));
  Serve(2);
  EXPECT_TRUE(balancer_->Add(AddressOf(2)).ok());
  EXPECT_TRUE(CallAll(90));
  EXPECT_GT(handled_[2], 10u);
  // One that is removed with a call: it ends as it would have.
  hold_[0] = hold_[1] = hold_[2] = true;
  ended_ = {};
  for (int i = 0; i < 6; ++i) Call();
  RunFor(absl::Milliseconds(1));
  EXPECT_TRUE(balancer_->Remove(AddressOf(0)).ok());
  EXPECT_EQ(balancer_->servers().size(), 2u);
  for (int server = 0; server < 3; ++server) AnswerHeld(server);
  EXPECT_TRUE(RunUntil([&] { return ended_.calls == 6; }));
  EXPECT_TRUE(ended_.errors.empty());
  hold_.clear();
  handled_.clear();
  EXPECT_TRUE(CallAll(20));
  EXPECT_EQ(handled_[0], 0u);
}

TEST_F(BalancerTest, AServerIsDrainedWithoutLosingACall) {
  Start(2);
  hold_[0] = true;
  for (int i = 0; i < 10; ++i) Call();
  RunFor(absl::Milliseconds(1));
  const uint32_t left = balancer_->outstanding(AddressOf(0));
  ASSERT_GT(left, 0u);
  EXPECT_TRUE(balancer_->Drain(AddressOf(0)).ok());
  EXPECT_EQ(StateOf(0), BalancedServer::State::kDraining);
  const size_t handled = handled_[0];
  for (int i = 0; i < 10; ++i) Call();
  EXPECT_TRUE(RunUntil([&] { return ended_.calls == 20 - left; }));
  EXPECT_EQ(handled_[0], handled);
  AnswerHeld(0);
  EXPECT_TRUE(RunUntil([&] { return ended_.calls == 20; }));
  EXPECT_TRUE(ended_.errors.empty());
  EXPECT_EQ(balancer_->servers().size(), 1u);
  // One that has nothing is gone at once.
  EXPECT_TRUE(balancer_->Drain(AddressOf(1)).ok());
  EXPECT_TRUE(balancer_->servers().empty());
  EXPECT_FALSE(CallAll(1));
  EXPECT_TRUE(absl::IsUnavailable(ended_.errors[0]));
  EXPECT_TRUE(WasNotExecuted(ended_.errors[0]));
}

TEST_F(BalancerTest, ADrainIsTakenBack) {
  Start(1);
  hold_[0] = true;
  Call();
  RunFor(absl::Milliseconds(1));
  EXPECT_TRUE(balancer_->Drain(AddressOf(0)).ok());
  EXPECT_TRUE(balancer_->Add(AddressOf(0)).ok());
  hold_[0] = false;
  AnswerHeld(0);
  EXPECT_TRUE(CallAll(3));
  EXPECT_EQ(StateOf(0), BalancedServer::State::kUp);
}

TEST_F(BalancerTest, TheConfigurationNamesServersAndPolicy) {
  Start(0);
  config::Rpc config;
  config.set_outstanding_max(7);
  for (const char* server : {"sim:a", "sim:b", "sim:a"}) config.add_servers(server);
  config.mutable_balancer()->set_policy("affinity");
  auto balancer = Balancer::Create(*client_, config);
  ASSERT_TRUE(balancer.ok()) << balancer.status();
  EXPECT_EQ((*balancer)->policy(), "affinity");
  EXPECT_EQ((*balancer)->servers().size(), 2u);
  config.add_servers("nonsense");
  EXPECT_TRUE(absl::StrContains(Balancer::Create(*client_, config).status().message(),
                                "rpc.servers: 'nonsense'"));
  config.mutable_balancer()->set_policy("fastest");
  const absl::Status unknown = Balancer::Create(*client_, config).status();
  EXPECT_TRUE(absl::StrContains(unknown.message(), "rpc.balancer: unknown policy 'fastest'"));
  EXPECT_TRUE(absl::StrContains(unknown.message(), "power_of_two"));
}

TEST_F(BalancerTest, MoreServersThanTheLimitAreRefused) {
  Start(0, {.servers_max = 1});
  EXPECT_TRUE(balancer_->Add(Address::Sim("a")).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(balancer_->Add(Address::Sim("b"))));
}

// A simulated network allocates; a balanced call must not add to that.
TEST_F(BalancerTest, CallsAllocateNoMoreThanTheClientsOwn) {
  Start(2, {.policy = "jbsq", .slots = 2});
  const Peer peer = *client_->Resolve(AddressOf(0));
  const auto plain = [&] {
    const int64_t before = AllocationsOfThisThread();
    for (int i = 0; i < 2000; ++i) {
      bool done = false;
      ASSERT_TRUE(
          client_->Call(peer, kRequest, [&](absl::StatusOr<BufferChain>) { done = true; }).ok());
      RunUntil([&] { return done; });
    }
    plain_ = AllocationsOfThisThread() - before;
  };
  plain();
  plain();
  CallAll(2000);
  const int64_t before = AllocationsOfThisThread();
  CallAll(2000);
  EXPECT_LE(AllocationsOfThisThread() - before, plain_ + 20);
}

TEST_F(BalancerTest, TellsOperatorsOfItsServers) {
  Start(2);
  EXPECT_TRUE(CallAll(10));
  MetricRegistry registry;
  const MetricGroup group = RegisterMetrics(registry, *balancer_, {});
  ASSERT_TRUE(group.status().ok()) << group.status();
  const std::string text = registry.RenderPrometheus();
  EXPECT_TRUE(absl::StrContains(text, "weft_rpc_balancer_calls_total 10"));
  EXPECT_TRUE(absl::StrContains(text, "weft_rpc_balancer_available 2"));
  JsonWriter json;
  Describe(*balancer_, 10, json);
  const std::string page = json.text();
  for (const char* part : {R"("kind": "balancer")", R"("policy": "power_of_two")",
                           R"("address": "sim:server1")", R"("state": "up")", R"("calls": 10)"}) {
    EXPECT_TRUE(absl::StrContains(page, part)) << part << " of " << page;
  }
}

}  // namespace
}  // namespace weft::rpc
