// SPDX-License-Identifier: Apache-2.0
//
// Clients and servers of rpc/ with a router of router/ between them, over a simulated network: what
// each tells the other is what the other understands.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/virtual_time.h"
#include "weft/router/router.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/decorators/fault_port.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft {
namespace {

using Forwarding = router::RouterOptions::Forwarding;

constexpr int64_t kMs = 1'000'000;

class RoutingTest : public testing::TestWithParam<Forwarding> {
 protected:
  struct Node {
    std::string name;
    std::unique_ptr<rpc::Server> server;
    uint64_t served = 0;
  };

  void StartRouter() {
    router::RouterOptions options;
    options.listen = options.control = Address::Sim("router");
    options.slots = 2;
    options.lease = absl::Seconds(30);  // is not to help
    options.join = true;
    options.forwarding = GetParam();
    options.seed = 1;
    auto router = router::Router::Create(
        loop_, *transport_->OpenDatagramPort({.local = options.listen}), nullptr, options);
    ASSERT_TRUE(router.ok()) << router.status();
    router_ = *std::move(router);
  }
  // So much of what it sends is lost.
  Node& StartServer(const std::string& name, uint64_t seed, double loss = 0) {
    auto node = std::make_unique<Node>();
    node->name = name;
    rpc::ServerOptions options;
    options.router.control = {Address::Sim("router")};
    options.router.join = true;
    options.key_seed = seed;
    config::Fault faults;
    faults.set_seed(seed);
    faults.set_loss(loss);
    auto port = std::make_unique<FaultDatagramPort>(
        *transport_->OpenDatagramPort({.local = Address::Sim(name)}), faults, network_,
        &network_.timers());
    auto server =
        rpc::Server::Create(loop_, std::move(port), options,
                            [this, node = node.get()](rpc::ServerCall call) -> Task<void> {
                              co_await loop_.Sleep(absl::Microseconds(50));
                              ++node->served;
                              (void)call.Reply(std::move(call.request()));
                            });
    EXPECT_TRUE(server.ok()) << server.status();
    node->server = *std::move(server);
    nodes_.push_back(std::move(node));
    return *nodes_.back();
  }
  void StartClient() {
    rpc::ClientOptions options;
    options.timeout = absl::Milliseconds(20);
    options.request_id_seed = 1;
    options.wire = rpc::Wire::kOriginal;
    client_ = *rpc::Client::Create(loop_, *transport_->OpenDatagramPort({}), options);
    target_ = *client_->Resolve(Address::Sim("router"));
  }

