// SPDX-License-Identifier: Apache-2.0
//
// Client and server over a simulated network that does not behave. A scenario and a seed fix
// everything that happens, so a failure is reproduced by the two numbers it prints:
//
//   bazel test //rpc:simulation_test                    some hundred runs
//   bazel test //rpc:simulation_long_test               some ten thousand
//   bazel run //rpc:simulation_test -- 1 4711           one seed of every scenario, from 4711 on

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr uint64_t kSeeds = 4;

struct Scenario {
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;
  double corrupt = 0;
  bool partition = false;
  size_t request_bytes = 1;
  size_t reply_bytes = 1;
  size_t calls = 12;

  // Nothing is lost for good, so that R2P2, which does not resend, must answer everything.
  bool lossless() const { return loss == 0 && corrupt == 0 && !partition; }
};

std::string Text(size_t size, uint32_t state) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

struct Outcome {
  size_t replies = 0;
  size_t failures = 0;
  uint64_t digest = 0;
};

// One run of one scenario. What must hold in any weather is checked here.
class SimulatedRun {
 public:
  SimulatedRun(const Scenario& scenario, uint64_t seed)
      : scenario_(scenario),
        network_(seed, {.latency_ns = 5000,
                        .jitter_ns = 1000,
                        .loss = scenario.loss,
                        .duplicate = scenario.duplicate,
                        .reorder = scenario.reorder,
                        .corrupt = scenario.corrupt}),
        transport_(sim::OpenTransport(&network_)),
        loop_({}, network_) {
    auto server =
        Server::Create(loop_, Open("server"), {.reassembly_timeout = absl::Milliseconds(20)},
                       [this](ServerCall call) { Serve(std::move(call)); });
    auto client = Client::Create(
        loop_, Open("client"),
        {.timeout = absl::Milliseconds(30), .request_id_seed = seed, .wire = Wire::kOriginal});
    EXPECT_TRUE(server.ok() && client.ok());
    server_ = *std::move(server);
    client_ = *std::move(client);
  }

  Outcome Go() {
    const Peer server = *client_->Resolve(Address::Sim("server"));
    if (scenario_.partition) SchedulePartition();
    for (size_t i = 0; i < scenario_.calls; ++i) {
      const std::string request = Text(scenario_.request_bytes, static_cast<uint32_t>(i));
      const absl::StatusOr<CallId> begun = client_->Call(
          server, {reinterpret_cast<const uint8_t*>(request.data()), request.size()},
          [this, i](absl::StatusOr<BufferChain> reply) { OnEnd(i, std::move(reply)); });
      EXPECT_TRUE(begun.ok()) << begun.status();
    }
    RunVirtual(network_, {&loop_}, [&] { return client_->outstanding() == 0; });
    for (size_t ended : ended_) EXPECT_EQ(ended, 1u) << "a call ends exactly once";
    // Let everything that is still under way arrive, and what is incomplete expire.
    RunVirtual(network_, {&loop_}, [] { return false; });
    EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    EXPECT_EQ(server_->port().pool().available(), server_->port().pool().count());
    EXPECT_EQ(server_->incomplete(), 0u);
    EXPECT_EQ(loop_.timers().size(), 0u);
    outcome_.digest = network_.digest();
    return outcome_;
  }

