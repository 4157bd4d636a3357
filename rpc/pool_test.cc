// SPDX-License-Identifier: Apache-2.0
//
// A client behind whose router there are servers: where its calls go, and how they end when one of
// them, or the router, is not there any more.
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/rpc/test_router.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kTimeoutNs = 200 * kMs;  // of a session

class PoolTest : public testing::Test {
 protected:
  struct Outcome {
    int ended = 0;
    std::vector<size_t> executed;  // by which servers
    size_t reply_bytes = 0;
    absl::Status status;
    CallId id;
  };

  PoolTest() {
    StartRouter();
    for (size_t i = 0; i < 3; ++i) StartServer(i);
    StartClient(Wire::kAuto);
  }
  ~PoolTest() override {
    client_.reset();
    for (const Outcome& outcome : outcomes_) EXPECT_LE(outcome.executed.size(), 1u);
  }

  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  static std::string NameOf(size_t server) { return absl::StrCat("server", server); }
  void StartRouter(const TestRouter::Options& options = {.timeout_us = kTimeoutNs / 1000}) {
    router_.reset();
    router_ = std::make_unique<TestRouter>(loop_, Open("router"), options);
    for (size_t i = 0; i < 3; ++i) router_->Add(Address::Sim(NameOf(i)));
    router_->choose = [this](const ExtendedHeader& header, const Anycast& anycast) {
      return choose_ ? choose_(header, anycast) : next_++;
    };
  }
  void StartServer(size_t i, size_t slots = 64) {
    servers_.resize(3);
    servers_[i].reset();
    SessionOptions session = session_;
    session.slots = slots;
    servers_[i] = *Server::Create(loop_, Open(NameOf(i)), {.session = session, .key_seed = ++seed_},
                                  [this, i](ServerCall call) { return Serve(i, std::move(call)); });
  }
  void StartClient(Wire wire) {
    client_.reset();
    client_ = *Client::Create(loop_, Open("client"),
                              {.timeout = absl::Seconds(2),
                               .request_id_seed = ++seed_,
                               .wire = wire,
                               .session = session_});
    peer_ = *client_->Resolve(Address::Sim("router"));
  }
  // Nobody hears of its end.
  void Crash(const std::string& name, const std::function<void()>& end) {
    const std::vector<sim::NodeId> alone = {*network_.AddNode(name)};
    ASSERT_TRUE(network_.Partition({alone}).ok());
    end();
    RunFor(kMs / 10);
    network_.Heal();
  }

  Task<void> Serve(size_t server, ServerCall call) {
    uint32_t words[2];
    const std::string request = call.request().ToString();
    std::memcpy(words, request.data(), sizeof(words));
    outcomes_[words[0]].executed.push_back(server);
    if (words[1] > 0) co_await loop_.Sleep(absl::Microseconds(words[1]));
    (void)call.Reply({reinterpret_cast<const uint8_t*>(request.data()), request.size()});
  }

  // A call whose handler takes so long, and whose request and reply have so many bytes.
  size_t Begin(uint32_t handler_us = 0, size_t bytes = 8, const CallOptions& options = {}) {
    return Begin(peer_, handler_us, bytes, options);
  }
  size_t Begin(const Target& target, uint32_t handler_us, size_t bytes,
               const CallOptions& options = {}) {
    const auto number = static_cast<uint32_t>(outcomes_.size());
    outcomes_.emplace_back();
    const uint32_t words[] = {number, handler_us};
    std::string text(bytes, 'x');
    std::memcpy(text.data(), words, sizeof(words));
    const auto begun = client_->Call(
        target, {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
        [this, number](absl::StatusOr<BufferChain> reply) {
          Outcome& outcome = outcomes_[number];
          ++outcome.ended;
          outcome.status = reply.status();
          if (reply.ok()) outcome.reply_bytes = reply->size();
        },
        options);
    EXPECT_TRUE(begun.ok()) << begun.status();
    outcomes_[number].id = *begun;
    return number;
  }
  bool Finish() {
    const auto ended = [this] {
      for (const Outcome& outcome : outcomes_) {
        if (outcome.ended == 0) return false;
      }
      return true;
    };
    return RunVirtual(network_, {&loop_}, ended, network_.NowNs() + 5'000 * kMs);
  }
  // One after the other, to all servers.
  void Warm() {
    for (int i = 0; i < 3; ++i) {
      const size_t call = Begin();
      ASSERT_TRUE(Finish());
      ASSERT_TRUE(outcomes_[call].status.ok()) << outcomes_[call].status;
    }
  }
  void RunFor(int64_t ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&over] { return over; });
  }

