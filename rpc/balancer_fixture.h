// SPDX-License-Identifier: Apache-2.0
//
// For tests of balancers: servers that can be started, stopped and made to misbehave, and a client
// with a balancer, over a simulated network.
#ifndef WEFT_RPC_BALANCER_FIXTURE_H_
#define WEFT_RPC_BALANCER_FIXTURE_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

class BalancerFixture : public ::testing::Test {
 protected:
  static constexpr uint8_t kRequest[] = {1, 2, 3};

  // One call, and how it ended.
  struct Ended {
    size_t calls = 0;
    std::vector<absl::Status> errors;
  };

  BalancerFixture() : transport_(sim::OpenTransport(&network_)) {}
  ~BalancerFixture() override {
    balancer_.reset();
    client_.reset();
    held_.clear();
    servers_.clear();
  }

  static Address AddressOf(int server) { return Address::Sim(absl::StrCat("server", server)); }

  // The server answers at once, or with Hold() when it is told to.
  void Serve(int server) {
    auto port = transport_->OpenDatagramPort({.local = AddressOf(server)});
    ASSERT_TRUE(port.ok()) << port.status();
    auto made =
        Server::Create(loop_, *std::move(port), server_options_,
                       [this, server](ServerCall call) { Handle(server, std::move(call)); });
    ASSERT_TRUE(made.ok()) << made.status();
    servers_[server] = *std::move(made);
  }
  void Kill(int server) {
    held_.erase(server);
    servers_.erase(server);
  }
  // Its network is cut: nothing comes to it or from it.
  void Cut(int server, bool cut) {
    if (!cut) return network_.Heal();
    const std::vector<sim::NodeId> alone = {*network_.AddNode(absl::StrCat("server", server))};
    ASSERT_TRUE(network_.Partition({alone}).ok());
  }

  void Start(int servers, BalancerOptions options = {}, ClientOptions client_options = {}) {
    for (int i = 0; i < servers; ++i) Serve(i);
    auto port = transport_->OpenDatagramPort({.local = Address::Sim("client")});
    ASSERT_TRUE(port.ok());
    client_ = *Client::Create(loop_, *std::move(port), client_options);
    if (!options.seed.has_value()) options.seed = 1;
    auto made = Balancer::Create(*client_, options);
    ASSERT_TRUE(made.ok()) << made.status();
    balancer_ = *std::move(made);
    for (int i = 0; i < servers; ++i) ASSERT_TRUE(balancer_->Add(AddressOf(i)).ok());
  }

  void Call(const CallOptions& options = {}) {
    ++begun_;
    auto call = balancer_->Call(
        kRequest,
        [this](absl::StatusOr<BufferChain> reply) {
          ++ended_.calls;
          if (!reply.ok()) ended_.errors.push_back(reply.status());
        },
        options);
    if (call.ok()) return;
    ++ended_.calls;
    ended_.errors.push_back(call.status());
  }
  // Calls one after the other, or as many at once. True when all ended well.
  bool CallAll(int count, int at_once = 1, const CallOptions& options = {}) {
    ended_ = {};
    for (int i = 0; i < count; i += at_once) {
      const size_t want = ended_.calls + static_cast<size_t>(at_once);
      for (int k = 0; k < at_once; ++k) Call(options);
      if (!RunUntil([&] { return ended_.calls >= want; })) return false;
    }
    return ended_.errors.empty();
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

  BalancedServer::State StateOf(int server) {
    for (const BalancedServer& each : balancer_->servers()) {
      if (each.address == AddressOf(server)) return each.state;
    }
    ADD_FAILURE() << "no server " << server;
    return {};
  }

  void Handle(int server, ServerCall call) {
    ++handled_[server];
    if (hold_[server]) {
      held_[server].push_back(std::move(call));
    } else if (!mute_[server]) {
      EXPECT_TRUE(call.Reply(kRequest).ok());
    }  // else its handler ends without a reply
  }
  void AnswerHeld(int server, size_t count = SIZE_MAX) {
    std::deque<ServerCall>& held = held_[server];
    for (size_t i = 0; i < count && !held.empty(); ++i) {
      EXPECT_TRUE(held.front().Reply(kRequest).ok());
      held.pop_front();
    }
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_;
  Loop loop_{{}, network_};
  ServerOptions server_options_;
  std::map<int, std::unique_ptr<Server>> servers_;
  std::map<int, size_t> handled_;  // requests, by server
  std::map<int, bool> hold_;       // do not answer yet
  std::map<int, bool> mute_;
  std::map<int, std::deque<ServerCall>> held_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Balancer> balancer_;
  size_t begun_ = 0;
  Ended ended_;
  int64_t plain_ = 0;  // allocations, for comparison
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_BALANCER_FIXTURE_H_
