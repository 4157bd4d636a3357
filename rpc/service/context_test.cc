// SPDX-License-Identifier: Apache-2.0
//
// What travels beside the messages: deadlines and traces through several servers, and interceptors.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_fixture.h"

namespace weft::rpc {
namespace {

using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;
using testing::EchoServer;

constexpr TraceParent kTrace = {.trace_id = {1, 2, 3}, .span_id = {4, 5}, .flags = 1};

// Hands requests on, with the context's deadline and trace.
class RelayServer final : public testing::RelayService {
 public:
  explicit RelayServer(Channel& next) : stub_(next) {}

  Task<absl::Status> Forward(ServerContext& context, const EchoRequest& request,
                             EchoResponse* response) override {
    deadline_ns = context.deadline_ns();
    const CountEnd count(&ended);
    ClientContext next(context);
    co_return co_await stub_.Echo(request, response, &next);
  }

  int64_t deadline_ns = 0;
  int ended = 0;

 private:
  struct CountEnd {
    explicit CountEnd(int* ended) : ended(ended) {}
    ~CountEnd() { ++*ended; }
    int* const ended;
  };
  EchoClient stub_;
};

// Writes down what it sees, in one list for all.
class Recorder final : public ClientInterceptor, public ServerInterceptor {
 public:
  Recorder(std::string name, std::vector<std::string>* log) : name_(std::move(name)), log_(log) {}

  absl::Status Begin(ClientContext& context, const Method& method) override {
    log_->push_back(name_ + " begins " + std::string(method.name()));
    context.request_metadata().Add("by", name_);
    return refusal;
  }
  void End(ClientContext&, const Method&, absl::Status& status) override { OnEnd(status); }
  absl::Status Begin(ServerContext& context, const Method& method) override {
    log_->push_back(name_ + " begins " + std::string(method.name()));
    if (context.trace() != nullptr) trace = *context.trace();
    return refusal;
  }
  void End(ServerContext&, const Method&, absl::Status& status) override { OnEnd(status); }

  absl::Status refusal;
  absl::Status replacement;
  TraceParent trace;

 private:
  void OnEnd(absl::Status& status) {
    log_->push_back(name_ + " ends " + absl::StatusCodeToString(status.code()));
    if (!replacement.ok()) status = replacement;
  }

  const std::string name_;
  std::vector<std::string>* const log_;
};

class ContextTest : public ::testing::Test {
 protected:
  void Start() {
    server_ = Served("server", {&echo_}, {.interceptors = {&server_a_, &server_b_}});
    client_ = net_.MakeClient("client");
    channel_ = MakeChannel("server", {.interceptors = {&client_a_, &client_b_}});
  }
  std::unique_ptr<ServiceServer> Served(const std::string& name, std::vector<Service*> services,
                                        const ServiceOptions& options) {
    auto server = net_.Serve(name, services, options);
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }
  std::unique_ptr<Channel> MakeChannel(const std::string& server,
                                       const ChannelOptions& options = {}) {
    return std::make_unique<Channel>(*client_, *client_->Resolve(Address::Sim(server)), options);
  }
  static Task<absl::Status> EchoOnce(Channel& channel, ClientContext* context) {
    EchoClient stub(channel);
    EchoRequest request;
    request.set_text("x");
    EchoResponse response;
    co_return co_await stub.Echo(request, &response, context);
  }
  static Task<absl::Status> ForwardOnce(Channel& channel, uint32_t wait_us,
                                        ClientContext* context) {
    testing::RelayClient stub(channel);
    EchoRequest request;
    request.set_wait_us(wait_us);
    EchoResponse response;
    co_return co_await stub.Forward(request, &response, context);
  }

  ServiceFixture net_;
  std::vector<std::string> log_;
  Recorder client_a_{"client a", &log_};
  Recorder client_b_{"client b", &log_};
  Recorder server_a_{"server a", &log_};
  Recorder server_b_{"server b", &log_};
  EchoServer echo_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(ContextTest, InterceptorsSeeEachCallInOrder) {
  Start();
  ClientContext context;
  ASSERT_TRUE(net_.Run(EchoOnce(*channel_, &context)).ok());
  EXPECT_EQ(log_, (std::vector<std::string>{"client a begins Echo", "client b begins Echo",
                                            "server a begins Echo", "server b begins Echo",
                                            "server b ends OK", "server a ends OK",
                                            "client b ends OK", "client a ends OK"}));
  EXPECT_EQ(context.reply_metadata().Find("by"), "client a");
}

// Callers that have no context get one for the interceptors.
TEST_F(ContextTest, InterceptorsWithoutAContext) {
  Start();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(net_.Run(EchoOnce(*channel_, nullptr)).ok());
  EXPECT_EQ(log_.size(), 24u);
}

TEST_F(ContextTest, AClientsInterceptorRefuses) {
  Start();
  client_b_.refusal = absl::FailedPreconditionError("not today");
  EXPECT_EQ(net_.Run(EchoOnce(*channel_, nullptr)), client_b_.refusal);
  EXPECT_EQ(log_, (std::vector<std::string>{"client a begins Echo", "client b begins Echo",
                                            "client a ends FAILED_PRECONDITION"}));
  EXPECT_EQ(server_->server().stats().requests, 0u);
}

TEST_F(ContextTest, AServersInterceptorRefuses) {
  Start();
  server_b_.refusal = absl::PermissionDeniedError("not you");
  EXPECT_EQ(net_.Run(EchoOnce(*channel_, nullptr)), server_b_.refusal);
  EXPECT_EQ(log_[4], "server a ends PERMISSION_DENIED");
  EXPECT_EQ(echo_.begun, 0);
  EXPECT_EQ(server_->stats().refused, 1u);
}

TEST_F(ContextTest, InterceptorsChangeTheStatus) {
  Start();
  server_b_.replacement = absl::UnavailableError("of b");
  EXPECT_EQ(net_.Run(EchoOnce(*channel_, nullptr)), server_b_.replacement);
  client_a_.replacement = absl::InternalError("of a");
  EXPECT_EQ(net_.Run(EchoOnce(*channel_, nullptr)), client_a_.replacement);
}

TEST_F(ContextTest, ATraceReachesTheSecondServer) {
  Start();
  const auto next = MakeChannel("server");
  RelayServer relay(*next);
  const auto relay_server = Served("relay", {&relay}, {});
  const auto to_relay = MakeChannel("relay");
  ClientContext context;
  context.set_trace(kTrace);
  ASSERT_TRUE(net_.Run(ForwardOnce(*to_relay, 0, &context)).ok());
  EXPECT_EQ(server_a_.trace, kTrace);
}

// All of a call ends when its caller's deadline passes.
TEST_F(ContextTest, ADeadlineReachesTheSecondServer) {
  Start();
  const auto next = MakeChannel("server");
  RelayServer relay(*next);
  const auto relay_server = Served("relay", {&relay}, {});
  const auto to_relay = MakeChannel("relay");
  ClientContext context;
  ASSERT_TRUE(net_.Run(ForwardOnce(*to_relay, 0, &context)).ok());  // opens the sessions
  context.set_timeout(absl::Milliseconds(5));
  const int64_t begin_ns = net_.network().NowNs();
  EXPECT_EQ(net_.Run(ForwardOnce(*to_relay, 500'000, &context)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_NEAR(static_cast<double>(relay.deadline_ns - begin_ns), 5e6, 1e5);
  net_.RunFor(absl::Milliseconds(5));
  EXPECT_EQ(relay.ended, 2);
  EXPECT_EQ(echo_.ended, 2);
}

}  // namespace
}  // namespace weft::rpc
