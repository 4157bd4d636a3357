// SPDX-License-Identifier: Apache-2.0
//
// Typed services over shared memory and the kernel's UDP: messages of every size, nothing allocated
// in steady state, and what raw methods copy.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;

class RealTransportsTest : public ::testing::TestWithParam<std::tuple<std::string, Wire>> {
 protected:
  void SetUp() override {
    std::string directory = "/tmp/weft_service_test.XXXXXX";  // sockets' paths are short
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    directory_ = directory;
    config::Transport config;
    config.set_name(std::get<0>(GetParam()));
    const bool shm = config.name() == "shm";
    if (shm) config.mutable_shm()->set_directory(directory_);
    auto transport = OpenPlainTransport(config);
    ASSERT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
    auto server_port = transport_->OpenDatagramPort(
        {.local = shm ? Address::Shm("server") : Address::Ipv4({127, 0, 0, 1}, 0)});
    ASSERT_TRUE(server_port.ok()) << server_port.status();
    auto server = ServiceServer::Create(server_loop_, *std::move(server_port), {}, {}, {&echo_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client_port = transport_->OpenDatagramPort({});
    ASSERT_TRUE(client_port.ok()) << client_port.status();
    // A stalled machine must not make a call fail.
    auto client = Client::Create(client_loop_, *std::move(client_port),
                                 {.timeout = absl::Seconds(60), .wire = std::get<1>(GetParam())});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    channel_ = std::make_unique<Channel>(
        *client_, *client_->Resolve(server_->server().port().local_address()));
    stub_ = std::make_unique<EchoClient>(*channel_);
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
  testing::EchoServer echo_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<EchoClient> stub_;
  TaskGroup tasks_;
};

Task<void> CallWithEverySize(EchoClient& stub, bool* done) {
  for (const size_t size : {0, 1, 64, 240, 250, 1390, 1440, 1500, 9000, 100'000}) {
    EchoRequest request;
    request.set_text(std::string(size, 'x'));
    request.set_times(1);
    EchoResponse response;
    const absl::Status status = co_await stub.Echo(request, &response);
    EXPECT_TRUE(status.ok()) << size << ": " << status;
    EXPECT_EQ(response.text(), request.text());

    BufferChain bytes;
    const absl::Span<const uint8_t> view(reinterpret_cast<const uint8_t*>(request.text().data()),
                                         request.text().size());
    const absl::Status raw = co_await stub.Mirror(Payload::External(view), &bytes);
    EXPECT_TRUE(raw.ok()) << size << ": " << raw;
    EXPECT_EQ(bytes.ToString(), request.text());
  }
  *done = true;
}

TEST_P(RealTransportsTest, MessagesOfEverySize) {
  bool done = false;
  tasks_.Spawn(CallWithEverySize(*stub_, &done));
  RunUntil([&] { return done; });
}

Task<void> CallForever(EchoClient& stub, size_t bytes, uint32_t wait_us, uint64_t* replies) {
  EchoRequest request;
  request.set_text(std::string(bytes, 'x'));
  request.set_times(1);
  request.set_wait_us(wait_us);
  EchoResponse response;
  while (true) {
    const absl::Status status = co_await stub.Echo(request, &response);
    EXPECT_TRUE(status.ok()) << status;
    *replies += response.text().size() == bytes;
  }
}

// Both sides on one thread, which is what counts. When the machine stalls, more is in flight for a
// while than ever before, and memory for that is allocated once and kept: then the next calls count.
TEST_P(RealTransportsTest, NoAllocationsInSteadyState) {
  constexpr uint64_t kReplies = 5000;
  uint64_t replies = 0;
  for (const size_t bytes : {40, 600, 1200}) tasks_.Spawn(CallForever(*stub_, bytes, 0, &replies));
  for (const size_t bytes : {40, 600}) tasks_.Spawn(CallForever(*stub_, bytes, 20, &replies));
  RunUntil([&] { return replies >= kReplies; });
  int64_t allocated = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const uint64_t replies_before = replies;
    const int64_t allocations_before = AllocationsOfThisThread();
    RunUntil([&] { return replies >= replies_before + kReplies; });
    allocated = AllocationsOfThisThread() - allocations_before;
    if (allocated == 0) return;
  }
  EXPECT_EQ(allocated, 0);
}

Task<void> ReadAndWrite(EchoClient& stub, const std::string& text, bool* done) {
  testing::ReadRequest request;
  request.set_bytes(text.size());
  BufferChain bytes;
  const absl::Status read = co_await stub.Read(request, &bytes);
  EXPECT_TRUE(read.ok()) << read;
  EXPECT_EQ(bytes.size(), text.size());
  bytes.Clear();

  testing::WriteResponse response;
  const absl::Span<const uint8_t> view(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  const absl::Status written = co_await stub.Write(Payload::External(view), &response);
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_EQ(response.bytes(), text.size());
  *done = true;
}

// Neither between buffers nor, where the port gathers, from the application's memory into buffers.
// (Shared memory is one copy by its nature, which it counts.)
TEST_P(RealTransportsTest, RawBytesAreNotCopied) {
  if (std::get<1>(GetParam()) == Wire::kOriginal) GTEST_SKIP() << "cuts messages with a copy";
  const bool shm = std::get<0>(GetParam()) == "shm";
  constexpr size_t kBytes = 1'000'000;
  const std::string text(kBytes, 'x');
  bool done = false;
  tasks_.Spawn(ReadAndWrite(*stub_, text, &done));
  RunUntil([&] { return done; });
  for (const DatagramPort* const port : {&client_->port(), &server_->server().port()}) {
    ASSERT_TRUE(port->capabilities().gather);
    if (!shm) EXPECT_EQ(port->stats().copied_bytes, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, RealTransportsTest,
                         ::testing::Combine(::testing::Values("linux", "shm"),
                                            ::testing::Values(Wire::kOriginal, Wire::kExtended)),
                         [](const auto& info) {
                           const bool extended = std::get<1>(info.param) == Wire::kExtended;
                           return std::get<0>(info.param) + (extended ? "_extended" : "_original");
                         });

}  // namespace
}  // namespace weft::rpc
