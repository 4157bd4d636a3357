// SPDX-License-Identifier: Apache-2.0
//
// Calls to servers of which some are dead, slow or refuse, in both formats.
#include "weft/rpc/retry.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

using Result = absl::StatusOr<BufferChain>;

// Longer than any call waits. The original format does not tell servers that nobody waits.
constexpr absl::Duration kForEver = absl::Seconds(2);

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A server that answers with its name, after a while.
struct Node {
  std::string name;
  absl::Duration delay = absl::ZeroDuration();
  bool drops = false;    // after the delay, instead of answering
  bool refuses = false;  // at once, without executing anything
  int executions = 0;
  int64_t latest_ns = 0;  // when it was last asked, whether it refused or not
  std::unique_ptr<Server> server;
};

Task<void> Handle(Node* node, ServerCall call) {
  ++node->executions;
  node->latest_ns = call.loop().now_ns();
  if (node->delay > absl::ZeroDuration()) co_await call.loop().Sleep(node->delay);
  if (node->drops) {
    call.Drop();
  } else {
    EXPECT_TRUE(call.Reply(Bytes(node->name)).ok());
  }
}

Task<void> Ask(Caller& caller, const std::string& request) {
  EXPECT_TRUE((co_await caller.Call(Bytes(request))).ok());
}

class RetryTest : public testing::TestWithParam<Wire> {
 protected:
  RetryTest() {
    client_ =
        *Client::Create(loop_, OpenPort("client"), {.request_id_seed = 1, .wire = GetParam()});
  }

  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  Node& Add(const std::string& name, const ServerOptions& options = {}) {
    nodes_.emplace_back().name = name;
    Node* node = &nodes_.back();
    node->server = *Server::Create(loop_, OpenPort(name), options, [node](ServerCall call) {
      return Handle(node, std::move(call));
    });
    node->server->set_admission([this, node](Peer, absl::Span<const uint8_t>) {
      node->latest_ns = network_.NowNs();
      return !node->refuses;
    });
    return *node;
  }
  void MakeCaller(std::vector<std::string> names, RetryBudget* budget = nullptr) {
    std::vector<Peer> servers;
    for (const std::string& name : names) {
      servers.push_back(*client_->Resolve(Address::Sim(name)));
    }
    caller_.emplace(*client_, std::move(servers), CallerOptions{.budget = budget, .seed = 1});
  }

  bool RunUntil(const std::function<bool()>& done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }
  void RunFor(absl::Duration duration) {
    bool over = false;
    Timer timer([](void* flag, int64_t) { *static_cast<bool*>(flag) = true; }, &over);
    loop_.timers().Schedule(timer, network_.NowNs() + absl::ToInt64Nanoseconds(duration));
    RunVirtual(network_, {&loop_}, [&] { return over; });
  }
  // Who answered, or the error.
  absl::StatusOr<std::string> Call(const RetryPolicy& policy, const CallOptions& options = {}) {
    std::optional<Result> result;
    RetriedCall call(*caller_, Bytes(request_), policy, options, /*first=*/0);
    call.Start([&](Result r) {
      EXPECT_FALSE(result.has_value()) << "a call ends once";
      result.emplace(std::move(r));
    });
    EXPECT_FALSE(result.has_value()) << "not from within Start()";
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    EXPECT_EQ(caller_->outstanding(), 0u);
    if (!result->ok()) return result->status();
    return (*result)->ToString();
  }
  // What has been kept for others to come, or to be cancelled, is given back.
  void ExpectLevelMemory() {
    RunFor(absl::Seconds(3));
    EXPECT_EQ(client_->outstanding(), 0u);
    EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    for (const Node& node : nodes_) {
      EXPECT_EQ(node.server->port().pool().available(), node.server->port().pool().count())
          << node.name;
    }
  }
  void CutOff(const std::string& name) {
    const std::vector<sim::NodeId> alone = {*network_.AddNode(name)};
    ASSERT_TRUE(network_.Partition({alone}).ok());
  }
  bool extended() const { return GetParam() == Wire::kExtended; }
  const CallerStats& stats() const { return caller_->stats(); }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  std::deque<Node> nodes_;
  std::unique_ptr<Client> client_;
  std::optional<Caller> caller_;
  std::string request_ = "request";
};

