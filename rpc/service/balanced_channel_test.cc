// SPDX-License-Identifier: Apache-2.0
//
// Stubs over a balancer: each call, and each stream, to a server that it picks.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_fixture.h"
#include "weft/rpc/service/stream_service.h"

namespace weft::rpc {
namespace {

using testing::CountRequest;
using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;
using testing::EchoServer;
using testing::FailRequest;
using testing::Item;
using testing::StreamsClient;
using testing::StreamServer;

constexpr size_t kServers = 3;

class BalancedChannelTest : public ::testing::Test {
 protected:
  void Start(const BalancerOptions& options) {
    client_ = net_.MakeClient("client", {.timeout = absl::Milliseconds(50),
                                         .session = {.timeout = absl::Milliseconds(100)}});
    balancer_ = *Balancer::Create(*client_, options);
    for (size_t i = 0; i < kServers; ++i) {
      const std::string name = absl::StrCat("server", i);
      services_.push_back(std::make_unique<StreamServer>());
      echo_.push_back(std::make_unique<EchoServer>());
      servers_.push_back(*net_.Serve(name, {services_.back().get(), echo_.back().get()}));
      ASSERT_TRUE(balancer_->Add(Address::Sim(name)).ok());
    }
    channel_ = std::make_unique<Channel>(*balancer_);
    stub_ = std::make_unique<StreamsClient>(*channel_);
    echo_stub_ = std::make_unique<EchoClient>(*channel_);
  }
  ~BalancedChannelTest() override {
    net_.RunFor(absl::Milliseconds(50));
    EXPECT_EQ(client_->outstanding(), 0u);
    EXPECT_EQ(balancer_->set().outstanding(), 0u);
  }

  Task<absl::Status> Count(uint64_t to, ClientContext* context = nullptr) {
    CountRequest request;
    request.set_to(to);
    ClientReader<Item> items = stub_->Count(request, context);
    Item item;
    uint64_t seen = 0;
    while (co_await items.Read(&item)) ++seen;
    const absl::Status status = co_await items.Finish();
    EXPECT_TRUE(!status.ok() || seen == to);
    co_return status;
  }
  Task<absl::Status> Echo(const std::string& text, ClientContext* context = nullptr) {
    EchoRequest request;
    request.set_text(text);
    request.set_times(1);
    EchoResponse response;
    const absl::Status status = co_await echo_stub_->Echo(request, &response, context);
    EXPECT_TRUE(!status.ok() || response.text() == text);
    co_return status;
  }
  Task<absl::Status> Fail(absl::StatusCode code) {
    FailRequest request;
    request.set_code(static_cast<int>(code));
    EchoResponse response;
    co_return co_await echo_stub_->Fail(request, &response);
  }
  size_t Begun(size_t server) const { return static_cast<size_t>(services_[server]->begun); }

  ServiceFixture net_;
  std::vector<std::unique_ptr<StreamServer>> services_;
  std::vector<std::unique_ptr<EchoServer>> echo_;
  std::vector<std::unique_ptr<ServiceServer>> servers_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Balancer> balancer_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<StreamsClient> stub_;
  std::unique_ptr<EchoClient> echo_stub_;
};

TEST_F(BalancedChannelTest, EachCallGoesToAServerOfItsOwn) {
  Start({.policy = "round_robin", .seed = 1});
  for (int i = 0; i < 9; ++i) {
    const absl::Status status = net_.Run(Echo(std::string(i % 2 == 0 ? 10 : 5000, 'x')));
    EXPECT_TRUE(status.ok()) << status;
  }
  for (const BalancedServer& server : balancer_->servers()) EXPECT_EQ(server.calls, 3u);
}

TEST_F(BalancedChannelTest, CallsWithTheSameKeyGoToTheSameServer) {
  Start({.policy = "affinity", .seed = 1});
  ClientContext context;
  context.set_affinity(42);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(net_.Run(Echo("text", &context)).ok());
  size_t used = 0;
  for (const BalancedServer& server : balancer_->servers()) used += server.calls > 0;
  EXPECT_EQ(used, 1u);
}

TEST_F(BalancedChannelTest, WhatAMethodSaysIsNotTheServersFault) {
  Start({.seed = 1});
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(absl::IsUnavailable(net_.Run(Fail(absl::StatusCode::kUnavailable))));
  }
  EXPECT_EQ(balancer_->stats().ejections, 0u);
  EXPECT_EQ(balancer_->set().available().size(), kServers);
}

TEST_F(BalancedChannelTest, EachStreamGoesToAServerOfItsOwn) {
  Start({.policy = "round_robin", .seed = 1});
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(net_.Run(Count(20)).ok());
  for (size_t i = 0; i < kServers; ++i) EXPECT_EQ(Begun(i), 3u);
}

TEST_F(BalancedChannelTest, AStreamCountsUntilItHasEnded) {
  Start({.policy = "jsq", .seed = 1});
  {
    std::vector<std::unique_ptr<ClientReader<Item>>> streams;
    CountRequest request;
    request.set_to(1'000'000);
    for (int i = 0; i < 6; ++i) {
      streams.emplace_back(new ClientReader<Item>(stub_->Count(request)));
    }
    net_.RunFor(absl::Milliseconds(5));
    EXPECT_EQ(balancer_->set().outstanding(), 6u);
    for (size_t i = 0; i < kServers; ++i) EXPECT_EQ(Begun(i), 2u);
  }
  EXPECT_EQ(balancer_->set().outstanding(), 0u);
}

TEST_F(BalancedChannelTest, StreamsDoNotWaitForSlots) {
  Start({.policy = "jbsq", .slots = 1, .seed = 1});
  std::vector<std::unique_ptr<ClientReader<Item>>> streams;
  CountRequest request;
  request.set_to(1'000'000);
  for (size_t i = 0; i < kServers; ++i) {
    streams.emplace_back(new ClientReader<Item>(stub_->Count(request)));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(net_.Run(Count(1))));
  streams.clear();
  EXPECT_TRUE(net_.Run(Count(1)).ok());
}

TEST_F(BalancedChannelTest, StreamsWithTheSameKeyGoToTheSameServer) {
  Start({.policy = "affinity", .seed = 1});
  ClientContext context;
  context.set_affinity(42);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(net_.Run(Count(3, &context)).ok());
  size_t used = 0;
  for (size_t i = 0; i < kServers; ++i) used += Begun(i) > 0;
  EXPECT_EQ(used, 1u);
}

TEST_F(BalancedChannelTest, StreamsLeaveAServerAloneThatIsGone) {
  Start({.policy = "round_robin", .seed = 1});
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(net_.Run(Count(3)).ok());
  servers_[1].reset();
  int failed = 0;
  for (int i = 0; i < 12; ++i) failed += !net_.Run(Count(3)).ok();
  EXPECT_LE(failed, 2);
  for (int i = 0; i < 12; ++i) EXPECT_TRUE(net_.Run(Count(3)).ok());
}

}  // namespace
}  // namespace weft::rpc
