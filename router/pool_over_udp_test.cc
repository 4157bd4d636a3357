// SPDX-License-Identifier: Apache-2.0
//
// Calls of a client through a router over kernel sockets, all run by this thread: over ports that
// lose, double and reorder datagrams each is executed once, and over good ones it allocates
// nothing.
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/router/router.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/decorators/fault_port.h"
#include "weft/transports/registry.h"

namespace weft::router {
namespace {

constexpr size_t kServers = 2;

class PoolOverUdpTest : public testing::Test {
 protected:
  PoolOverUdpTest() : loop_({.mode = LoopMode::kBusy}, RealClock()) {
    config::Transport config;
    config.set_name("linux");
    transport_ = *OpenPlainTransport(config);
  }
  // `faults`: of all that is sent.
  void Start(const std::optional<config::Fault>& faults) {
    auto listen = Open(faults);
    auto control = Open(faults);
    RouterOptions options;
    options.listen = listen->local_address();
    options.control = control->local_address();
    options.forwarding = RouterOptions::Forwarding::kAddressInHeader;
    // Slow machines must not make the router doubt that the servers live.
    options.keepalive = absl::Seconds(60);
    options.slots = 4;
    options.lease = absl::Milliseconds(500);
    std::vector<std::unique_ptr<DatagramPort>> ports;
    for (size_t i = 0; i < kServers; ++i) {
      ports.push_back(Open(faults));
      options.servers.push_back({.address = ports[i]->local_address()});
    }
    router_ = *Router::Create(loop_, std::move(listen), std::move(control), options);
    for (std::unique_ptr<DatagramPort>& port : ports) {
      rpc::ServerOptions server_options;
      server_options.router.control = {options.control};
      servers_.push_back(*rpc::Server::Create(
          loop_, std::move(port), server_options, [this](rpc::ServerCall call) {
            uint32_t number = 0;
            std::memcpy(&number, call.request().front().data(), sizeof(number));
            if (number < executed_.size()) ++executed_[number];
            (void)call.Reply(std::move(call.request()));
          }));
    }
    client_ = *rpc::Client::Create(loop_, Open(faults),
                                   {.timeout = absl::Seconds(60), .wire = rpc::Wire::kExtended});
    peer_ = *client_->Resolve(options.listen);
  }
  std::unique_ptr<DatagramPort> Open(const std::optional<config::Fault>& faults) {
    auto port = *transport_->OpenDatagramPort({.local = *Address::Parse("127.0.0.1:0")});
    if (!faults.has_value()) return port;
    return std::make_unique<FaultDatagramPort>(std::move(port), *faults, RealClock(),
                                               &loop_.timers());
  }
  void RunFor(int64_t ns) {
    const int64_t end_ns = RealClock().NowNs() + ns;
    while (RealClock().NowNs() < end_ns) loop_.RunOnce();
  }
  // Keeps `at_once` calls under way until so many have ended.
  void Call(uint64_t count, size_t bytes, size_t at_once) {
    const uint64_t end = ended_ + count;
    while (ended_ < end) {
      while (begun_ < end && begun_ - ended_ < at_once) {
        const auto number = static_cast<uint32_t>(begun_++);
        std::memcpy(request_.data(), &number, sizeof(number));
        const auto call = client_->Call(peer_, absl::MakeSpan(request_).first(bytes),
                                        [this, bytes](absl::StatusOr<BufferChain> reply) {
                                          ++ended_;
                                          failed_ += !reply.ok() || reply->size() != bytes;
                                          if (!reply.ok() && failure_.ok())
                                            failure_ = reply.status();
                                        });
        ASSERT_TRUE(call.ok()) << call.status();
      }
      loop_.RunOnce();
    }
  }

  Loop loop_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Router> router_;
  std::vector<std::unique_ptr<rpc::Server>> servers_;
  std::unique_ptr<rpc::Client> client_;
  Peer peer_;
  std::array<uint8_t, 8192> request_ = {};
  std::vector<uint8_t> executed_;  // by number of the call
  uint64_t begun_ = 0;
  uint64_t ended_ = 0;
  uint64_t failed_ = 0;
  absl::Status failure_;
};

TEST_F(PoolOverUdpTest, CallsAreExecutedOnceThoughDatagramsAreLost) {
  config::Fault faults;
  faults.set_seed(1);
  faults.set_loss(0.02);
  faults.set_duplicate(0.02);
  faults.set_reorder(0.02);
  Start(faults);
  // Of a request that is sent again, a router that has only begun does not know whether one before
  // it had it, and refuses it.
  RunFor(2 * Dispatcher::kPacketLifeNs);
  constexpr uint64_t kCalls = 2000;
  executed_.resize(2 * kCalls);
  Call(kCalls, 100, 16);
  Call(kCalls, request_.size(), 4);  // of which the router sees the first packet
  EXPECT_EQ(failed_, 0u) << failure_;
  for (const uint8_t times : executed_) ASSERT_EQ(times, 1);
  EXPECT_GT(client_->stats().retransmissions.value(), 0u);
  EXPECT_GT(router_->stats().feedback_repeated.value(), 0u);
  EXPECT_EQ(router_->stats().malformed.value(), 0u);
  // The last FEEDBACK repeats itself; what is lost in spite of that comes back by lease.
  const int64_t give_up_ns = RealClock().NowNs() + 60'000'000'000;
  while (router_->dispatcher().servers().outstanding() > 0 && RealClock().NowNs() < give_up_ns) {
    loop_.RunOnce();
  }
  EXPECT_EQ(router_->dispatcher().servers().outstanding(), 0u);
}

TEST_F(PoolOverUdpTest, ACallAllocatesNothing) {
  Start(std::nullopt);
  Call(5000, 64, 16);
  // When the machine stalls, more is under way for once than ever before, and memory for that is
  // taken and kept: then the next calls count.
  int64_t allocated = 1;
  for (int attempt = 0; attempt < 5 && allocated > 0; ++attempt) {
    const int64_t before = AllocationsOfThisThread();
    Call(5000, 64, 16);
    allocated = AllocationsOfThisThread() - before;
  }
  EXPECT_EQ(allocated, 0) << "by client, router or server";
  EXPECT_EQ(failed_, 0u) << failure_;
  EXPECT_GE(router_->dispatcher().stats().forwarded.value(), 10'000u);
  for (const auto& server : servers_) EXPECT_GT(server->stats().requests.value(), 1000u);
}

}  // namespace
}  // namespace weft::router
