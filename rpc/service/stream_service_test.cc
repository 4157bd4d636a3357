// SPDX-License-Identifier: Apache-2.0
//
// Methods with streams through generated code, over a simulated network.
#include "weft/rpc/service/stream_service.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/task_group.h"
#include "weft/rpc/service/service_fixture.h"

namespace weft::rpc {
namespace {

using testing::CountRequest;
using testing::Item;
using testing::StreamsClient;
using testing::StreamServer;
using testing::SumResponse;

CountRequest Items(uint64_t count, size_t payload = 0) {
  CountRequest request;
  request.set_to(count);
  request.set_payload(std::string(payload, 'p'));
  return request;
}

class StreamServiceTest : public ::testing::Test {
 protected:
  void Start(const ServiceOptions& options = {}, const ClientOptions& client_options = {},
             const ChannelOptions& channel_options = {}) {
    auto server = net_.Serve("server", {&service_}, options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = net_.MakeClient("client", client_options);
    channel_ = std::make_unique<Channel>(*client_, *client_->Resolve(Address::Sim("server")),
                                         channel_options);
    stub_ = std::make_unique<StreamsClient>(*channel_);
  }
  ~StreamServiceTest() override {
    if (server_ == nullptr) return;
    net_.RunFor(absl::Milliseconds(50));
    EXPECT_EQ(service_.begun, service_.ended);
    EXPECT_EQ(client_->outstanding(), 0u);
    EXPECT_EQ(server_->streams().size(), 0u);
  }

  // All numbers that come, into `seen`.
  Task<absl::Status> Count(const CountRequest& request, std::vector<uint64_t>* seen,
                           ClientContext* context = nullptr) {
    ClientReader<Item> items = stub_->Count(request, context);
    Item item;
    while (co_await items.Read(&item)) {
      EXPECT_EQ(item.payload(), request.payload());
      seen->push_back(item.number());
    }
    co_return co_await items.Finish();
  }
  Task<absl::Status> Sum(uint64_t items, SumResponse* response) {
    ClientWriter<Item> writer = stub_->Sum(response);
    Item item;
    for (uint64_t i = 0; i < items; ++i) {
      item.set_number(i);
      EXPECT_TRUE(co_await writer.Write(item));
    }
    co_return co_await writer.Finish();
  }
  static Task<void> SendItems(ClientReaderWriter<Item, Item>& items, uint64_t count) {
    Item item;
    for (uint64_t i = 0; i < count; ++i) {
      item.set_number(i);
      EXPECT_TRUE(co_await items.Write(item));
    }
    items.WritesDone();
  }
  Task<absl::Status> Chat(uint64_t count, uint64_t* received) {
    ClientReaderWriter<Item, Item> items = stub_->Chat();
    TaskGroup sender;
    sender.Spawn(SendItems(items, count));
    Item item;
    while (co_await items.Read(&item)) {
      EXPECT_EQ(item.number(), *received);
      ++*received;
    }
    co_return co_await items.Finish();
  }
  // A stream of a channel that ends with it, in the coroutine that the stream resumes.
  Task<absl::Status> CountOnce(const CountRequest& request, uint64_t* seen) {
    Channel channel(*client_, channel_->target());
    StreamsClient stub(channel);
    ClientReader<Item> items = stub.Count(request);
    Item item;
    while (co_await items.Read(&item)) {
      ++*seen;
    }
    co_return co_await items.Finish();
  }
  Task<absl::Status> Mirror(const std::vector<size_t>& sizes) {
    ClientReaderWriter<RawBytes, RawBytes> blobs = stub_->Mirror();
    for (const size_t size : sizes) {
      const std::string text(size, 'x');
      const Payload blob = Payload::Copy(BytesOf(text));
      EXPECT_TRUE(co_await blobs.Write(blob));
      BufferChain same;
      EXPECT_TRUE(co_await blobs.Read(&same));
      EXPECT_TRUE(same.ToString() == text);
    }
    co_return co_await blobs.Finish();
  }

  ServiceFixture net_;
  StreamServer service_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<StreamsClient> stub_;
};

TEST_F(StreamServiceTest, FromTheServer) {
  Start();
  for (const uint64_t count : {0, 1, 100, 10'000}) {
    std::vector<uint64_t> seen;
    EXPECT_TRUE(net_.Run(Count(Items(count, 50), &seen)).ok());
    ASSERT_EQ(seen.size(), count);
    for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(seen[i], i);
  }
}

TEST_F(StreamServiceTest, AChannelMayEndWithItsLastStream) {
  Start();
  for (const uint64_t count : {0, 1, 1000}) {
    uint64_t seen = 0;
    EXPECT_TRUE(net_.Run(CountOnce(Items(count), &seen)).ok());
    EXPECT_EQ(seen, count);
  }
}

TEST_F(StreamServiceTest, FromTheClient) {
  Start();
  SumResponse response;
  EXPECT_TRUE(net_.Run(Sum(1000, &response)).ok());
  EXPECT_EQ(response.items(), 1000u);
  EXPECT_EQ(response.sum(), 999u * 1000 / 2);
}

// The server uses messages again.
TEST_F(StreamServiceTest, NothingOfAnEarlierResponse) {
  Start();
  for (const uint64_t count : {3, 0, 2}) {
    SumResponse response;
    EXPECT_TRUE(net_.Run(Sum(count, &response)).ok());
    EXPECT_EQ(response.items(), count);
    EXPECT_EQ(response.sum(), count == 0 ? 0 : count * (count - 1) / 2);
  }
}

TEST_F(StreamServiceTest, BothWaysAtOnce) {
  Start();
  uint64_t received = 0;
  EXPECT_TRUE(net_.Run(Chat(5000, &received)).ok());
  EXPECT_EQ(received, 5000u);
}

TEST_F(StreamServiceTest, RawBytesOfAllSizes) {
  Start();
  EXPECT_TRUE(net_.Run(Mirror({0, 1, 100, 1300, 1400, 2000, 100'000, 1'000'000})).ok());
}

TEST_F(StreamServiceTest, StatusAndMetadataArrive) {
  Start();
  CountRequest request = Items(3);
  request.set_code(static_cast<int>(absl::StatusCode::kDataLoss));
  request.set_message("the disk is gone");
  ClientContext context;
  context.request_metadata().Add("tenant", "blue");
  std::vector<uint64_t> seen;
  const absl::Status status = net_.Run(Count(request, &seen, &context));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "the disk is gone");
  EXPECT_EQ(seen.size(), 3u);
  ASSERT_TRUE(context.reply_metadata().Find("tenant").has_value());
  EXPECT_EQ(*context.reply_metadata().Find("tenant"), "blue");
}

TEST_F(StreamServiceTest, WhatNobodyImplements) {
  Start();
  const auto chat = [](StreamsClient& stub) -> Task<absl::Status> {
    ClientReaderWriter<Item, Item> items = stub.Missing();
    Item item;
    EXPECT_FALSE(co_await items.Read(&item));
    EXPECT_FALSE(co_await items.Write(item));
    co_return co_await items.Finish();
  };
  EXPECT_EQ(net_.Run(chat(*stub_)).code(), absl::StatusCode::kUnimplemented);
}

TEST_F(StreamServiceTest, TheOriginalFormatHasNoStreams) {
  Start({}, {.wire = Wire::kOriginal});
  std::vector<uint64_t> seen;
  EXPECT_EQ(net_.Run(Count(Items(3), &seen)).code(), absl::StatusCode::kFailedPrecondition);
  SumResponse response;
  const auto sum = [](StreamsClient& stub, SumResponse* to) -> Task<absl::Status> {
    ClientWriter<Item> writer = stub.Sum(to);
    EXPECT_FALSE(co_await writer.Write(Item()));
    co_return co_await writer.Finish();
  };
  EXPECT_EQ(net_.Run(sum(*stub_, &response)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StreamServiceTest, ADeadlineOfTheContext) {
  Start();
  ClientContext context;
  context.set_timeout(absl::Milliseconds(5));
  const auto chat = [](StreamsClient& stub, ClientContext* c) -> Task<absl::Status> {
    ClientReaderWriter<Item, Item> items = stub.Chat(c);
    Item item;
    EXPECT_FALSE(co_await items.Read(&item));
    co_return co_await items.Finish();
  };
  EXPECT_EQ(net_.Run(chat(*stub_, &context)).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(StreamServiceTest, AReaderThatStopsReadingStopsTheMethod) {
  Start();
  const CountRequest request = Items(1'000'000, 50);
  {
    const ClientReader<Item> items = stub_->Count(request);
    net_.RunFor(absl::Milliseconds(100));
    EXPECT_GT(service_.written, 100u);
    EXPECT_LT(service_.written, 1000u);
  }
  net_.RunFor(absl::Milliseconds(100));
  EXPECT_EQ(service_.ended, 1);
}

TEST_F(StreamServiceTest, InterceptorsSeeStreams) {
  struct Refusing final : ServerInterceptor {
    absl::Status Begin(ServerContext&, const Method&) override {
      return absl::PermissionDeniedError("not you");
    }
  } refusing;
  struct Counting final : ClientInterceptor {
    absl::Status Begin(ClientContext&, const Method&) override {
      ++begun;
      return absl::OkStatus();
    }
    void End(ClientContext&, const Method&, absl::Status& status) override {
      ++ended;
      last = status;
    }
    int begun = 0;
    int ended = 0;
    absl::Status last;
  } counting;
  Start({.interceptors = {&refusing}}, {}, {.interceptors = {&counting}});
  std::vector<uint64_t> seen;
  EXPECT_EQ(net_.Run(Count(Items(3), &seen)).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(counting.begun, 1);
  EXPECT_EQ(counting.ended, 1);
  EXPECT_EQ(counting.last.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(service_.begun, 0);
}

}  // namespace
}  // namespace weft::rpc
