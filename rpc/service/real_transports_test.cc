// SPDX-License-Identifier: Apache-2.0
//
// Typed services over shared memory and the kernel's UDP: messages of every size, nothing allocated
// in steady state, and what raw methods copy.
#include <cstdint>
#include <string>
#include <tuple>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/real_transport_fixture.h"

namespace weft::rpc {
namespace {

using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;

class RealTransportsTest : public RealTransportFixture<testing::EchoServer, EchoClient>,
                           public ::testing::WithParamInterface<std::tuple<std::string, Wire>> {
 protected:
  void SetUp() override {
    // A stalled machine must not make a call fail.
    Open(std::get<0>(GetParam()), {.timeout = absl::Seconds(60), .wire = std::get<1>(GetParam())});
  }
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

TEST_P(RealTransportsTest, NoAllocationsInSteadyState) {
  uint64_t replies = 0;
  for (const size_t bytes : {40, 600, 1200}) tasks_.Spawn(CallForever(*stub_, bytes, 0, &replies));
  for (const size_t bytes : {40, 600}) tasks_.Spawn(CallForever(*stub_, bytes, 20, &replies));
  ExpectNoAllocationsInSteadyState(replies, 5000);
}

Task<void> Read(EchoClient& stub, size_t bytes, bool* done) {
  testing::ReadRequest request;
  request.set_bytes(bytes);
  BufferChain data;
  const absl::Status status = co_await stub.Read(request, &data);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(data.size(), bytes);
  *done = true;
}

Task<void> Write(EchoClient& stub, const std::string& text, bool* done) {
  const absl::Span<const uint8_t> view(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  testing::WriteResponse response;
  const absl::Status status = co_await stub.Write(Payload::External(view), &response);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(response.bytes(), text.size());
  *done = true;
}

// Who sends them leaves them where they are. (Who receives may have to cut apart what the kernel
// has joined, and shared memory is one copy by its nature.)
TEST_P(RealTransportsTest, RawBytesAreSentWithoutACopy) {
  if (GetParam() != std::tuple<std::string, Wire>("linux", Wire::kExtended)) GTEST_SKIP();
  constexpr size_t kBytes = 1'000'000;
  const Counter& server_copied = server_->server().port().stats().copied_bytes;
  bool done = false;
  tasks_.Spawn(Read(*stub_, kBytes, &done));
  RunUntil([&] { return done; });
  EXPECT_LT(server_copied, kBytes / 10);  // of acknowledgements

  const Counter& client_copied = client_->port().stats().copied_bytes;
  const uint64_t copied_before = client_copied;
  const std::string text(kBytes, 'x');
  done = false;
  tasks_.Spawn(Write(*stub_, text, &done));
  RunUntil([&] { return done; });
  EXPECT_LT(client_copied - copied_before, kBytes / 10);
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
