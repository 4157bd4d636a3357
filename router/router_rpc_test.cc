// SPDX-License-Identifier: Apache-2.0
//
// Clients and servers of rpc/ with a router between them, over a simulated network.
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/router/router_fixture.h"
#include "weft/rpc/client.h"
#include "weft/rpc/security/secure_fixture.h"
#include "weft/rpc/server.h"

namespace weft::router {
namespace {

constexpr size_t kCalls = 400;

using Param = std::tuple<RouterOptions::Forwarding, rpc::Wire>;

class RouterRpcTest : public testing::TestWithParam<Param> {
 protected:
  RouterRpcTest() {
    RouterOptions options = RouterNetwork::Options();
    options.forwarding = std::get<0>(GetParam());
    options.join = true;
    world_.Start(options);
  }

  void StartServer(const std::string& name, bool join = true,
                   absl::Duration service = absl::Microseconds(20)) {
    rpc::ServerOptions options;
    options.router.control = {world_.router_address()};
    options.router.join = join;
    options.key_seed = 7 + started_++;
    auto server = rpc::Server::Create(
        world_.loop_, *world_.transport_->OpenDatagramPort({.local = Address::Sim(name)}), options,
        [service](rpc::ServerCall call) -> Task<void> {
          co_await call.loop().Sleep(service);
          (void)call.Reply(std::move(call.request()));
        });
    ASSERT_TRUE(server.ok()) << server.status();
    servers_.push_back(*std::move(server));
  }
  void StartClient() {
    auto client = rpc::Client::Create(
        world_.loop_, *world_.transport_->OpenDatagramPort({.local = Address::Sim("client")}),
        {.timeout = absl::Milliseconds(50), .request_id_seed = 3, .wire = std::get<1>(GetParam())});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }
  // Calls of `bytes`, `at_once` at a time.
  void Call(size_t bytes, size_t at_once) {
    const Peer router = *client_->Resolve(world_.router_address());
    request_.assign(bytes, 'r');
    const auto begin = [&] {
      ++begun_;
      const auto call = client_->Call(
          router, {reinterpret_cast<const uint8_t*>(request_.data()), request_.size()},
          [this](absl::StatusOr<BufferChain> reply) {
            ++(reply.ok() && reply->size() == request_.size() ? replies_ : failures_);
            if (!reply.ok() && failure_.ok()) failure_ = reply.status();
          });
      ASSERT_TRUE(call.ok()) << call.status();
    };
    RunVirtual(
        world_.network_, {&world_.loop_},
        [&] {
          while (begun_ < kCalls && client_->outstanding() < at_once) begin();
          return client_->outstanding() == 0;
        },
        world_.network_.NowNs() + 10'000 * kMs);
  }

  RouterNetwork world_;
  uint64_t started_ = 0;
  std::vector<std::unique_ptr<rpc::Server>> servers_;
  std::unique_ptr<rpc::Client> client_;
  std::string request_;
  size_t begun_ = 0;
  size_t replies_ = 0;
  size_t failures_ = 0;
  absl::Status failure_;
};

TEST_P(RouterRpcTest, ServersJoinAndAnswerClientsDirectly) {
  for (const char* name : {"a", "b", "c"}) StartServer(name);
  world_.RunFor(10 * kMs);
  StartClient();
  Call(100, 16);
  EXPECT_EQ(replies_, kCalls) << failure_;
  world_.RunFor(10 * kMs);
  for (const auto& server : servers_) EXPECT_GT(server->stats().requests.value(), kCalls / 6);
  EXPECT_EQ(world_.dispatcher_stats().done.value(), kCalls);
  EXPECT_EQ(world_.dispatcher_stats().leases_expired.value(), 0u);
  world_.ExpectNothingHeld();
}

TEST_P(RouterRpcTest, LongRequestsPassTheRouterWithTheirFirstPacketOnly) {
  for (const char* name : {"a", "b"}) StartServer(name);
  world_.RunFor(10 * kMs);
  StartClient();
  Call(20'000, 4);
  EXPECT_EQ(replies_, kCalls) << failure_;
  world_.RunFor(10 * kMs);
  EXPECT_EQ(world_.stats().requests.value(), kCalls);
  EXPECT_EQ(world_.stats().strays.value(), 0u);
  world_.ExpectNothingHeld();
}

TEST_P(RouterRpcTest, AServerThatDrainsLeavesWithoutAFailedCall) {
  for (const char* name : {"a", "b"}) StartServer(name);
  world_.RunFor(10 * kMs);
  StartClient();
  bool drained = false;
  world_.network_.events().At(world_.network_.NowNs() + kMs,
                              [&] { servers_[0]->Drain([&drained] { drained = true; }); });
  Call(100, 16);
  EXPECT_EQ(replies_, kCalls) << failure_;
  world_.RunFor(1000 * kMs);
  EXPECT_TRUE(drained);
  EXPECT_GT(servers_[1]->stats().requests.value(), kCalls / 2);
  world_.ExpectNothingHeld();
}

TEST_P(RouterRpcTest, AServerThatEndsIsNotMissed) {
  for (const char* name : {"a", "b"}) StartServer(name);
  world_.RunFor(10 * kMs);
  servers_.pop_back();
  world_.RunFor(500 * kMs);
  StartClient();
  Call(100, 16);
  EXPECT_EQ(replies_, kCalls) << failure_;
}

TEST_P(RouterRpcTest, CancelledCallsGiveTheirSlotsBack) {
  if (std::get<1>(GetParam()) == rpc::Wire::kOriginal) {
    GTEST_SKIP() << "the original format has no cancellation";
  }
  for (const char* name : {"a", "b"}) StartServer(name, /*join=*/true, absl::Seconds(10));
  world_.RunFor(10 * kMs);
  StartClient();
  const std::array<uint8_t, 4> request = {};
  std::vector<rpc::CallId> calls;
  for (int i = 0; i < 10; ++i) {
    calls.push_back(*client_->Call(*client_->Resolve(world_.router_address()), request,
                                   [](const absl::StatusOr<BufferChain>&) { FAIL(); }));
    world_.RunFor(kMs / 20);
  }
  EXPECT_GT(world_.router_->dispatcher().queue_length(), 2u);
  for (const rpc::CallId call : calls) client_->Cancel(call);
  world_.RunFor(10 * kMs);
  for (const auto& server : servers_) EXPECT_EQ(server->stats().executing.value(), 0);
  world_.ExpectNothingHeld();
}

// A router cannot read what is sealed. Who tries hears so at once, and what to do instead.
TEST_P(RouterRpcTest, AClientWithKeysIsRefusedAtOnce) {
  StartServer("a");
  world_.RunFor(10 * kMs);
  const rpc::TestFiles files;
  auto client = rpc::Client::Create(
      world_.loop_, *world_.transport_->OpenDatagramPort({.local = Address::Sim("client")}),
      {.timeout = absl::Seconds(5),
       .wire = std::get<1>(GetParam()),
       .security = rpc::MustOpen(rpc::PskConfig(files, "client", rpc::TestKey('a')))});
  ASSERT_TRUE(client.ok()) << client.status();
  client_ = *std::move(client);
  const int64_t began_ns = world_.network_.NowNs();
  for (int i = 0; i < 2; ++i) {
    absl::Status status;
    const std::array<uint8_t, 4> request = {};
    const auto call =
        client_->Call(*client_->Resolve(world_.router_address()), request,
                      [&status](absl::StatusOr<BufferChain> reply) { status = reply.status(); });
    ASSERT_TRUE(call.ok()) << call.status();
    world_.RunFor(kMs);
    EXPECT_EQ(client_->outstanding(), 0u);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_NE(std::string(status.message()).find("rpc.balancer"), std::string::npos) << status;
  }
  EXPECT_LT(world_.network_.NowNs() - began_ns, 10 * kMs);
  EXPECT_EQ(world_.stats().no_keys.value(), 1u);
  EXPECT_EQ(world_.stats().malformed.value(), 0u);
}

TEST_P(RouterRpcTest, AServerThatRestartsAndDoesNotJoinIsNotMissedEither) {
  Endpoint user(*world_.transport_, "user");
  StartServer("a", /*join=*/false);
  ASSERT_TRUE(world_.router_->Add({.address = Address::Sim("a")}).ok());
  world_.RunFor(150 * kMs);
  EXPECT_EQ(world_.stats().probes.value(), 1u);
  for (uint16_t i = 0; i < 2; ++i) user.Send(world_.router_address(), OriginalRequest(i));
  world_.RunFor(15'000);
  ASSERT_EQ(servers_[0]->stats().requests.value(), 2u);
  servers_.clear();
  StartServer("a", /*join=*/false);
  world_.RunFor(200 * kMs);
  EXPECT_EQ(world_.stats().servers_lost.value(), 0u);
  EXPECT_EQ(world_.stats().servers_restarted.value(), 1u);
  world_.ExpectNothingHeld();
}

INSTANTIATE_TEST_SUITE_P(
    BothWays, RouterRpcTest,
    testing::Combine(testing::Values(RouterOptions::Forwarding::kKeepSource,
                                     RouterOptions::Forwarding::kAddressInHeader),
                     testing::Values(rpc::Wire::kOriginal, rpc::Wire::kExtended)),
    [](const auto& info) {
      const rpc::Wire wire = std::get<1>(info.param);
      const bool keeps = std::get<0>(info.param) == RouterOptions::Forwarding::kKeepSource;
      return std::string(keeps ? "KeepSource" : "AddressInHeader") +
             (wire == rpc::Wire::kOriginal ? "Original" : "Extended");
    });

}  // namespace
}  // namespace weft::router