 private:
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }

  void Serve(ServerCall call) {
    const std::string request = call.request().ToString();
    bool known = false;
    for (uint32_t i = 0; i < scenario_.calls && !known; ++i)
      known = request == Text(scenario_.request_bytes, i);
    // R2P2 has no checksum of its own; UDP, beneath it, has.
    EXPECT_TRUE(known || scenario_.corrupt > 0) << "a request that nobody sent";
    const uint32_t state = request.empty() ? 0 : static_cast<uint8_t>(request[0]);
    const std::string reply = Text(scenario_.reply_bytes, state);
    EXPECT_TRUE(call.Reply({reinterpret_cast<const uint8_t*>(reply.data()), reply.size()}).ok());
  }

  void OnEnd(size_t i, absl::StatusOr<BufferChain> reply) {
    ++ended_[i];
    if (!reply.ok()) {
      ++outcome_.failures;
      return;
    }
    ++outcome_.replies;
    if (scenario_.corrupt > 0) return;
    const std::string request = Text(scenario_.request_bytes, static_cast<uint32_t>(i));
    const uint32_t state = request.empty() ? 0 : static_cast<uint8_t>(request[0]);
    EXPECT_TRUE(reply->ToString() == Text(scenario_.reply_bytes, state))
        << "the reply to another call";
  }

  void SchedulePartition() {
    network_.events().At(network_.NowNs() + 12'000, [this] {
      const std::vector<sim::NodeId> alone = {*network_.AddNode("client")};
      EXPECT_TRUE(network_.Partition({alone}).ok());
    });
    network_.events().At(network_.NowNs() + 10'000'000, [this] { network_.Heal(); });
  }

  const Scenario scenario_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  std::vector<size_t> ended_ = std::vector<size_t>(scenario_.calls);
  Outcome outcome_;
};

std::vector<Scenario> Table() {
  std::vector<Scenario> table;
  for (double loss : {0.0, 0.02, 0.2}) {
    for (double duplicate : {0.0, 0.2}) {
      for (double reorder : {0.0, 0.3}) {
        for (size_t bytes : {0, 1464, 1465, 20'000}) {
          table.push_back({.loss = loss,
                           .duplicate = duplicate,
                           .reorder = reorder,
                           .request_bytes = bytes,
                           .reply_bytes = bytes});
        }
      }
    }
  }
  // The largest messages, one way at a time and few: more would be more than a port's buffers or
  // the network's queues.
  for (double weather : {0.0, 0.01}) {
    table.push_back({.loss = weather,
                     .duplicate = 0.1,
                     .reorder = 0.1,
                     .request_bytes = 370'406,
                     .reply_bytes = 0,
                     .calls = 3});
    table.push_back({.loss = weather,
                     .duplicate = 0.1,
                     .reorder = 0.1,
                     .request_bytes = 0,
                     .reply_bytes = 371'856,
                     .calls = 3});
  }
  for (size_t bytes : {100, 20'000}) {
    table.push_back({.duplicate = 0.1,
                     .reorder = 0.1,
                     .corrupt = 0.2,
                     .request_bytes = bytes,
                     .reply_bytes = bytes});
    table.push_back({.partition = true, .request_bytes = bytes, .reply_bytes = bytes});
  }
  return table;
}

TEST(RpcSimulationTest, EveryCallEndsOnceWithItsOwnReplyOrAnError) {
  size_t replies = 0;
  size_t failures = 0;
  for (const Scenario& s : Table()) {
    for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
      SCOPED_TRACE(
          absl::StrFormat("seed %u, loss %g, duplicate %g, reorder %g, corrupt %g, partition %d, "
                          "request %u, reply %u",
                          seed, s.loss, s.duplicate, s.reorder, s.corrupt, s.partition,
                          s.request_bytes, s.reply_bytes));
      const Outcome outcome = SimulatedRun(s, seed).Go();
      EXPECT_EQ(outcome.replies + outcome.failures, s.calls);
      if (s.lossless()) {
        EXPECT_EQ(outcome.failures, 0u);
      }
      replies += outcome.replies;
      failures += outcome.failures;
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(replies, 0u);
  EXPECT_GT(failures, 0u);
}

TEST(RpcSimulationTest, TheSameSeedIsTheSameRun) {
  const Scenario scenario{.loss = 0.05,
                          .duplicate = 0.1,
                          .reorder = 0.2,
                          .corrupt = 0.05,
                          .request_bytes = 9000,
                          .reply_bytes = 5000};
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    const Outcome once = SimulatedRun(scenario, seed).Go();
    const Outcome again = SimulatedRun(scenario, seed).Go();
    EXPECT_EQ(once.digest, again.digest) << seed;
    EXPECT_NE(once.digest, SimulatedRun(scenario, seed + 1).Go().digest) << seed;
  }
}

}  // namespace
}  // namespace weft::rpc
