// SPDX-License-Identifier: Apache-2.0
//
// Unary methods through generated code, over a simulated network, in both formats.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/core/task_group.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_fixture.h"

namespace weft::rpc {
namespace {

using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;
using testing::EchoServer;
using testing::FailRequest;
using testing::ReadRequest;
using testing::WriteResponse;

EchoRequest RequestOf(const std::string& text, uint32_t times = 1) {
  EchoRequest request;
  request.set_text(text);
  request.set_times(times);
  return request;
}

class ServiceTest : public ::testing::TestWithParam<Wire> {
 protected:
  void Start(const ServiceOptions& options = {}, const ChannelOptions& channel_options = {},
             const ServerOptions& server_options = {}) {
    auto server = net_.Serve("server", {&echo_}, options, server_options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = net_.MakeClient("client", {.wire = GetParam()});
    channel_ = std::make_unique<Channel>(*client_, *client_->Resolve(Address::Sim("server")),
                                         channel_options);
    stub_ = std::make_unique<EchoClient>(*channel_);
  }
  ~ServiceTest() override {
    if (server_ == nullptr) return;
    EXPECT_EQ(echo_.begun, echo_.ended);
    EXPECT_EQ(client_->outstanding(), 0u);
  }

  Task<absl::Status> EchoOnce(const EchoRequest& request, EchoResponse* response,
                              ClientContext* context = nullptr) {
    co_return co_await stub_->Echo(request, response, context);
  }
  absl::Status Echo(const EchoRequest& request, EchoResponse* response,
                    ClientContext* context = nullptr) {
    return net_.Run(EchoOnce(request, response, context));
  }
  Task<absl::Status> FailOnce(const FailRequest& request, ClientContext* context) {
    EchoResponse response;
    co_return co_await stub_->Fail(request, &response, context);
  }
  Task<absl::Status> MirrorOnce(Payload request, BufferChain* response) {
    co_return co_await stub_->Mirror(std::move(request), response);
  }
  Task<absl::StatusOr<BufferChain>> CallRaw(std::string request) {
    co_return co_await client_->Call(channel_->target(), BytesOf(request));
  }

  // Messages of 16 KiB and more are fetched, in the extended format.
  ServiceFixture net_{sim::BulkOptions{.count = 8, .min_bytes = 16'384}};
  EchoServer echo_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<EchoClient> stub_;
};

TEST_P(ServiceTest, MessagesOfEverySize) {
  Start();
  for (const size_t size : {0, 1, 64, 200, 240, 250, 1000, 1390, 1440, 1470, 5000, 200'000}) {
    const EchoRequest request = RequestOf(std::string(size, 'x'));
    EchoResponse response;
    ASSERT_TRUE(Echo(request, &response).ok()) << size;
    EXPECT_EQ(response.text(), request.text());
  }
  EXPECT_EQ(net_.network().bulk().fetched, GetParam() == Wire::kExtended ? 2u : 0u);
}

TEST_P(ServiceTest, ResponsesDoNotKeepWhatWasThereBefore) {
  Start();
  EchoResponse response;
  ASSERT_TRUE(Echo(RequestOf("abc", 3), &response).ok());
  EXPECT_EQ(response.text(), "abcabcabc");
  ASSERT_TRUE(Echo(RequestOf("d"), &response).ok());
  EXPECT_EQ(response.text(), "d");
  ASSERT_TRUE(Echo(RequestOf("", 0), &response).ok());
  EXPECT_EQ(response.text(), "");
}

TEST_P(ServiceTest, AStatusArrivesAsReturned) {
  Start();
  FailRequest request;
  request.set_code(static_cast<int>(absl::StatusCode::kFailedPrecondition));
  request.set_message(
      "not \xC3\xBC"
      "ber");
  (*request.mutable_details())["example.com/a"] = std::string("\0\1", 2);
  (*request.mutable_details())["example.com/b"] = "bytes";
  ClientContext context;
  const absl::Status status = net_.Run(FailOnce(request, &context));
  absl::Status expected = absl::FailedPreconditionError(request.message());
  expected.SetPayload("example.com/a", absl::Cord(std::string("\0\1", 2)));
  expected.SetPayload("example.com/b", absl::Cord("bytes"));
  EXPECT_EQ(status, expected);
  EXPECT_EQ(context.reply_metadata().Find("failed"), "yes");
}

// What a method hands on from a call of its own says nothing of the method's own request.
TEST_P(ServiceTest, AFailedMethodWasExecuted) {
  Start();
  FailRequest request;
  request.set_code(static_cast<int>(absl::StatusCode::kUnavailable));
  (*request.mutable_details())["weft.rpc/not_executed"] = "";
  EXPECT_FALSE(WasNotExecuted(net_.Run(FailOnce(request, nullptr))));
}

TEST_P(ServiceTest, MetadataTravelsBothWays) {
  Start();
  ClientContext context;
  context.request_metadata().Add("tenant", "blue");
  context.request_metadata().Add("tenant", std::string(5000, 'y'));
  EchoResponse response;
  for (int i = 0; i < 2; ++i) {  // a context may be used again
    ASSERT_TRUE(Echo(RequestOf("x"), &response, &context).ok());
    ASSERT_EQ(context.reply_metadata().size(), 2u);
    EXPECT_EQ(context.reply_metadata().Find("tenant"), "blue");
    EXPECT_EQ(context.reply_metadata().Find("nobody"), std::nullopt);
  }
}

TEST_P(ServiceTest, MetadataHaveALimit) {
  Start({.metadata_bytes_max = 1000}, {.metadata_bytes_max = 2000});
  ClientContext context;
  context.request_metadata().Add("key", std::string(1500, 'y'));
  EchoResponse response;
  absl::Status status = Echo(RequestOf("x"), &response, &context);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(status.message(), "metadata_bytes_max allows 1000")) << status;
  EXPECT_EQ(server_->stats().metadata_too_large, 1u);
  EXPECT_TRUE(WasNotExecuted(status));

  context.request_metadata().Add("key", std::string(1500, 'y'));
  status = Echo(RequestOf("x"), &response, &context);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server_->stats().metadata_too_large, 1u);  // this one was not even sent
}

TEST_P(ServiceTest, RawBytesOfEverySize) {
  Start();
  for (const size_t size : {0, 1, 200, 239, 240, 241, 500, 1000, 1400, 1456, 5000, 200'000}) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 256);
    BufferChain response;
    ASSERT_TRUE(net_.Run(MirrorOnce(Payload::External(BytesOf(text)), &response)).ok()) << size;
    EXPECT_EQ(response.ToString(), text);
    ASSERT_TRUE(net_.Run(MirrorOnce(Payload(std::move(response)), &response)).ok()) << size;
    EXPECT_EQ(response.ToString(), text);
  }
}

// The bytes that an application fills in, and gets and gives back, stay where they are.
TEST_P(ServiceTest, RawBytesThatAreFetched) {
  Start();
  BufferChain response;
  EXPECT_TRUE(net_.Run(MirrorOnce(Payload(), &response)).ok());
  const std::string text(200'000, 'x');
  Buffer request = client_->Allocate(text.size());
  ASSERT_TRUE(request);
  std::memcpy(request.Append(text.size()), text.data(), text.size());
  ASSERT_TRUE(net_.Run(MirrorOnce(Payload(std::move(request)), &response)).ok());
  EXPECT_EQ(response.ToString(), text);
  if (GetParam() != Wire::kExtended) return;
  EXPECT_EQ(net_.network().bulk().fetched, 2u);
  EXPECT_EQ(response.pieces(), 1u);
  ASSERT_TRUE(net_.Run(MirrorOnce(Payload(std::move(response)), &response)).ok());
  EXPECT_EQ(net_.network().bulk().fetched, 4u);
}

TEST_P(ServiceTest, RawOnOneSideOnly) {
  Start();
  const auto read = [](EchoClient& stub, BufferChain* response) -> Task<absl::Status> {
    ReadRequest request;
    request.set_bytes(10'000);
    co_return co_await stub.Read(request, response);
  };
  BufferChain data;
  ASSERT_TRUE(net_.Run(read(*stub_, &data)).ok());
  ASSERT_EQ(data.size(), 10'000u);
  EXPECT_EQ(data.ToString()[300], static_cast<char>(testing::ByteAt(300)));

  const auto write = [](EchoClient& stub, Payload data,
                        WriteResponse* response) -> Task<absl::Status> {
    co_return co_await stub.Write(std::move(data), response);
  };
  WriteResponse response;
  ASSERT_TRUE(net_.Run(write(*stub_, Payload(std::move(data)), &response)).ok());
  EXPECT_EQ(response.bytes(), 10'000u);
}

TEST_P(ServiceTest, AMethodThatIsNotOverridden) {
  Start();
  const auto missing = [](EchoClient& stub) -> Task<absl::Status> {
    const EchoRequest request;
    EchoResponse response;
    co_return co_await stub.Missing(request, &response);
  };
  const absl::Status status = net_.Run(missing(*stub_));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(status.message(), "the server does not implement weft.rpc.testing.Echo/Missing");
}

TEST_P(ServiceTest, AMethodThatIsNotThere) {
  Start();
  const auto forward = [](Channel& channel) -> Task<absl::Status> {
    testing::RelayClient stub(channel);
    const EchoRequest request;
    EchoResponse response;
    co_return co_await stub.Forward(request, &response);
  };
  const absl::Status status = net_.Run(forward(*channel_));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(WasNotExecuted(status));
  EXPECT_EQ(server_->stats().unknown_methods, 1u);
}

TEST_P(ServiceTest, ARequestThatDoesNotParse) {
  Start();
  // A raw method's bytes, sent to a method that takes a message.
  std::string request(kRequestHeadBytesMin, '\0');
  WriteRequestHead({.id = MethodId("weft.rpc.testing.Echo/Echo")},
                   reinterpret_cast<uint8_t*>(request.data()));
  const auto reply = net_.Run(CallRaw(request + "\x0A\x7F"
                                                "short"));
  ASSERT_TRUE(reply.ok());
  ReplyHead head;
  ASSERT_TRUE(ReadReplyHead(reply->front(), RequestKind::kUnary, &head));
  EXPECT_EQ(head.code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_->stats().unparsable, 1u);
  EXPECT_EQ(echo_.begun, 0);
}

TEST_P(ServiceTest, ARequestOfAnotherProtocol) {
  Start();
  for (const std::string request : {"", "x", "GET / HTTP/1.1\r\n\r\n and some more of it"}) {
    const auto reply = net_.Run(CallRaw(request));
    ASSERT_TRUE(reply.ok());
    ReplyHead head;
    ASSERT_TRUE(ReadReplyHead(reply->front(), RequestKind::kUnary, &head));
    EXPECT_EQ(head.code, absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(server_->stats().malformed, 3u);
}

TEST_P(ServiceTest, MetadataThatAreNot) {
  Start();
  for (const uint32_t claimed : {4u, 100u}) {  // that do not parse; more than there is
    std::string request(kRequestHeadBytesMin, '\0');
    WriteRequestHead({.metadata_bytes = claimed, .id = MethodId("weft.rpc.testing.Echo/Echo")},
                     reinterpret_cast<uint8_t*>(request.data()));
    const auto reply = net_.Run(CallRaw(request + "\x0A\x7F??"));
    ASSERT_TRUE(reply.ok());
    ReplyHead head;
    ASSERT_TRUE(ReadReplyHead(reply->front(), RequestKind::kUnary, &head));
    EXPECT_EQ(head.code, absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(server_->stats().malformed, 2u);
}

TEST_P(ServiceTest, AStreamThatIsNotThere) {
  Start();
  std::string request(kRequestHeadBytesMin + 8, '\0');
  WriteRequestHead({.kind = RequestKind::kPull, .id = 7},
                   reinterpret_cast<uint8_t*>(request.data()));
  const auto reply = net_.Run(CallRaw(request));
  ASSERT_TRUE(reply.ok());
  ReplyHead head;
  ASSERT_TRUE(ReadReplyHead(reply->front(), RequestKind::kPull, &head));
  EXPECT_EQ(head.code, absl::StatusCode::kNotFound);
}

TEST_P(ServiceTest, AResponseThatIsTooLong) {
  Start({}, {}, {.message_packets_max = 10, .session = {.message_bytes_max = 10'000}});
  EchoResponse response;
  const absl::Status status = Echo(RequestOf(std::string(1000, 'x'), 30), &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_EQ(server_->stats().replies_failed, 1u);
  ASSERT_TRUE(Echo(RequestOf("x"), &response).ok());
}

TEST_P(ServiceTest, ARequestThatIsTooLong) {
  Start({}, {}, {.message_packets_max = 10, .session = {.message_bytes_max = 10'000}});
  EchoResponse response;
  const absl::Status status = Echo(RequestOf(std::string(30'000, 'x')), &response);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(echo_.begun, 0);
  EXPECT_EQ(server_->server().stats().refused_too_large, 1u);
}

TEST_P(ServiceTest, ACallTakesAsLongAsItsMethod) {
  Start();
  EchoRequest request = RequestOf("x");
  request.set_wait_us(3000);
  EchoResponse response;
  const int64_t begin_ns = net_.network().NowNs();
  ASSERT_TRUE(Echo(request, &response).ok());
  EXPECT_GE(net_.network().NowNs() - begin_ns, 3'000'000);
}

TEST_P(ServiceTest, ACallThatIsGivenUp) {
  Start();
  EchoRequest request = RequestOf("x");
  request.set_wait_us(10'000);
  EchoResponse response;
  {
    TaskGroup tasks;
    const auto call = [](Task<absl::Status> task) -> Task<void> { (void)co_await std::move(task); };
    tasks.Spawn(call(EchoOnce(request, &response)));
    ASSERT_TRUE(net_.RunUntil([&] { return echo_.begun == 1; }));
  }
  net_.RunFor(absl::Milliseconds(5));
  // In the original format servers do not hear of it.
  EXPECT_EQ(echo_.ended, GetParam() == Wire::kExtended ? 1 : 0);
  net_.RunFor(absl::Milliseconds(100));
}

TEST_P(ServiceTest, TimeoutsOfContextAndChannel) {
  Start({}, {.timeout = absl::Milliseconds(2)});
  EchoRequest request = RequestOf("x");
  request.set_wait_us(10'000);
  EchoResponse response;
  EXPECT_EQ(Echo(request, &response).code(), absl::StatusCode::kDeadlineExceeded);
  ClientContext context;
  context.set_timeout(absl::Milliseconds(50));
  EXPECT_TRUE(Echo(request, &response, &context).ok());
  context.set_deadline_ns(net_.network().NowNs() + 1'000'000);
  EXPECT_EQ(Echo(request, &response, &context).code(), absl::StatusCode::kDeadlineExceeded);
  net_.RunFor(absl::Milliseconds(100));
}

TEST_P(ServiceTest, ServicesThatClash) {
  EchoServer other;
  EXPECT_EQ(net_.Serve("a", {&echo_, &other}).status().message(),
            "the service weft.rpc.testing.Echo is given twice");
}

INSTANTIATE_TEST_SUITE_P(Formats, ServiceTest, ::testing::Values(Wire::kOriginal, Wire::kExtended),
                         [](const auto& info) {
                           return info.param == Wire::kOriginal ? "original" : "extended";
                         });

}  // namespace
}  // namespace weft::rpc