  SessionOptions session_ = {.timeout = absl::Nanoseconds(kTimeoutNs), .slots = 64};
  uint64_t seed_ = 0;
  size_t next_ = 0;
  std::function<size_t(const ExtendedHeader&, const Anycast&)> choose_;
  sim::Network network_{1, {.latency_ns = 5'000}};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_, {.count = 4096});
  Loop loop_{{}, network_};
  std::vector<Outcome> outcomes_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::unique_ptr<TestRouter> router_;
  std::unique_ptr<Client> client_;
  Peer peer_;
};

TEST_F(PoolTest, CallsGoToAllServersAndRepliesComeFromThem) {
  for (int i = 0; i < 30; ++i) Begin();
  ASSERT_TRUE(Finish());
  for (const Outcome& outcome : outcomes_) EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  for (const auto& server : servers_) EXPECT_EQ(server->stats().requests, 10u);
  EXPECT_EQ(client_->stats().members_opened, 3u);
  EXPECT_EQ(client_->stats().retransmissions, 0u);
  EXPECT_EQ(router_->placed(), 30u);
}

TEST_F(PoolTest, OfALongRequestTheRouterSeesTheFirstPacket) {
  Warm();
  const uint64_t placed = router_->placed();
  for (const size_t bytes : {1'400u, 1'410u, 3'000u, 100'000u, 1'000'000u}) {
    const size_t call = Begin(0, bytes);
    ASSERT_TRUE(Finish());
    EXPECT_TRUE(outcomes_[call].status.ok()) << outcomes_[call].status;
    EXPECT_EQ(outcomes_[call].reply_bytes, bytes);
  }
  EXPECT_EQ(router_->placed(), placed + 5);
  EXPECT_EQ(router_->duplicates(), 0u);
  EXPECT_EQ(router_->others(), 0u);
}

TEST_F(PoolTest, AffinityComesToTheRouter) {
  choose_ = [](const ExtendedHeader&, const Anycast& anycast) { return anycast.affinity; };
  for (uint64_t i = 0; i < 30; ++i) Begin(0, 8, {.affinity = 3 + i % 3});
  ASSERT_TRUE(Finish());
  for (size_t i = 0; i < 30; ++i) {
    EXPECT_EQ(outcomes_[i].executed, std::vector<size_t>{i % 3});
  }
}

TEST_F(PoolTest, AServerThatEndsTakesItsOwnCallsWithIt) {
  Warm();
  // So long that the servers have said that they execute them.
  for (int i = 0; i < 6; ++i) Begin(100'000);
  RunFor(50 * kMs);
  Crash(NameOf(0), [this] { servers_[0].reset(); });
  choose_ = [](const ExtendedHeader&, const Anycast&) { return 1; };
  const size_t later = Begin();
  ASSERT_TRUE(Finish());
  for (size_t i = 3; i < later; ++i) {
    const bool lost = outcomes_[i].executed == std::vector<size_t>{0};
    EXPECT_EQ(outcomes_[i].status.ok(), !lost) << outcomes_[i].status;
    if (lost) {
      EXPECT_TRUE(absl::IsUnavailable(outcomes_[i].status));
      EXPECT_FALSE(WasNotExecuted(outcomes_[i].status));
    }
  }
  EXPECT_TRUE(outcomes_[later].status.ok());
  EXPECT_EQ(client_->stats().sessions_lost, 1u);
}

TEST_F(PoolTest, AServerThatHasRestartedIsUsedAgain) {
  Warm();
  Crash(NameOf(0), [this] { servers_[0].reset(); });
  StartServer(0);
  choose_ = [](const ExtendedHeader&, const Anycast&) { return 0; };
  const size_t call = Begin();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(outcomes_[call].status.ok()) << outcomes_[call].status;
  EXPECT_EQ(client_->stats().members_opened, 4u);
}

TEST_F(PoolTest, WhatAServerHasGoesOnWithoutTheRouter) {
  Warm();
  for (int i = 0; i < 6; ++i) Begin(500'000);
  RunFor(50 * kMs);
  router_.reset();
  const size_t later = Begin(0, 8, {.timeout = absl::Seconds(1)});
  ASSERT_TRUE(Finish());
  for (size_t i = 3; i < later; ++i) EXPECT_TRUE(outcomes_[i].status.ok()) << outcomes_[i].status;
  EXPECT_TRUE(absl::IsUnavailable(outcomes_[later].status)) << outcomes_[later].status;
  // And as soon as there is one again, so do the others.
  StartRouter();
  const size_t again = Begin();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(outcomes_[again].status.ok()) << outcomes_[again].status;
  EXPECT_EQ(client_->stats().members_opened, 3u) << "the sessions with servers stay";
}

TEST_F(PoolTest, ARouterThatHasRestartedIsAskedForItsKey) {
  Warm();
  StartRouter({.seed = 77, .timeout_us = kTimeoutNs / 1000, .refuse = 1});
  const size_t call = Begin(0, 8, {.timeout = absl::Milliseconds(100)});
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(absl::IsResourceExhausted(outcomes_[call].status)) << outcomes_[call].status;
  EXPECT_TRUE(WasNotExecuted(outcomes_[call].status));
  EXPECT_EQ(RetryAfter(outcomes_[call].status), absl::Microseconds(500));
  EXPECT_EQ(client_->stats().sessions_lost, 0u);
}

TEST_F(PoolTest, AnIdlePoolStaysOpenAndSoDoItsMembers) {
  Warm();
  RunFor(20 * kTimeoutNs);
  Warm();
  EXPECT_EQ(client_->stats().sessions_lost, 0u);
  EXPECT_EQ(client_->stats().sessions_opened, 4u);
}

TEST_F(PoolTest, CancellationReachesTheServerThatHasTheCall) {
  Warm();
  for (int i = 0; i < 3; ++i) Begin(1'000'000);
  RunFor(50 * kMs);
  for (size_t i = 3; i < 6; ++i) {
    client_->Cancel(outcomes_[i].id);
    ++outcomes_[i].ended;
  }
  RunFor(20 * kMs);
  for (const auto& server : servers_) {
    EXPECT_EQ(server->stats().cancelled, 1u);
    EXPECT_EQ(server->stats().executing.value(), 0);
  }
}

TEST_F(PoolTest, CancellationOfACallThatNobodyHasAnsweredGoesByWayOfTheRouter) {
  Warm();
  for (int i = 0; i < 3; ++i) Begin(1'000'000);
  RunFor(kMs / 20);
  for (size_t i = 3; i < 6; ++i) {
    EXPECT_EQ(outcomes_[i].executed.size(), 1u);
    client_->Cancel(outcomes_[i].id);
    ++outcomes_[i].ended;
  }
  RunFor(kMs);
  EXPECT_EQ(router_->cancels(), 3u);
  for (const auto& server : servers_) {
    EXPECT_EQ(server->stats().cancelled, 1u);
    EXPECT_EQ(server->stats().executing.value(), 0);
  }
  // And of one that a server gets which does not know this client.
  StartClient(Wire::kAuto);
  const size_t first = Begin(1'000'000);
  RunFor(kMs / 200);
  client_->Cancel(outcomes_[first].id);
  ++outcomes_[first].ended;
  RunFor(20 * kMs);
  for (const auto& server : servers_) EXPECT_EQ(server->stats().executing.value(), 0);
  Warm();
}

TEST_F(PoolTest, AServerThatDrainsFinishesWhatItHas) {
  Warm();
  for (int i = 0; i < 3; ++i) Begin(50'000);
  RunFor(20 * kMs);
  router_->Remove(Address::Sim(NameOf(0)));
  bool drained = false;
  servers_[0]->Drain([&drained] { drained = true; });
  for (int i = 0; i < 6; ++i) Begin();
  ASSERT_TRUE(Finish());
  for (const Outcome& outcome : outcomes_) EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  RunFor(20 * kMs);
  EXPECT_TRUE(drained);
  EXPECT_EQ(servers_[0]->stats().sessions.value(), 0) << "the client has closed its session";
}

TEST_F(PoolTest, TheServerWithTheFewestSlotsLimitsThePool) {
  StartServer(1, /*slots=*/4);
  for (int i = 0; i < 60; ++i) Begin(100);
  ASSERT_TRUE(Finish());
  for (const Outcome& outcome : outcomes_) {
    if (outcome.status.ok()) continue;
    EXPECT_TRUE(WasNotExecuted(outcome.status)) << outcome.status;
    EXPECT_TRUE(outcome.executed.empty());
  }
  const size_t first = outcomes_.size();
  for (int i = 0; i < 60; ++i) Begin(100);
  ASSERT_TRUE(Finish());
  for (size_t i = first; i < outcomes_.size(); ++i) {
    EXPECT_TRUE(outcomes_[i].status.ok()) << outcomes_[i].status;
  }
}

TEST_F(PoolTest, ASessionOfTheApplicationsOwnIsWithOneServer) {
  const absl::StatusOr<SessionId> session = client_->Connect(peer_);
  ASSERT_TRUE(session.ok());
  for (int i = 0; i < 30; ++i) Begin(*session, 0, 8 + i * 100);
  ASSERT_TRUE(Finish());
  for (const Outcome& outcome : outcomes_) {
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.executed, outcomes_[0].executed);
  }
  EXPECT_EQ(router_->placed(), 1u);
  // When its server has gone, the router picks another one.
  const size_t server = outcomes_[0].executed[0];
  Crash(NameOf(server), [&] { servers_[server].reset(); });
  RunFor(2 * kTimeoutNs);
  const size_t call = Begin(*session, 0, 8);
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(outcomes_[call].status.ok()) << outcomes_[call].status;
  EXPECT_NE(outcomes_[call].executed[0], server);
  client_->Disconnect(*session);
  RunFor(20 * kMs);
  EXPECT_FALSE(client_->IsConnected(*session));
  for (const auto& left : servers_) {
    if (left != nullptr) {
      EXPECT_EQ(left->stats().sessions.value(), 0);
    }
  }
}

TEST_F(PoolTest, AServerWhereTheRouterWasIsAPlainOne) {
  Warm();
  const size_t pinned = Begin(400'000);
  RunFor(50 * kMs);
  Crash("router", [this] { router_.reset(); });
  servers_[0] = nullptr;
  servers_[0] = *Server::Create(loop_, Open("router"), {.session = session_, .key_seed = ++seed_},
                                [this](ServerCall call) { return Serve(0, std::move(call)); });
  RunFor(2 * kTimeoutNs);
  const size_t call = Begin();
  ASSERT_TRUE(Finish());
  EXPECT_TRUE(outcomes_[call].status.ok()) << outcomes_[call].status;
  EXPECT_TRUE(absl::IsUnavailable(outcomes_[pinned].status)) << outcomes_[pinned].status;
}

}  // namespace
}  // namespace weft::rpc
