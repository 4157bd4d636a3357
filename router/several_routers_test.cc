// SPDX-License-Identifier: Apache-2.0
//
// Several routers for one pool of servers: a client spreads its calls over them with a balancer,
// and the servers have joined all. What they know is soft, so one that ends takes with it what
// waited in it, and nothing else. A seed fixes everything that happens:
//
//   bazel run //router:several_routers_test -- 1 4711     one seed, from 4711 on
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/router/router.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/seeds.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::router {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr size_t kRouters = 2;
constexpr size_t kServers = 3;
constexpr size_t kAtOnce = 24;  // twice as many as the routers let be at servers
constexpr uint64_t kSeeds = 4;

struct Outcome {
  size_t router = kRouters;  // none: the balancer had none
  int64_t begun_ns = 0;
  size_t executed = 0;
  bool ended = false;
  absl::Status status;
};

class Pool {
 public:
  Pool(uint64_t seed, RouterOptions::Forwarding forwarding)
      : seed_(seed),
        forwarding_(forwarding),
        random_(seed),
        network_(seed, {.latency_ns = 5'000, .jitter_ns = 2'000}),
        transport_(sim::OpenTransport(&network_, {.count = 4096})),
        loop_({}, network_) {
    for (size_t i = 0; i < kRouters; ++i) StartRouter(i);
    for (size_t i = 0; i < kServers; ++i) StartServer(i);
    client_ = *rpc::Client::Create(loop_, Open("client"),
                                   {.timeout = absl::Milliseconds(400),
                                    .request_id_seed = seed,
                                    .wire = rpc::Wire::kExtended,
                                    .session = {.timeout = absl::Milliseconds(50)}});
    balancer_ = *rpc::Balancer::Create(
        *client_, {.policy = "round_robin", .ejection = absl::Milliseconds(20), .seed = seed});
    for (size_t i = 0; i < kRouters; ++i) EXPECT_TRUE(balancer_->Add(RouterAddress(i)).ok());
    RunFor(20 * kMs);  // everybody has joined
  }
  ~Pool() {
    balancer_.reset();
    client_.reset();
    for (const Outcome& outcome : outcomes_) EXPECT_LE(outcome.executed, 1u);
  }

  static Address RouterAddress(size_t i) { return Address::Sim(absl::StrCat("router", i)); }
  static std::string ServerName(size_t i) { return absl::StrCat("server", i); }
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  void StartRouter(size_t i) {
    RouterOptions options;
    options.listen = options.control = RouterAddress(i);
    options.forwarding = forwarding_;
    options.join = true;
    options.keepalive = absl::Milliseconds(5);
    options.seed = seed_ * kRouters + i;
    auto router = Router::Create(loop_, Open(absl::StrCat("router", i)), nullptr, options);
    ASSERT_TRUE(router.ok()) << router.status();
    routers_[i] = *std::move(router);
  }
  void StartServer(size_t i) {
    rpc::ServerOptions options;
    for (size_t r = 0; r < kRouters; ++r) options.router.control.push_back(RouterAddress(r));
    options.router.join = true;
    options.router.keepalive = absl::Milliseconds(5);
    options.key_seed = seed_ * kServers + i;
    auto server =
        rpc::Server::Create(loop_, Open(ServerName(i)), options,
                            [this](rpc::ServerCall call) { return Serve(std::move(call)); });
    ASSERT_TRUE(server.ok()) << server.status();
    servers_[i] = *std::move(server);
  }
  // Nobody hears of its end, as if its machine had lost power.
  template <typename T>
  void Crash(const std::string& name, std::unique_ptr<T>& what) {
    const std::vector<sim::NodeId> alone = {*network_.AddNode(name)};
    ASSERT_TRUE(network_.Partition({alone}).ok());
    what.reset();
    RunFor(kMs / 10);
    network_.Heal();
  }

  Task<void> Serve(rpc::ServerCall call) {
    uint32_t number;
    std::memcpy(&number, call.request().ToString().data(), sizeof(number));
    ++outcomes_[number].executed;
    co_await loop_.Sleep(absl::Nanoseconds(random_.Below(100'000)));
    (void)call.Reply(std::move(call.request()));
  }
  void Begin() {
    const auto number = static_cast<uint32_t>(outcomes_.size());
    outcomes_.emplace_back().begun_ns = network_.NowNs();
    const auto begun = balancer_->Call({reinterpret_cast<const uint8_t*>(&number), sizeof(number)},
                                       [this, number](absl::StatusOr<BufferChain> reply) {
                                         outcomes_[number].ended = true;
                                         outcomes_[number].status = reply.status();
                                       });
    if (!begun.ok()) {
      outcomes_[number].ended = true;
      outcomes_[number].status = begun.status();
      return;
    }
    const Address router = *client_->port().AddressOf(*balancer_->PeerOf(*begun));
    outcomes_[number].router = router == RouterAddress(0) ? 0 : 1;
  }
  // Keeps kAtOnce calls under way until `count` more have begun.
  void Load(size_t count) {
    const size_t end = outcomes_.size() + count;
    EXPECT_TRUE(RunVirtual(
        network_, {&loop_},
        [&] {
          // One that does not begin is not begun again in this moment: time has to go on.
          while (outcomes_.size() < end && balancer_->outstanding() < kAtOnce) {
            const size_t before = balancer_->outstanding();
            Begin();
            if (balancer_->outstanding() == before) break;
          }
          return outcomes_.size() >= end;
        },
        network_.NowNs() + 5'000 * kMs));
  }
  void Finish() {
    EXPECT_TRUE(RunVirtual(
        network_, {&loop_}, [this] { return balancer_->outstanding() == 0; },
        network_.NowNs() + 5'000 * kMs));
    RunFor(5 * kMs);  // the last FEEDBACK
  }
  void RunFor(int64_t ns) {
    const int64_t end_ns = network_.NowNs() + ns;
    network_.events().At(end_ns, [] {});
    RunVirtual(
        network_, {&loop_}, [] { return false; }, end_ns);
  }
  void ExpectAllWell(size_t from = 0) const {
    for (size_t i = from; i < outcomes_.size(); ++i) {
      EXPECT_TRUE(outcomes_[i].status.ok()) << "call " << i << ": " << outcomes_[i].status;
    }
  }
  // Each router has heard from the servers of all its requests.
  void ExpectNothingHeld(size_t i) const {
    const Dispatcher& dispatcher = routers_[i]->dispatcher();
    EXPECT_EQ(dispatcher.servers().outstanding(), 0u) << "router " << i;
    EXPECT_EQ(dispatcher.queue_length(), 0u) << "router " << i;
    EXPECT_EQ(dispatcher.stats().leases_expired.value(), 0u) << "router " << i;
  }

  const uint64_t seed_;
  const RouterOptions::Forwarding forwarding_;
  Prng random_;
  std::vector<Outcome> outcomes_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::unique_ptr<Router> routers_[kRouters];
  std::unique_ptr<rpc::Server> servers_[kServers];
  std::unique_ptr<rpc::Client> client_;
  std::unique_ptr<rpc::Balancer> balancer_;
};

class SeveralRoutersTest : public testing::TestWithParam<RouterOptions::Forwarding> {};

TEST_P(SeveralRoutersTest, EachIsToldOfItsOwnRequests) {
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Pool pool(seed, GetParam());
    pool.Load(1000);
    pool.Finish();
    pool.ExpectAllWell();
    uint64_t done = 0;
    for (size_t i = 0; i < kRouters; ++i) {
      const DispatcherStats& stats = pool.routers_[i]->dispatcher().stats();
      EXPECT_GT(stats.queued.value(), 100u);
      EXPECT_EQ(stats.forwarded.value(), stats.done.value());
      // Where requests come under clients' addresses, servers tell all routers. (Else there is but
      // what was sent twice.)
      const uint64_t unknown = pool.routers_[i]->stats().feedback_unknown_request.value();
      const bool keeps_source = GetParam() == RouterOptions::Forwarding::kKeepSource;
      EXPECT_EQ(unknown > stats.done.value() / 2, keeps_source) << unknown;
      done += stats.done.value();
      pool.ExpectNothingHeld(i);
    }
    EXPECT_EQ(done, 1000u);
  }
}

TEST_P(SeveralRoutersTest, OneThatDiesTakesOnlyWhatWaitedInIt) {
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Pool pool(seed, GetParam());
    pool.Load(500);
    pool.Crash("router0", pool.routers_[0]);
    const int64_t died_ns = pool.network_.NowNs();
    const size_t died = pool.outcomes_.size();
    pool.Load(2000);
    pool.Finish();
    size_t failed = 0;
    for (const Outcome& outcome : pool.outcomes_) {
      if (outcome.status.ok()) continue;
      ++failed;
      EXPECT_EQ(outcome.router, 0u) << outcome.status;
      EXPECT_EQ(outcome.executed, 0u) << "a reply needs no router: " << outcome.status;
      EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
      EXPECT_LE(outcome.begun_ns, died_ns + 60 * kMs) << "its death had been noticed";
    }
    EXPECT_GT(failed, 0u);
    EXPECT_LE(failed, kAtOnce);
    pool.ExpectNothingHeld(1);
    // Back again, it is used again, and knows what it needs to.
    pool.StartRouter(0);
    pool.RunFor(200 * kMs);
    const size_t back = pool.outcomes_.size();
    EXPECT_GT(back, died);
    pool.Load(500);
    pool.Finish();
    pool.ExpectAllWell(back);
    EXPECT_GT(pool.routers_[0]->dispatcher().stats().done.value(), 100u);
    for (size_t i = 0; i < kRouters; ++i) pool.ExpectNothingHeld(i);
  }
}

// A server that ends says nothing against the routers that had sent requests there.
TEST_P(SeveralRoutersTest, AServerThatDiesIsNotTheRoutersFault) {
  for (const uint64_t seed : sim::SeedsToRun(kSeeds)) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Pool pool(seed, GetParam());
    pool.Load(500);
    pool.Crash("server0", pool.servers_[0]);
    pool.Load(2000);
    pool.Finish();
    size_t failed = 0;
    for (const Outcome& outcome : pool.outcomes_) failed += !outcome.status.ok();
    EXPECT_LE(failed, kAtOnce)
        << "those that it had, and that were sent to it before it was missed";
    EXPECT_EQ(pool.balancer_->stats().ejections.value(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(BothWays, SeveralRoutersTest,
                         testing::Values(RouterOptions::Forwarding::kKeepSource,
                                         RouterOptions::Forwarding::kAddressInHeader),
                         [](const auto& info) {
                           return info.param == RouterOptions::Forwarding::kKeepSource
                                      ? "KeepSource"
                                      : "AddressInHeader";
                         });

}  // namespace
}  // namespace weft::router
