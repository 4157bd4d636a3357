// SPDX-License-Identifier: Apache-2.0
//
// Several workers behind one address.
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/router/router_fixture.h"

namespace weft::router {
namespace {

using r2p2::ControlKind;
using r2p2::RequestKey;

constexpr size_t kWorkers = 2;

class RouterGroupTest : public testing::Test {
 protected:
  RouterGroupTest() : network_(1, {.latency_ns = 5000}), transport_(sim::OpenTransport(&network_)) {
    options_.listen = options_.control = Address::Sim("router");
    options_.join = true;
    options_.slots = 1;
    for (size_t i = 0; i < kWorkers; ++i) {
      loops_.push_back(std::make_unique<Loop>(LoopOptions(), network_));
    }
  }
  void StartWorker(size_t i) {
    auto port = *transport_->OpenDatagramPort(
        {.local = options_.listen, .queue = static_cast<int>(i), .queues = kWorkers});
    routers_.resize(std::max(routers_.size(), i + 1));
    routers_[i] = *Router::Create(*loops_[i], std::move(port), nullptr, options_, group_, i);
  }
  void RunFor(int64_t ns = kMs) {
    const int64_t end_ns = network_.NowNs() + ns;
    network_.events().At(end_ns, [] {});
    RunVirtual(
        network_, {loops_[0].get(), loops_[1].get()}, [] { return false; }, end_ns);
  }
  static std::string StateAt(const Router& router, const Address& server) {
    std::string state = "none";
    router.ForEachMember([&](const Member& member) {
      if (member.server.address == server) state = NameOf(member.state);
    });
    return state;
  }
  void ExpectAtAll(const Address& server, const std::string& state) {
    for (const auto& router : routers_) EXPECT_EQ(StateAt(*router, server), state);
  }
  size_t RequestsAt(size_t worker) const { return routers_[worker]->stats().requests.value(); }
  // A request each from as many clients as it takes for both workers to have two, if 64 suffice.
  std::vector<std::unique_ptr<Endpoint>> SendToBothWorkers() {
    std::vector<std::unique_ptr<Endpoint>> clients;
    while (clients.size() < 64 && (RequestsAt(0) < 2 || RequestsAt(1) < 2)) {
      clients.push_back(
          std::make_unique<Endpoint>(*transport_, "c" + std::to_string(clients.size())));
      clients.back()->Send(options_.listen, OriginalRequest(1));
      RunFor();
    }
    return clients;
  }

  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  RouterOptions options_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::shared_ptr<RouterGroup> group_ = std::make_shared<RouterGroup>(kWorkers);
  std::vector<std::unique_ptr<Router>> routers_;
};

TEST_F(RouterGroupTest, AServerIsKnownToAllWhereverItsJoinArrives) {
  StartWorker(0);
  StartWorker(1);
  std::vector<std::unique_ptr<Endpoint>> servers;
  for (int i = 0; i < 8; ++i) {
    servers.push_back(std::make_unique<Endpoint>(*transport_, "joiner" + std::to_string(i)));
    servers.back()->Send(options_.listen,
                         MembershipPacket(ControlKind::kJoin,
                                          {.incarnation = 7, .keepalive_us = 1000, .address = {}}));
  }
  RunFor(3 * kMs);
  for (const auto& server : servers) {
    ExpectAtAll(server->address(), "up");
    const auto ack = server->TryReceive();
    ASSERT_TRUE(ack.has_value());
    EXPECT_EQ(ack->header.kind, ControlKind::kJoinAck);
  }
  RunFor(20 * kMs);
  ExpectAtAll(servers[0]->address(), "down");
  EXPECT_TRUE(routers_[0]->Drain(servers[0]->address()).ok());
  RunFor(kMs);
  ExpectAtAll(servers[0]->address(), "draining");
  RunFor(kForgetNs + 200 * kMs);
  ExpectAtAll(servers[0]->address(), "none");
}

TEST_F(RouterGroupTest, AWorkerThatComesLaterLearnsOfAllServers) {
  StartWorker(0);
  Endpoint server(*transport_, "server");
  ASSERT_TRUE(routers_[0]->Add({.address = server.address(), .slots = 3}).ok());
  StartWorker(1);
  RunFor();
  ExpectAtAll(server.address(), "up");
  EXPECT_EQ(routers_[1]->dispatcher().servers().slots(0), 3u);
}

TEST_F(RouterGroupTest, FeedbackReturnsTheSlotOfTheWorkerThatPlacedTheRequest) {
  Endpoint server(*transport_, "server");
  options_.servers = {{.address = server.address()}};
  StartWorker(0);
  StartWorker(1);
  const std::vector<std::unique_ptr<Endpoint>> clients = SendToBothWorkers();
  ASSERT_GE(RequestsAt(0), 2u);
  ASSERT_GE(RequestsAt(1), 2u);
  uint64_t number = 0;
  while (number < clients.size()) {
    const auto request = server.TryReceive();
    if (!request.has_value()) {
      RunFor();
      continue;
    }
    if (request->extended()) continue;  // a question
    const uint64_t key = RequestKey(r2p2::ClientIdOf(request->from), 0, 1);
    server.Send(options_.listen, FeedbackPacket(1, number++, {key}));
    RunFor();
  }
  RunFor();
  for (const auto& router : routers_) {
    EXPECT_EQ(router->dispatcher().servers().outstanding(), 0u);
    EXPECT_EQ(router->dispatcher().queue_length(), 0u);
    EXPECT_EQ(router->dispatcher().stats().leases_expired.value(), 0u);
  }
  EXPECT_GT(routers_[0]->stats().feedback_passed_on.value() +
                routers_[1]->stats().feedback_passed_on.value(),
            0u);
}

TEST_F(RouterGroupTest, AServerThatBeginsAnewIsNoticedWhateverWorkerItAnswers) {
  std::vector<std::unique_ptr<Endpoint>> servers;
  for (int i = 0; i < 8; ++i) {
    servers.push_back(std::make_unique<Endpoint>(*transport_, "server" + std::to_string(i)));
    options_.servers.push_back({.address = servers.back()->address()});
  }
  StartWorker(0);
  StartWorker(1);
  for (uint64_t life = 1; life <= 2; ++life) {
    RunFor(250 * kMs);
    for (const auto& server : servers) {
      std::optional<Endpoint::Packet> last;
      while (auto packet = server->TryReceive()) last = std::move(packet);
      ASSERT_TRUE(last.has_value());
      uint8_t body[r2p2::kIncarnationBytes];
      r2p2::WriteIncarnation(life << 8, body);
      Bytes reset = Control(ControlKind::kReset, last->header.key, body);
      StoreBig32(&reset[8], 1);
      server->Send(options_.listen, reset);
    }
    RunFor();
  }
  EXPECT_EQ(routers_[0]->stats().servers_restarted.value(), servers.size());
}

TEST_F(RouterGroupTest, AServerThatLeavesHearsOfTheRequestsOfAllWorkers) {
  options_.slots = 64;
  StartWorker(0);
  StartWorker(1);
  Endpoint server(*transport_, "server");
  const r2p2::Membership membership = {
      .incarnation = 7 << 8, .keepalive_us = 1'000'000, .address = {}};
  server.Send(options_.listen, MembershipPacket(ControlKind::kJoin, membership));
  RunFor();
  const std::vector<std::unique_ptr<Endpoint>> clients = SendToBothWorkers();
  ASSERT_GE(RequestsAt(1), 2u);
  const auto leave = [&] {
    server.ReceiveAll();
    server.Send(options_.listen, MembershipPacket(ControlKind::kLeave, membership));
    RunFor(10 * kMs);
    r2p2::MembershipAck ack;
    EXPECT_TRUE(r2p2::ReadMembershipAck(server.TryReceive()->body(), &ack));
    return ack.outstanding;
  };
  EXPECT_EQ(leave(), RequestsAt(0) + 1) << "the other one has not told yet";
  EXPECT_EQ(leave(), clients.size());
  std::vector<uint64_t> done;
  for (const auto& client : clients) done.push_back(RequestKey(client->id(), 0, 1));
  server.Send(options_.listen, FeedbackPacket(7 << 8, 0, done));
  leave();
  EXPECT_EQ(leave(), 0u);
  RunFor(1000 * kMs);
  ExpectAtAll(server.address(), "none");
}

TEST_F(RouterGroupTest, AnotherConfigurationReachesAll) {
  Endpoint a(*transport_, "a");
  Endpoint b(*transport_, "b");
  options_.servers = {{.address = a.address()}};
  StartWorker(0);
  StartWorker(1);
  RouterOptions changed = options_;
  changed.servers = {{.address = b.address()}};
  changed.policy = "random";
  ASSERT_TRUE(routers_[0]->Apply(changed).ok());
  RunFor(100 * kMs);
  ExpectAtAll(b.address(), "up");
  ExpectAtAll(a.address(), "none");
  for (const auto& router : routers_) EXPECT_EQ(router->dispatcher().policy(), "random");
}

TEST_F(RouterGroupTest, AWorkerMayEndBeforeTheOthers) {
  Endpoint server(*transport_, "server");
  options_.servers = {{.address = server.address()}};
  StartWorker(0);
  StartWorker(1);
  ASSERT_TRUE(routers_[0]->Drain(server.address()).ok());
  routers_[1].reset();
  routers_.pop_back();
  RunFor(100 * kMs);
  ExpectAtAll(server.address(), "none");
}

TEST(RouterGroupRingTest, WhatFindsTheRingFullIsCounted) {
  RouterGroup group(2);
  size_t overflows = 0;
  for (size_t i = 0; i < RouterGroup::kRing + 10; ++i) overflows += group.PassOn(0, {1, i});
  EXPECT_EQ(overflows, 10u);
  for (uint64_t i = 0; i < RouterGroup::kRing; ++i) {
    ASSERT_NE(group.Front(1), nullptr);
    EXPECT_EQ(group.Front(1)->request, i);
    group.PopFront(1);
  }
  EXPECT_EQ(group.Front(1), nullptr);
  EXPECT_FALSE(group.Post(1, [](Router&) {})) << "nobody is there yet";
}

}  // namespace
}  // namespace weft::router
