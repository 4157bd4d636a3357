// SPDX-License-Identifier: Apache-2.0
//
// RPC over the RDMA transport on simulated devices, with and without loss: all calls end well, long
// ones among them, though there are far fewer receive slots and buffers than calls.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/rdma/sim_world.h"
#include "weft/transports/sim/network.h"

namespace weft::rpc {
namespace {

constexpr size_t kLong = 100'000;

class RdmaSimulationTest : public testing::TestWithParam<double> {
 protected:
  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    config::Transport config;
    config.set_name("rdma");
    config.mutable_buffers()->set_count(1536);
    config.mutable_rdma()->set_receive_slots(512);
    config.mutable_rdma()->set_send_slots(128);
    config.mutable_rdma()->set_bulk_count(16);
    nics_.push_back(*rdma::SimNic::Open(&network_, Address::Sim(name)));
    transports_.push_back(
        rdma::RdmaTransport::Over(rdma::SimWorld(&network_, nics_.back().get()), config));
    return *transports_.back()->OpenDatagramPort({.local = Address::Sim(name)});
  }
  void Begin(size_t bytes) {
    std::vector<uint8_t> request(bytes);
    for (size_t i = 0; i < bytes; ++i) request[i] = static_cast<uint8_t>(i * 31 + bytes);
    Payload payload = Payload::Copy(request);
    const std::string expected(request.begin(), request.end());
    ++pending_;
    const auto on_end = [this, expected](absl::StatusOr<BufferChain> reply) {
      --pending_;
      ++ended_[reply.status().ToString()];
      if (!reply.ok()) return;
      EXPECT_TRUE(reply->ToString() == expected) << expected.size();
    };
    const auto id = client_->Call(peer_, std::move(payload), on_end);
    ASSERT_TRUE(id.ok()) << id.status();
  }

  sim::Network network_{/*seed=*/7, {.latency_ns = 5000, .loss = GetParam()}};
  Loop loop_{{}, network_};
  std::vector<std::unique_ptr<rdma::SimNic>> nics_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  size_t pending_ = 0;
  std::map<std::string, int> ended_;
};

TEST_P(RdmaSimulationTest, ManyCallsEndWell) {
  server_ = *Server::Create(loop_, OpenPort("server"), {.key_seed = 1},
                            [](ServerCall call) { (void)call.Reply(std::move(call.request())); });
  client_ = *Client::Create(loop_, OpenPort("client"),
                            {.timeout = absl::Seconds(30), .request_id_seed = 1});
  peer_ = client_->Resolve(Address::Sim("server")).value();
  for (size_t i = 0; i < 600; ++i) ASSERT_NO_FATAL_FAILURE(Begin(i));
  for (size_t i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(Begin(kLong + i));
  RunVirtual(network_, {&loop_}, [this] { return pending_ == 0; });
  for (const auto& [text, count] : ended_) {
    EXPECT_EQ(text, "OK") << count;
  }
  EXPECT_EQ(pending_, 0u);
}

INSTANTIATE_TEST_SUITE_P(Loss, RdmaSimulationTest, testing::Values(0.0, 0.1));

}  // namespace
}  // namespace weft::rpc