INSTANTIATE_TEST_SUITE_P(Wires, RetryTest, testing::Values(Wire::kOriginal, Wire::kExtended),
                         [](const testing::TestParamInfo<Wire>& info) {
                           return info.param == Wire::kOriginal ? "Original" : "Extended";
                         });

TEST_P(RetryTest, ACallThatSucceedsIsMadeOnce) {
  Node& a = Add("a");
  Node& b = Add("b");
  MakeCaller({"a", "b"});
  EXPECT_EQ(*Call({}), "a");
  EXPECT_EQ(a.executions, 1);
  EXPECT_EQ(b.executions, 0);
  EXPECT_EQ(stats().attempts, 1u);
  EXPECT_EQ(stats().replies, 1u);
  ExpectLevelMemory();
}

TEST_P(RetryTest, CallsBeginAtOneServerAfterTheOther) {
  for (const char* name : {"a", "b", "c"}) Add(name);
  MakeCaller({"a", "b", "c"});
  TaskGroup tasks;
  for (int i = 0; i < 6; ++i) {
    tasks.Spawn(Ask(*caller_, request_));
  }
  ASSERT_TRUE(RunUntil([&] { return tasks.size() == 0; }));
  for (const Node& node : nodes_) EXPECT_EQ(node.executions, 2) << node.name;
}

TEST_P(RetryTest, ADeadServerIsPassedOver) {
  Add("b");
  MakeCaller({"a", "b"});
  EXPECT_EQ(*Call({.idempotent = true}), "b");
  EXPECT_EQ(stats().retries, 1u);
  // Without a session, nobody knows what a server did before it died.
  const absl::StatusOr<std::string> once = Call({});
  EXPECT_EQ(once.ok(), extended());
  if (!once.ok()) {
    EXPECT_TRUE(absl::IsUnavailable(once.status()));
  }
}

TEST_P(RetryTest, AServerThatIsCutOffIsPassedOverWhenTheAttemptsTimeIsUp) {
  Add("a");
  Node& b = Add("b");
  MakeCaller({"a", "b"});
  EXPECT_EQ(*Call({}), "a");  // so that there is a session
  CutOff("a");
  EXPECT_EQ(*Call({.idempotent = true, .attempt_timeout = absl::Milliseconds(2)}), "b");
  EXPECT_EQ(stats().retries, 1u);
  const absl::Status once = Call({.attempt_timeout = absl::Milliseconds(2)}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(once)) << once;
  EXPECT_FALSE(WasNotExecuted(once));
  EXPECT_EQ(b.executions, 1);
  network_.Heal();
  ExpectLevelMemory();
}

