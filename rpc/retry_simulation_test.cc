// SPDX-License-Identifier: Apache-2.0
//
// Calls with retries and hedges to servers in bad weather, of which some are slow, refuse or are
// cut off for a while. A scenario and a seed fix everything that happens:
//
//   bazel run //rpc:retry_simulation_test -- 1 4711     one seed of every scenario, from 4711 on
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/retry.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr size_t kServers = 4;
constexpr size_t kCalls = 40;

constexpr uint64_t kSeeds = 10;

struct Scenario {
  Wire wire = Wire::kExtended;
  double loss = 0;
  double duplicate = 0;
  bool partition = false;

  // Whether a server may run a request twice that it was asked to run once, or run one and refuse
  // the other.
  bool runs_duplicates() const { return wire == Wire::kOriginal && duplicate > 0; }
};

// One call, and what became of it.
struct Call {
  RetryPolicy policy;
  std::string request;
  std::unique_ptr<RetriedCall> call;
  size_t executions = 0;
  size_t ended = 0;
  bool cancelled = false;
};

class SimulatedRun {
 public:
  SimulatedRun(const Scenario& scenario, uint64_t seed)
      : scenario_(scenario),
        random_(seed),
        network_(seed, {.jitter_ns = 3000, .loss = scenario.loss, .duplicate = scenario.duplicate}),
        transport_(sim::OpenTransport(&network_)),
        loop_({}, network_) {
    for (size_t i = 0; i < kServers; ++i) {
      ServerOptions options{.executing_max = 4, .key_seed = seed + i};
      servers_.push_back(
          *Server::Create(loop_, Open(absl::StrFormat("server%u", i)), options,
                          [this](ServerCall call) { return Serve(this, std::move(call)); }));
      servers_.back()->set_admission(
          [this](Peer, absl::Span<const uint8_t>) { return !random_.Chance(0.2); });
    }
    client_ = *Client::Create(loop_, Open("client"),
                              {.timeout = absl::Milliseconds(50),
                               .request_id_seed = seed,
                               .wire = scenario.wire,
                               .session = {.timeout = absl::Milliseconds(200)}});
    std::vector<Peer> peers;
    for (const auto& server : servers_) {
      peers.push_back(*client_->Resolve(server->port().local_address()));
    }
    caller_ = std::make_unique<Caller>(*client_, std::move(peers),
                                       CallerOptions{.budget = &budget_, .seed = seed});
  }

