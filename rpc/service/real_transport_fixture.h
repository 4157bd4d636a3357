// SPDX-License-Identifier: Apache-2.0
//
// For tests of services over a real transport, shared memory or the kernel's UDP: a server and a
// client, each with a loop, which take turns on the test's thread.
//
//   class MyTest : public RealTransportFixture<testing::EchoServer, testing::EchoClient>,
//                  public ::testing::WithParamInterface<std::string> {
//    protected:
//     void SetUp() override { Open(GetParam(), {}); }
//   };
#ifndef WEFT_RPC_SERVICE_REAL_TRANSPORT_FIXTURE_H_
#define WEFT_RPC_SERVICE_REAL_TRANSPORT_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/core/temp_directory.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/service_server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {

template <typename ServiceType, typename Stub>
class RealTransportFixture : public ::testing::Test {
 protected:
  // `transport`: linux or shm.
  void Open(const std::string& transport, const ClientOptions& options) {
    config::Transport config;
    config.set_name(transport);
    const bool shm = transport == "shm";
    if (shm) config.mutable_shm()->set_directory(directory_.path());
    auto opened = OpenPlainTransport(config);
    ASSERT_TRUE(opened.ok()) << opened.status();
    transport_ = *std::move(opened);
    auto server_port = transport_->OpenDatagramPort(
        {.local = shm ? Address::Shm("server") : Address::Ipv4({127, 0, 0, 1}, 0)});
    ASSERT_TRUE(server_port.ok()) << server_port.status();
    auto server = ServiceServer::Create(server_loop_, *std::move(server_port), {}, {}, {&service_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client_port = transport_->OpenDatagramPort({});
    ASSERT_TRUE(client_port.ok()) << client_port.status();
    auto client = Client::Create(client_loop_, *std::move(client_port), options);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    auto peer = client_->Resolve(server_->server().port().local_address());
    ASSERT_TRUE(peer.ok()) << peer.status();
    channel_.emplace(*client_, *peer);
    stub_.emplace(*channel_);
  }

  void RunUntil(absl::FunctionRef<bool()> done) {
    while (!done()) {
      server_loop_.RunOnce();
      client_loop_.RunOnce();
    }
  }

  // Runs until `count` has grown by `each` twice, and expects that the second time took no memory,
  // of either side. When the machine stalls, more is in flight for a while than ever before, and
  // memory for that is allocated once and kept: then the next `each` count.
  void ExpectNoAllocationsInSteadyState(const uint64_t& count, uint64_t each) {
    constexpr int kAttempts = 5;
    RunUntil([&] { return count >= each; });
    int64_t allocated = 0;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const uint64_t count_before = count;
      const int64_t allocations_before = AllocationsOfThisThread();
      RunUntil([&] { return count >= count_before + each; });
      allocated = AllocationsOfThisThread() - allocations_before;
      if (allocated == 0) return;
    }
    EXPECT_EQ(allocated, 0);
  }

  const TempDirectory directory_;
  std::unique_ptr<Transport> transport_;
  Loop server_loop_{{}, RealClock()};
  Loop client_loop_{{}, RealClock()};
  ServiceType service_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::optional<Channel> channel_;
  std::optional<Stub> stub_;
  TaskGroup tasks_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_REAL_TRANSPORT_FIXTURE_H_