TEST_P(RetryTest, WhenAllRefuseTheCallFailsAndWasNotExecuted) {
  for (const char* name : {"a", "b", "c"}) Add(name).refuses = true;
  MakeCaller({"a", "b", "c"});
  const absl::Status refused = Call({.attempts_max = 5}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(WasNotExecuted(refused));
  EXPECT_EQ(stats().attempts, 5u);
  EXPECT_EQ(stats().failures, 1u);
  for (const Node& node : nodes_) EXPECT_EQ(node.executions, 0) << node.name;
  nodes_[2].refuses = false;
  EXPECT_EQ(*Call({}), "c");
  ExpectLevelMemory();
}

TEST_P(RetryTest, ACallWithSideEffectsNeverRunsTwice) {
  Node& a = Add("a");
  Node& b = Add("b");
  a.delay = kForEver;
  MakeCaller({"a", "b"});
  const absl::Status late = Call({.attempt_timeout = absl::Milliseconds(5)}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_FALSE(WasNotExecuted(late));
  EXPECT_EQ(a.executions, 1);
  EXPECT_EQ(b.executions, 0);
  EXPECT_EQ(stats().attempts, 1u);
}

TEST_P(RetryTest, ARefusalAfterAnAttemptThatMayHaveRunSaysNothingOfTheCall) {
  Node& a = Add("a");
  a.delay = kForEver;
  Add("b").refuses = true;
  MakeCaller({"a", "b"});
  const absl::Status status =
      Call({.attempts_max = 2, .idempotent = true, .attempt_timeout = absl::Milliseconds(5)})
          .status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_FALSE(WasNotExecuted(status));
}

TEST_P(RetryTest, WhatWouldFailAgainIsNotTriedAgain) {
  client_ = *Client::Create(
      loop_, OpenPort("client2"),
      {.message_packets_max = 1, .wire = GetParam(), .session = {.message_bytes_max = 1500}});
  Add("a");
  MakeCaller({"a", "a"});
  request_.assign(2000, 'x');
  const absl::Status status = Call({.idempotent = true}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(WasNotExecuted(status));
  EXPECT_EQ(stats().attempts, 1u);
}

TEST_P(RetryTest, AHedgeWins) {
  Node& slow = Add("slow");
  slow.delay = absl::Milliseconds(500);
  Add("fast");
  MakeCaller({"slow", "fast"});
  const int64_t begin_ns = network_.NowNs();
  EXPECT_EQ(*Call({.idempotent = true, .hedge_after = absl::Milliseconds(3)}), "fast");
  EXPECT_GE(network_.NowNs() - begin_ns, 3'000'000);
  EXPECT_EQ(slow.executions, 1);
  EXPECT_EQ(stats().hedges, 1u);
  EXPECT_EQ(stats().hedges_won, 1u);
  EXPECT_EQ(stats().retries, 0u);
  ExpectLevelMemory();
  if (extended()) {
    EXPECT_EQ(slow.server->stats().cancelled, 1u);
  } else {
    EXPECT_EQ(client_->stats().unexpected, 1u) << "the reply that came after the winner's";
  }
}

TEST_P(RetryTest, AHedgeLoses) {
  Add("first").delay = absl::Milliseconds(10);
  Node& second = Add("second");
  second.delay = absl::Milliseconds(50);
  MakeCaller({"first", "second"});
  EXPECT_EQ(*Call({.idempotent = true, .hedge_after = absl::Milliseconds(4)}), "first");
  EXPECT_EQ(second.executions, 1);
  EXPECT_EQ(stats().hedges, 1u);
  EXPECT_EQ(stats().hedges_won, 0u);
  ExpectLevelMemory();
}

TEST_P(RetryTest, WhenTheFirstAndTheHedgeFailAThirdServerAnswers) {
  for (const char* name : {"a", "b"}) {
    Node& node = Add(name);
    node.delay = absl::Milliseconds(5);
    node.drops = true;
  }
  Add("c");
  MakeCaller({"a", "b", "c"});
  EXPECT_EQ(*Call({.idempotent = true, .hedge_after = absl::Milliseconds(3)}), "c");
  EXPECT_EQ(stats().hedges, 1u);
  EXPECT_EQ(stats().retries, 1u);
  ExpectLevelMemory();
}

TEST_P(RetryTest, AFailureIsTriedAgainWhileAnotherAttemptHangs) {
  Add("hangs").delay = kForEver;
  Add("refuses").refuses = true;
  Add("answers");
  MakeCaller({"hangs", "refuses", "answers"});
  EXPECT_EQ(*Call({.idempotent = true, .hedge_after = absl::Milliseconds(3)}), "answers");
  EXPECT_EQ(stats().attempts, 3u);
  ExpectLevelMemory();
}

TEST_P(RetryTest, HedgesAreLimitedAndGoToOtherServersOnly) {
  for (const char* name : {"a", "b", "c", "d"}) Add(name).delay = kForEver;
  const auto hedged = [&](int hedges_max) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(Call({.attempts_max = 1,
                                               .idempotent = true,
                                               .hedge_after = absl::Milliseconds(1),
                                               .hedges_max = hedges_max},
                                              {.timeout = absl::Milliseconds(20)})
                                             .status()));
    return stats().hedges;
  };
  MakeCaller({"a", "b", "c", "d"});
  EXPECT_EQ(hedged(0), 0u);
  EXPECT_EQ(hedged(2), 2u);
  EXPECT_EQ(nodes_[0].executions, 2);
  EXPECT_EQ(nodes_[1].executions, 1);
  EXPECT_EQ(nodes_[2].executions, 1);
  EXPECT_EQ(nodes_[3].executions, 0);
  MakeCaller({"a"});
  EXPECT_EQ(hedged(3), 0u);
  ExpectLevelMemory();
}

TEST_P(RetryTest, WithoutBudgetThereAreNoRetriesAndHedges) {
  RetryBudget budget({.ratio = 0, .min_per_s = 0, .tokens_max = 1});
  Node& a = Add("a");
  a.refuses = true;
  Add("b").refuses = true;
  MakeCaller({"a", "b"}, &budget);
  EXPECT_TRUE(absl::IsResourceExhausted(Call({}).status()));
  EXPECT_EQ(stats().attempts, 2u) << "one retry was paid for";
  EXPECT_EQ(stats().budget_refusals, 1u);
  EXPECT_TRUE(absl::IsResourceExhausted(Call({}).status()));
  EXPECT_EQ(stats().attempts, 3u);
  EXPECT_EQ(stats().budget_refusals, 2u);
  a.refuses = false;
  a.delay = absl::Milliseconds(5);
  EXPECT_EQ(*Call({.idempotent = true, .hedge_after = absl::Milliseconds(1)}), "a");
  EXPECT_EQ(stats().hedges, 0u);
  EXPECT_EQ(stats().budget_refusals, 3u);
}

TEST_P(RetryTest, TheBudgetBoundsWhatAnOverloadIsMultipliedBy) {
  RetryBudget budget({.ratio = 0.1, .min_per_s = 0, .tokens_max = 10});
  Add("a").refuses = true;
  MakeCaller({"a"}, &budget);
  for (int i = 0; i < 200; ++i) EXPECT_FALSE(Call({.attempts_max = 5}).ok());
  EXPECT_LE(stats().attempts, 200u + 10 + 20);
  EXPECT_GE(stats().attempts, 200u + 10 + 19);
}

TEST_P(RetryTest, ServersThatAskForTimeGetIt) {
  if (!extended()) GTEST_SKIP() << "the original format has no such hint";
  Node& a = Add("a", {.executing_max = 1});
  a.delay = absl::Milliseconds(30);
  MakeCaller({"a"});
  TaskGroup tasks;
  tasks.Spawn(Ask(*caller_, request_));
  ASSERT_TRUE(RunUntil([&] { return a.executions == 1; }));
  const int64_t begin_ns = network_.NowNs();
  const RetryPolicy policy{.attempts_max = 10, .backoff_initial = absl::ZeroDuration()};
  EXPECT_EQ(*Call(policy), "a");
  // It asks for 10 ms each time, as it has not ended a call yet.
  EXPECT_GE(a.latest_ns - begin_ns, 10'000'000);
  EXPECT_LE(stats().retries, 4u);

  // One that asked is left alone by other calls as well, as long as there are others.
  tasks.Spawn(Ask(*caller_, request_));
  ASSERT_TRUE(RunUntil([&] { return a.executions == 3; }));
  Add("b");
  Caller both(*client_,
              {*client_->Resolve(Address::Sim("a")), *client_->Resolve(Address::Sim("b"))});
  for (int i = 0; i < 4; ++i) {  // of which two begin at "a"
    tasks.Spawn(Ask(both, request_));
    ASSERT_TRUE(RunUntil([&] { return both.outstanding() == 0; }));
  }
  EXPECT_EQ(both.stats().retries, 1u) << "by the first call, which found out";
  ASSERT_TRUE(RunUntil([&] { return tasks.size() == 0; }));
}

TEST_P(RetryTest, TheDeadlineBoundsAttemptsAndPauses) {
  for (const char* name : {"a", "b"}) Add(name).delay = kForEver;
  MakeCaller({"a", "b"});
  const RetryPolicy policy{.attempts_max = 100,
                           .idempotent = true,
                           .attempt_timeout = absl::Milliseconds(2),
                           .backoff_initial = absl::Microseconds(100),
                           .hedge_after = absl::Milliseconds(1)};
  const int64_t begin_ns = network_.NowNs();
  EXPECT_TRUE(absl::IsDeadlineExceeded(Call(policy, {.timeout = absl::Milliseconds(15)}).status()));
  EXPECT_LE(network_.NowNs() - begin_ns, 15'100'000);
  EXPECT_GT(stats().retries, 2u);
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(Call(policy, {.deadline_ns = begin_ns + 25'000'000}).status()));
  EXPECT_LE(network_.NowNs() - begin_ns, 25'100'000);
  ExpectLevelMemory();
}

