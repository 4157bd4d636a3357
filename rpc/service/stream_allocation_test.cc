// SPDX-License-Identifier: Apache-2.0
//
// In steady state, a message of a stream allocates nothing, at either end and in either direction,
// over shared memory and the kernel's UDP; nor does a loop do anything while streams are idle.
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/rpc/service/real_transport_fixture.h"
#include "weft/rpc/service/stream_service.h"

namespace weft::rpc {
namespace {

using testing::CountRequest;
using testing::Item;
using testing::StreamsClient;
using testing::SumResponse;

constexpr uint64_t kMessages = 20'000;

class StreamAllocationTest : public RealTransportFixture<testing::StreamServer, StreamsClient>,
                             public ::testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override { Open(GetParam(), {}); }

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
  ExpectNoAllocationsInSteadyState(messages_, kMessages);
}

TEST_P(StreamAllocationTest, FromTheClient) {
  for (int i = 0; i < 5; ++i) tasks_.Spawn(WriteForever(*stub_, &messages_));
  ExpectNoAllocationsInSteadyState(messages_, kMessages);
}

TEST_P(StreamAllocationTest, ThereAndBack) {
  for (int i = 0; i < 5; ++i) tasks_.Spawn(ChatForever(*stub_, &messages_));
  ExpectNoAllocationsInSteadyState(messages_, kMessages);
}

INSTANTIATE_TEST_SUITE_P(Transports, StreamAllocationTest, ::testing::Values("linux", "shm"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace weft::rpc
