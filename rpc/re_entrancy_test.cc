// SPDX-License-Identifier: Apache-2.0
//
// Callbacks and handlers that call, wait for ever, or outlive what called them.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

using Result = absl::StatusOr<BufferChain>;
constexpr absl::Span<const uint8_t> kNothing;

class ReEntrancyTest : public testing::Test {
 protected:
  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Sim(name)});
  }
  bool RunUntil(const std::function<bool()>& done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{}, network_};
  std::unique_ptr<Client> client_ =
      *Client::Create(loop_, OpenPort("client"), {.wire = Wire::kOriginal});
  Peer server_ = *client_->Resolve(Address::Sim("server"));
};

TEST_F(ReEntrancyTest, ACallMadeWhenOthersFailDoesNotFailWithThem) {
  std::vector<int64_t> failed_ns;
  std::function<void(Result)> call_again = [&](Result result) {
    EXPECT_TRUE(absl::IsUnavailable(result.status())) << result.status();
    failed_ns.push_back(network_.NowNs());
    if (failed_ns.size() >= 3) return;
    ASSERT_TRUE(client_->Call(server_, kNothing, call_again).ok());
  };
  ASSERT_TRUE(client_->Call(server_, kNothing, call_again).ok());
  ASSERT_TRUE(RunUntil([&] { return failed_ns.size() == 3; }));
  EXPECT_LT(failed_ns[0], failed_ns[1]) << "it takes a packet's way there and back to find out";
  EXPECT_LT(failed_ns[1], failed_ns[2]);
}

TEST_F(ReEntrancyTest, AnInfiniteTimeoutDoesNotExpire) {
  std::vector<ServerCall> held;
  auto server =
      *Server::Create(loop_, OpenPort("server"), {.reassembly_timeout = absl::InfiniteDuration()},
                      [&](ServerCall call) { held.push_back(std::move(call)); });
  const std::string request(4000, 'x');
  bool answered = false;
  const CallOptions forever{.timeout = absl::InfiniteDuration()};
  ASSERT_TRUE(client_
                  ->Call(
                      server_, {reinterpret_cast<const uint8_t*>(request.data()), request.size()},
                      [&](Result result) { answered = result.ok(); }, forever)
                  .ok());
  ASSERT_TRUE(RunUntil([&] { return !held.empty(); }));
  EXPECT_FALSE(RunUntil([&] { return client_->outstanding() == 0; }));
  ASSERT_TRUE(held[0].Reply(std::move(held[0].request())).ok());
  EXPECT_TRUE(RunUntil([&] { return answered; }));
}

TEST_F(ReEntrancyTest, AHandlerMayHoldCallsUntilTheServerEnds) {
  auto held = std::make_unique<std::vector<ServerCall>>();
  std::vector<ServerCall>* calls = held.get();
  auto server = *Server::Create(
      loop_, OpenPort("server"), {.router = {.control = {Address::Sim("router")}}},
      [held = std::move(held)](ServerCall call) { held->push_back(std::move(call)); });
  ASSERT_TRUE(client_->Call(server_, kNothing, [](Result) {}).ok());
  ASSERT_TRUE(RunUntil([&] { return calls->size() == 1; }));
  server.reset();  // and with it the handler and the call
}

}  // namespace
}  // namespace weft::rpc