TEST_P(RetryTest, APauseThatWouldOutlastTheCallIsNotBegun) {
  Add("a").refuses = true;
  MakeCaller({"a"});
  const RetryPolicy policy{.backoff_initial = absl::Seconds(2),
                           .backoff_max = absl::Seconds(2),
                           .jitter = Jitter::kNone};
  const int64_t begin_ns = network_.NowNs();
  EXPECT_TRUE(
      absl::IsResourceExhausted(Call(policy, {.timeout = absl::Milliseconds(500)}).status()));
  EXPECT_LT(network_.NowNs() - begin_ns, 400'000'000);
  EXPECT_EQ(stats().attempts, 1u);
}

TEST_P(RetryTest, AfterTheDeadlineNothingIsSent) {
  Node& a = Add("a");
  MakeCaller({"a"});
  RunFor(absl::Milliseconds(1));
  const absl::Status late = Call({.idempotent = true}, {.deadline_ns = network_.NowNs()}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_TRUE(WasNotExecuted(late));
  EXPECT_EQ(a.executions, 0);
}

TEST_P(RetryTest, NonsenseFailsTheCallFromTheLoop) {
  Add("a");
  MakeCaller({"a"});
  EXPECT_TRUE(absl::IsInvalidArgument(Call({.attempts_max = 0}).status()));
  EXPECT_EQ(stats().attempts, 0u);
  MakeCaller({});
  EXPECT_TRUE(absl::IsFailedPrecondition(Call({}).status()));
  RetriedCall cancelled(*caller_, Bytes(request_), {});
  cancelled.Start([](Result) { FAIL() << "destroyed before"; });
}

TEST_P(RetryTest, TheCallbackMayDestroyTheCallAndMakeAnother) {
  Add("a");
  MakeCaller({"a"});
  int ended = 0;
  auto call = std::make_unique<RetriedCall>(*caller_, Bytes(request_), RetryPolicy());
  std::function<void(Result)> again = [&](Result result) {
    EXPECT_TRUE(result.ok());
    call.reset();
    if (++ended == 5) return;
    call = std::make_unique<RetriedCall>(*caller_, Bytes(request_), RetryPolicy());
    call->Start(std::ref(again));
  };
  call->Start(std::ref(again));
  EXPECT_TRUE(RunUntil([&] { return ended == 5; }));
}

// A call goes through all of its states: attempts that hang, hedges, pauses, retries that are
// refused, and at last a reply. Whenever it is destroyed, nothing is left and nothing runs.
TEST_P(RetryTest, ACallMayBeDestroyedAtAnyTime) {
  Add("hangs").delay = kForEver;
  Add("drops").drops = true;
  nodes_.back().delay = absl::Milliseconds(1);
  Add("refuses").refuses = true;
  Node& slow = Add("slow");
  slow.delay = absl::Microseconds(2500);
  RetryBudget plenty({.ratio = 100, .tokens_max = 1000});
  MakeCaller({"hangs", "drops", "refuses", "slow"}, &plenty);
  const RetryPolicy policy{.attempts_max = 6,
                           .idempotent = true,
                           .attempt_timeout = absl::Milliseconds(3),
                           .backoff_initial = absl::Microseconds(700),
                           .jitter = Jitter::kNone,
                           .hedge_after = absl::Microseconds(1100)};
  const int64_t begin_ns = network_.NowNs();
  EXPECT_EQ(*Call(policy), "slow");
  const int64_t whole_us = (network_.NowNs() - begin_ns) / 1000;
  EXPECT_GT(whole_us, 4000);

  uint64_t cancelled = 0;
  for (int64_t us = 0; us < whole_us; us += 47, ++cancelled) {
    bool replied = false;
    TaskGroup tasks;
    tasks.Spawn(
        [](Caller& caller, RetryPolicy policy, std::string request, bool* replied) -> Task<void> {
          (void)co_await caller.Call(Bytes(request), policy, {}, 0);
          *replied = true;
        }(*caller_, policy, request_, &replied));
    RunFor(absl::Microseconds(us));
    if (replied) break;
    tasks.Cancel();
    EXPECT_EQ(caller_->outstanding(), 0u);
    EXPECT_EQ(client_->outstanding(), 0u);
    RunFor(absl::Milliseconds(20));
    EXPECT_FALSE(replied) << us;
  }
  EXPECT_GT(cancelled, 80u);
  EXPECT_EQ(stats().cancelled, cancelled);
  EXPECT_EQ(stats().failures, 0u);
  ExpectLevelMemory();
}

}  // namespace
}  // namespace weft::rpc