  bool RunUntil(const std::function<bool()>& done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000 * kMs);
  }
  void RunFor(absl::Duration duration) {
    bool over = false;
    Timer timer([](void* flag, int64_t) { *static_cast<bool*>(flag) = true; }, &over);
    loop_.timers().Schedule(timer, network_.NowNs() + absl::ToInt64Nanoseconds(duration));
    RunVirtual(network_, {&loop_}, [&over] { return over; });
  }
  bool HasJoined(const Node& node) {
    bool joined = false;
    node.server->ForEachRouter([&joined](const rpc::RouterInfo& info) {
      joined = info.state == rpc::RouterState::kJoined;
    });
    return joined;
  }
  // Calls of so many bytes, a few at a time; returns how many were answered as they should be.
  size_t Call(size_t count, size_t bytes = 100, size_t at_once = 16) {
    size_t begun = 0;
    size_t ended = 0;
    size_t answered = 0;
    const std::vector<uint8_t> request(bytes, 'x');
    const bool all = RunUntil([&] {
      while (begun < count && begun - ended < at_once) {
        ++begun;
        const auto call =
            client_->Call(target_, request, [&](const absl::StatusOr<BufferChain>& reply) {
              ++ended;
              if (reply.ok() && reply->size() == bytes) ++answered;
            });
        EXPECT_TRUE(call.ok()) << call.status();
      }
      return ended == count;
    });
    EXPECT_TRUE(all) << ended << " of " << count;
    return answered;
  }
  // Requests that the router waits for, once nothing happens any more.
  int64_t AtServers() {
    RunFor(absl::Milliseconds(200));  // it brings its gauges up to date now and then
    return router_->dispatcher().stats().outstanding.value();
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  std::unique_ptr<router::Router> router_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::unique_ptr<rpc::Client> client_;
  Peer target_;
};

INSTANTIATE_TEST_SUITE_P(Each, RoutingTest,
                         testing::Values(Forwarding::kKeepSource, Forwarding::kAddressInHeader),
                         [](const auto& info) {
                           return info.param == Forwarding::kKeepSource ? "KeepSource"
                                                                        : "AddressInHeader";
                         });

TEST_P(RoutingTest, ServersJoinAndShareTheWorkAndEverySlotComesBack) {
  StartRouter();
  StartServer("a", 1);
  StartServer("b", 2);
  StartClient();
  ASSERT_TRUE(RunUntil([&] { return HasJoined(*nodes_[0]) && HasJoined(*nodes_[1]); }));
  EXPECT_EQ(Call(1000), 1000u);
  EXPECT_EQ(AtServers(), 0);
  EXPECT_EQ(nodes_[0]->served + nodes_[1]->served, 1000u);
  EXPECT_GT(nodes_[0]->served, 300u);
  EXPECT_GT(nodes_[1]->served, 300u);
  EXPECT_EQ(router_->stats().feedback_unknown_request.value(), 0u);
  EXPECT_EQ(router_->stats().feedback_unknown_source.value(), 0u);
}

TEST_P(RoutingTest, TheRestOfLongRequestsGoesPastTheRouter) {
  StartRouter();
  StartServer("a", 1);
  StartClient();
  ASSERT_TRUE(RunUntil([&] { return HasJoined(*nodes_[0]); }));
  EXPECT_EQ(Call(50, 5000), 50u);
  EXPECT_EQ(AtServers(), 0);
  EXPECT_EQ(router_->stats().strays.value(), 0u);
}

TEST_P(RoutingTest, LostFeedbackLosesNoSlot) {
  StartRouter();
  StartServer("a", 1, /*loss=*/0.05);
  StartServer("b", 2, /*loss=*/0.05);
  StartClient();
  ASSERT_TRUE(RunUntil([&] { return HasJoined(*nodes_[0]) && HasJoined(*nodes_[1]); }));
  const size_t answered = Call(5000);
  EXPECT_GT(answered, 4500u);  // replies are lost too, and the original format repeats none
  EXPECT_LT(answered, 5000u);
  EXPECT_EQ(AtServers(), 0);
  EXPECT_EQ(router_->stats().feedback_lost.value(), 0u);
}

TEST_P(RoutingTest, AServerThatDrainsFailsNoCall) {
  StartRouter();
  StartServer("a", 1);
  Node& leaving = StartServer("b", 2);
  StartClient();
  ASSERT_TRUE(RunUntil([&] { return HasJoined(*nodes_[0]) && HasJoined(*nodes_[1]); }));
  EXPECT_EQ(Call(100), 100u);
  bool drained = false;
  leaving.server->Drain([&] { drained = true; });
  EXPECT_EQ(Call(1000), 1000u);
  EXPECT_TRUE(drained);
  EXPECT_EQ(leaving.server->stats().refused.value(), 0u);
  const uint64_t served = leaving.served;
  EXPECT_EQ(Call(100), 100u);
  EXPECT_EQ(leaving.served, served);
}

TEST_P(RoutingTest, AServerThatHasGoneAndComesBackIsUsedAgain) {
  StartRouter();
  StartServer("a", 1);
  StartServer("b", 2);
  StartClient();
  ASSERT_TRUE(RunUntil([&] { return HasJoined(*nodes_[0]) && HasJoined(*nodes_[1]); }));
  nodes_.pop_back();
  RunFor(absl::Milliseconds(1));
  EXPECT_EQ(Call(100), 100u);
  Node& again = StartServer("b", 3);
  ASSERT_TRUE(RunUntil([&] { return HasJoined(again); }));
  EXPECT_EQ(Call(500), 500u);
  EXPECT_GT(again.served, 100u);
}

TEST_P(RoutingTest, ARouterThatBeginsAnewHasItsServersSoon) {
  StartRouter();
  StartServer("a", 1);
  StartClient();
  ASSERT_TRUE(RunUntil([&] { return HasJoined(*nodes_[0]); }));
  EXPECT_EQ(Call(100), 100u);
  router_.reset();
  RunFor(absl::Seconds(2));
  StartRouter();
  RunFor(absl::Milliseconds(500));
  EXPECT_EQ(Call(100), 100u);
  EXPECT_EQ(AtServers(), 0);
}

}  // namespace
}  // namespace weft
