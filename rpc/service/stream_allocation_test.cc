// SPDX-License-Identifier: Apache-2.0
//
// In steady state, a message of a stream allocates nothing, at either end and in either direction,
// over shared memory and the kernel's UDP; nor does a loop do anything while streams are idle.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/service_server.h"
#include "weft/rpc/service/stream_service.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

using testing::CountRequest;
using testing::Item;
using testing::StreamsClient;
using testing::SumResponse;

constexpr uint64_t kMessages = 20'000;
constexpr int kAttempts = 5;

class StreamAllocationTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string directory = "/tmp/weft_stream_test.XXXXXX";  // sockets' paths are short
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    directory_ = directory;
    config::Transport config;
    config.set_name(GetParam());
    const bool shm = config.name() == "shm";
    if (shm) config.mutable_shm()->set_directory(directory_);
    transport_ = OpenPlainTransport(config).value();
    auto server_port = transport_->OpenDatagramPort(
        {.local = shm ? Address::Shm("server") : Address::Ipv4({127, 0, 0, 1}, 0)});
    ASSERT_TRUE(server_port.ok()) << server_port.status();
    server_ =
        ServiceServer::Create(server_loop_, *std::move(server_port), {}, {}, {&service_}).value();
    auto client_port = transport_->OpenDatagramPort({});
    ASSERT_TRUE(client_port.ok()) << client_port.status();
    client_ = Client::Create(client_loop_, *std::move(client_port), {}).value();
    channel_ = std::make_unique<Channel>(
        *client_, client_->Resolve(server_->server().port().local_address()).value());
    stub_ = std::make_unique<StreamsClient>(*channel_);
  }
  void TearDown() override {
    tasks_.Cancel();
    stub_.reset();
    channel_.reset();
    client_.reset();
    server_.reset();
    transport_.reset();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  // When the machine stalls, more may be in flight for a while than ever before, and memory for
  // that is allocated once and kept: then the next messages count.
  void ExpectNoneInSteadyState() {
    RunUntil([&] { return messages_ >= kMessages; });
    int64_t allocated = 0;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const uint64_t messages_before = messages_;
      const int64_t before = AllocationsOfThisThread();
      RunUntil([&] { return messages_ >= messages_before + kMessages; });
      allocated = AllocationsOfThisThread() - before;
      if (allocated == 0) return;
    }
    EXPECT_EQ(allocated, 0);
  }
  void RunUntil(absl::FunctionRef<bool()> done) {
    while (!done()) {
      server_loop_.RunOnce();
      client_loop_.RunOnce();
    }
  }

  std::string directory_;
  std::unique_ptr<Transport> transport_;
  Loop server_loop_{{}, RealClock()};
  Loop client_loop_{{}, RealClock()};
  testing::StreamServer service_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<StreamsClient> stub_;
  TaskGroup tasks_;
  uint64_t messages_ = 0;
};

Task<void> ReadForever(StreamsClient& stub, uint64_t* messages) {
  CountRequest request;
  request.set_to(UINT64_MAX);
  request.set_payload(std::string(64, 'p'));
  ClientReader<Item> items = stub.Count(request);
  Item item;
  while (co_await items.Read(&item)) ++*messages;
  ADD_FAILURE() << co_await items.Finish();
}

Task<void> WriteForever(StreamsClient& stub, uint64_t* messages) {
  SumResponse response;
  ClientWriter<Item> items = stub.Sum(&response);
  Item item;
  item.set_payload(std::string(64, 'p'));
  while (co_await items.Write(item)) ++*messages;
  ADD_FAILURE() << co_await items.Finish();
}

Task<void> ChatForever(StreamsClient& stub, uint64_t* messages) {
  ClientReaderWriter<Item, Item> items = stub.Chat();
  Item item;
  item.set_payload(std::string(64, 'p'));
  Item same;
  while (co_await items.Write(item) && co_await items.Read(&same)) ++*messages;
  ADD_FAILURE() << co_await items.Finish();
}

TEST_P(StreamAllocationTest, FromTheServer) {
  for (int i = 0; i < 5; ++i) tasks_.Spawn(ReadForever(*stub_, &messages_));
  ExpectNoneInSteadyState();
}

TEST_P(StreamAllocationTest, FromTheClient) {
  for (int i = 0; i < 5; ++i) tasks_.Spawn(WriteForever(*stub_, &messages_));
  ExpectNoneInSteadyState();
}

TEST_P(StreamAllocationTest, ThereAndBack) {
  for (int i = 0; i < 5; ++i) tasks_.Spawn(ChatForever(*stub_, &messages_));
  ExpectNoneInSteadyState();
}

INSTANTIATE_TEST_SUITE_P(Transports, StreamAllocationTest, ::testing::Values("linux", "shm"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weft::rpc