  // What must hold in any weather is checked here. Returns a digest of the run.
  uint64_t Go() {
    for (size_t i = 0; i < kCalls; ++i) {
      network_.events().At(static_cast<int64_t>(random_.Below(30'000'000)),
                           [this, i] { loop_.Post([this, i] { Begin(i); }); });
    }
    if (scenario_.partition) SchedulePartitions();
    begun_ = 0;
    EXPECT_TRUE(RunVirtual(
        network_, {&loop_}, [&] { return begun_ == kCalls && caller_->outstanding() == 0; },
        60'000'000'000));
    // Handlers end, what is kept expires, and cancelled calls are forgotten.
    RunVirtual(
        network_, {&loop_}, [] { return false; }, network_.NowNs() + 4'000'000'000);
    for (const Call& call : calls_) Check(call);
    EXPECT_EQ(client_->outstanding(), 0u);
    EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    for (const auto& server : servers_) {
      EXPECT_EQ(server->port().pool().available(), server->port().pool().count());
    }
    const CallerStats& s = caller_->stats();
    EXPECT_EQ(s.calls, kCalls);
    EXPECT_EQ(s.replies + s.failures + s.cancelled, kCalls);
    EXPECT_EQ(s.attempts, s.calls + s.retries + s.hedges);
    EXPECT_GE(s.hedges, s.hedges_won);
    return network_.digest();
  }

  const CallerStats& stats() const { return caller_->stats(); }

 private:
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }

  // Answers with the request, or drops it, sooner or later.
  static Task<void> Serve(SimulatedRun* run, ServerCall call) {
    const auto i = static_cast<size_t>(std::atoi(call.request().ToString().c_str()));
    ++run->calls_.at(i).executions;
    co_await call.loop().Sleep(
        absl::Microseconds(run->random_.Chance(0.1) ? 15'000 : run->random_.Below(1000)));
    if (run->random_.Chance(0.1)) co_return;
    EXPECT_TRUE(call.Reply(std::move(call.request())).ok());
  }

  void Begin(size_t i) {
    ++begun_;
    Call& call = calls_[i];
    call.request = absl::StrFormat("%u request of this call", i);
    call.policy.attempts_max = static_cast<int>(1 + random_.Below(5));
    call.policy.idempotent = random_.Chance(0.6);
    call.policy.attempt_timeout = absl::Microseconds(random_.Below(2) * 4000);
    call.policy.jitter = static_cast<Jitter>(random_.Below(3));
    if (call.policy.idempotent && random_.Chance(0.7)) {
      call.policy.hedge_after = absl::Microseconds(100 + random_.Below(2000));
      call.policy.hedges_max = static_cast<int>(random_.Below(4));
    }
    call.call = std::make_unique<RetriedCall>(
        *caller_,
        absl::Span<const uint8_t>(reinterpret_cast<const uint8_t*>(call.request.data()),
                                  call.request.size()),
        call.policy);
    call.call->Start(
        [this, &call](absl::StatusOr<BufferChain> reply) { OnEnd(call, std::move(reply)); });
    if (random_.Chance(0.15)) {
      network_.events().At(network_.NowNs() + static_cast<int64_t>(random_.Below(5'000'000)),
                           [this, &call] { loop_.Post([&call] { Cancel(call); }); });
    }
  }

  static void Cancel(Call& call) {
    if (call.ended > 0) return;
    call.cancelled = true;
    call.call.reset();
    call.request.assign(call.request.size(), '?');  // nobody may read it any more
  }

  void OnEnd(Call& call, absl::StatusOr<BufferChain> reply) {
    ++call.ended;
    EXPECT_FALSE(call.cancelled);
    if (reply.ok()) {
      EXPECT_EQ(reply->ToString(), call.request);
    } else if (WasNotExecuted(reply.status()) && !scenario_.runs_duplicates()) {
      EXPECT_EQ(call.executions, 0u) << reply.status();
    }
    call.call.reset();
    call.request.assign(call.request.size(), '?');
  }

  void Check(const Call& call) const {
    EXPECT_EQ(call.ended, call.cancelled ? 0u : 1u);
    if (scenario_.runs_duplicates()) return;
    const int executions_max = call.policy.attempts_max + call.policy.hedges_max;
    EXPECT_LE(call.executions, call.policy.idempotent ? static_cast<size_t>(executions_max) : 1u);
  }

  void SchedulePartitions() {
    for (int64_t i = 0; i < 3; ++i) {
      network_.events().At(5'000'000 + i * 8'000'000, [this, i] {
        const std::vector<sim::NodeId> alone = {
            *network_.AddNode(absl::StrFormat("server%u", i)),
            *network_.AddNode(absl::StrFormat("server%u", i + 1))};
        EXPECT_TRUE(network_.Partition({alone}).ok());
      });
    }
    network_.events().At(30'000'000, [this] { network_.Heal(); });
  }

  const Scenario scenario_;
  Prng random_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::deque<Call> calls_ = std::deque<Call>(kCalls);
  size_t begun_ = 0;
  RetryBudget budget_{{.ratio = 0.5, .tokens_max = 8}};
  std::unique_ptr<Client> client_;
  std::unique_ptr<Caller> caller_;
  std::vector<std::unique_ptr<Server>> servers_;
};

std::vector<Scenario> Table() {
  std::vector<Scenario> table;
  for (const Wire wire : {Wire::kOriginal, Wire::kExtended}) {
    for (const double loss : {0.0, 0.05, 0.3}) {
      for (const double duplicate : {0.0, 0.2}) {
        for (const bool partition : {false, true}) {
          table.push_back({wire, loss, duplicate, partition});
        }
      }
    }
  }
  return table;
}

TEST(RetrySimulationTest, EveryCallEndsOnceAndRunsAsOftenAsItMay) {
  CallerStats sum;
  for (const Scenario& s : Table()) {
    for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
      SCOPED_TRACE(absl::StrFormat("seed %u, %s format, loss %g, duplicate %g, partition %d", seed,
                                   s.wire == Wire::kOriginal ? "original" : "extended", s.loss,
                                   s.duplicate, s.partition));
      SimulatedRun run(s, seed);
      run.Go();
      sum.replies += run.stats().replies;
      sum.failures += run.stats().failures;
      sum.cancelled += run.stats().cancelled;
      sum.retries += run.stats().retries;
      sum.hedges_won += run.stats().hedges_won;
      sum.budget_refusals += run.stats().budget_refusals;
      if (HasFailure()) return;
    }
  }
  // All of it has been tried.
  for (const Counter& counter : {sum.replies, sum.failures, sum.cancelled, sum.retries,
                                 sum.hedges_won, sum.budget_refusals}) {
    EXPECT_GT(counter, 0u);
  }
}

TEST(RetrySimulationTest, TheSameSeedIsTheSameRun) {
  const Scenario scenario{.loss = 0.05, .duplicate = 0.1};
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    const uint64_t once = SimulatedRun(scenario, seed).Go();
    EXPECT_EQ(SimulatedRun(scenario, seed).Go(), once) << seed;
    EXPECT_NE(SimulatedRun(scenario, seed + 1).Go(), once) << seed;
  }
}

}  // namespace
}  // namespace weft::rpc
