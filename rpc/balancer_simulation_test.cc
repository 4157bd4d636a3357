// SPDX-License-Identifier: Apache-2.0
//
// Calls through a balancer in bad weather: packets are lost, doubled and late, and servers are cut
// off, shut down and started anew. A seed fixes everything that happens:
//
//   bazel run //rpc:balancer_simulation_test -- 1 4711     one seed of every policy, from 4711 on
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr size_t kServers = 4;
constexpr size_t kCalls = 400;
constexpr uint64_t kSeeds = 4;
constexpr int64_t kRunNs = 400'000'000;

struct Call {
  CallId id;
  size_t executed = 0;
  size_t ended = 0;
  bool cancelled = false;
  absl::Status status;
};

class SimulatedRun {
 public:
  SimulatedRun(std::string policy, uint64_t seed)
      : random_(seed),
        network_(seed, {.jitter_ns = 3000, .loss = 0.02, .duplicate = 0.05}),
        transport_(sim::OpenTransport(&network_)),
        loop_({}, network_),
        calls_(kCalls) {
    for (size_t i = 0; i < kServers; ++i) Serve(i);
    client_ = *Client::Create(loop_, Open("client"),
                              {.timeout = absl::Milliseconds(50),
                               .request_id_seed = seed,
                               .wire = Wire::kExtended,
                               .session = {.timeout = absl::Milliseconds(100)}});
    balancer_ = *Balancer::Create(*client_, {.policy = std::move(policy),
                                             .slots = 4,
                                             .ejection = absl::Milliseconds(5),
                                             .waiting_max = 32,
                                             .seed = seed});
    for (size_t i = 0; i < kServers; ++i) EXPECT_TRUE(balancer_->Add(AddressOf(i)).ok());
  }
  ~SimulatedRun() {
    balancer_.reset();
    client_.reset();
    held_.clear();
    servers_.clear();
  }

  void Go() {
    for (size_t i = 0; i < kCalls; ++i) {
      At([this, i] { Begin(i); });
      if (random_.Chance(0.05)) At([this, i] { Cancel(i); });
    }
    for (int i = 0; i < 3; ++i) At([this] { Cut(); });
    for (size_t i = 0; i < 6; ++i) {
      At([this, server = random_.Below(kServers)] { Restart(server); });
      At([this, server = random_.Below(kServers)] { Change(server); });
    }
    RunVirtual(
        network_, {&loop_},
        [&] { return network_.NowNs() > kRunNs && balancer_->outstanding() == 0; }, 60'000'000'000);
    network_.Heal();
    Check();
  }

 private:
  static Address AddressOf(size_t server) { return Address::Sim(absl::StrCat("server", server)); }
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  template <typename F>
  void At(F what) {
    network_.events().At(static_cast<int64_t>(random_.Below(kRunNs)),
                         [this, what] { loop_.Post(what); });
  }

  void Serve(size_t server) {
    servers_[server] = *Server::Create(
        loop_, Open(absl::StrCat("server", server)), {.executing_max = 8, .key_seed = ++key_seed_},
        [this, server](ServerCall call) { Handle(server, std::move(call)); });
  }
  void Handle(size_t server, ServerCall call) {
    const size_t index = LoadBig32(call.request().front().data());
    ++calls_[index].executed;
    held_[server].push_back(std::move(call));
    network_.events().At(network_.NowNs() + static_cast<int64_t>(random_.Below(3'000'000)),
                         [this, server] { loop_.Post([this, server] { Answer(server); }); });
  }
  void Answer(size_t server) {
    std::deque<ServerCall>& held = held_[server];
    if (held.empty()) return;
    const uint8_t reply[] = {1};
    (void)held.front().Reply(reply);
    held.pop_front();
  }
  void Restart(size_t server) {
    held_.erase(server);
    servers_.erase(server);
    network_.events().At(network_.NowNs() + 10'000'000, [this, server] {
      loop_.Post([this, server] {
        if (servers_.count(server) == 0) Serve(server);
      });
    });
  }
  void Cut() {
    const std::vector<sim::NodeId> alone = {
        *network_.AddNode(absl::StrCat("server", random_.Below(kServers)))};
    EXPECT_TRUE(network_.Partition({alone}).ok());
    network_.events().At(network_.NowNs() + 30'000'000, [this] { network_.Heal(); });
  }
  void Change(size_t server) {
    if (random_.Chance(0.5) ? balancer_->Drain(AddressOf(server)).ok()
                            : balancer_->Remove(AddressOf(server)).ok()) {
      At([this, server] { (void)balancer_->Add(AddressOf(server)); });
    }
  }

  void Begin(size_t i) {
    uint8_t request[4];
    StoreBig32(request, static_cast<uint32_t>(i));
    auto begun = balancer_->Call(request,
                                 [this, i](absl::StatusOr<BufferChain> reply) {
                                   ++calls_[i].ended;
                                   calls_[i].status = reply.status();
                                 },
                                 {.affinity = i % 16});
    if (begun.ok()) {
      calls_[i].id = *begun;
    } else {
      ++calls_[i].ended;
      calls_[i].status = begun.status();
    }
  }
  void Cancel(size_t i) {
    Call& call = calls_[i];
    if (!call.id || call.ended > 0) return;
    call.cancelled = true;
    balancer_->Cancel(call.id);
  }

  void Check() const {
    size_t well = 0;
    for (const Call& call : calls_) {
      EXPECT_EQ(call.ended, call.cancelled ? 0u : 1u);
      EXPECT_LE(call.executed, 1u);
      if (call.ended == 0) continue;
      well += call.status.ok();
      if (call.status.ok()) {
        EXPECT_EQ(call.executed, 1u);
      } else if (WasNotExecuted(call.status)) {
        EXPECT_EQ(call.executed, 0u) << call.status;
      }
    }
    EXPECT_GT(well, kCalls * 3 / 4);
    EXPECT_EQ(balancer_->outstanding(), 0u);
    EXPECT_EQ(balancer_->waiting(), 0u);
    EXPECT_EQ(balancer_->set().outstanding(), 0u);
    EXPECT_EQ(client_->outstanding(), 0u);
    const BalancerStats& stats = balancer_->stats();
    EXPECT_EQ(static_cast<size_t>(stats.servers.value()), balancer_->set().size());
    EXPECT_EQ(static_cast<size_t>(stats.available.value()), balancer_->set().available().size());
  }

  Prng random_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  uint64_t key_seed_ = 0;
  std::vector<Call> calls_;
  std::map<size_t, std::unique_ptr<Server>> servers_;
  std::map<size_t, std::deque<ServerCall>> held_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Balancer> balancer_;
};

TEST(BalancerSimulationTest, EveryCallEndsOnceAndRunsOnceAtMost) {
  for (const absl::string_view policy : r2p2::PolicyNames()) {
    for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
      SCOPED_TRACE(absl::StrCat(policy, ", seed ", seed));
      SimulatedRun(std::string(policy), seed).Go();
    }
  }
}

}  // namespace
}  // namespace weft::rpc
