// SPDX-License-Identifier: Apache-2.0
//
// What is counted and traced of calls, at both ends of a simulated network.
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "weft/core/metrics.h"
#include "weft/core/temp_directory.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_fixture.h"
#include "weft/rpc/service/service_metrics.h"
#include "weft/rpc/trace/testdata/otlp.pb.h"

namespace weft::rpc {
namespace {

using testing::EchoClient;
using testing::EchoRequest;
using testing::EchoResponse;
using testing::EchoServer;

// Hands a call on to another server.
class RelayServer final : public testing::RelayService {
 public:
  explicit RelayServer(Channel& next) : next_(next) {}

  Task<absl::Status> Forward(ServerContext& context, const EchoRequest& request,
                             EchoResponse* response) override {
    ClientContext onward(context);
    co_return co_await next_.Echo(request, response, &onward);
  }

 private:
  EchoClient next_;
};

class ObserversTest : public ::testing::Test {
 protected:
  // A tracer of its own for each program: "client", "server", ...
  void Trace(double ratio) {
    writer_ = SpanWriter::Start({.file = path_, .virtual_time = true}).value();
    for (const char* program : {"client", "relay", "server"}) {
      tracers_[program] = std::make_unique<Tracer>(writer_, fixture_.network(),
                                                   TracerOptions{ratio, /*seed=*/tracers_.size()});
    }
  }
  CallObservers Observers(const std::string& program) {
    const auto tracer = tracers_.find(program);
    return {.methods = &methods_[program],
            .tracer = tracer == tracers_.end() ? nullptr : tracer->second.get()};
  }
  void Serve() {
    server_ = fixture_.Serve("server", {&echo_}, {.observers = Observers("server")}).value();
    client_ = fixture_.MakeClient("client");
    channel_ = ConnectTo(*client_, "server", "client");
  }
  std::unique_ptr<Channel> ConnectTo(Client& client, const std::string& server,
                                     const std::string& program) {
    return std::make_unique<Channel>(client, client.Resolve(Address::Sim(server)).value(),
                                     ChannelOptions{.observers = Observers(program)});
  }
  MethodStats& Client_(const std::string& method) {
    return methods_["client"].Of(Side::kClient, "weft.rpc.testing." + method);
  }
  MethodStats& Server_(const std::string& method) {
    return methods_["server"].Of(Side::kServer, "weft.rpc.testing." + method);
  }
  static uint64_t CallsOf(const MethodStats& stats, absl::StatusCode code) {
    return stats.calls[static_cast<size_t>(code)];
  }

  absl::Status Echo(const std::string& text, ClientContext* context = nullptr,
                    uint32_t wait_us = 0) {
    EchoRequest request;
    request.set_text(text);
    request.set_times(2);
    request.set_wait_us(wait_us);
    return fixture_.Run(CallEcho(*channel_, request, context));
  }
  static Task<absl::Status> CallEcho(Channel& channel, const EchoRequest& request,
                                     ClientContext* context) {
    EchoClient echo(channel);
    EchoResponse response;
    co_return co_await echo.Echo(request, &response, context);
  }

  // All spans so far, by "client kv.KeyValue/Get".
  std::multimap<std::string, otlp::Span> Spans() {
    writer_->Flush();
    std::ifstream in(path_);
    const std::string content(std::istreambuf_iterator<char>(in), {});
    std::multimap<std::string, otlp::Span> spans;
    for (const absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
      otlp::TracesData data;
      EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(std::string(line), &data).ok());
      for (const otlp::Span& span : data.resource_spans(0).scope_spans(0).spans()) {
        const bool client = span.kind() == otlp::Span::SPAN_KIND_CLIENT;
        spans.emplace(absl::StrCat(client ? "client " : "server ",
                                   span.name().substr(sizeof("weft.rpc.testing.") - 1)),
                      span);
      }
    }
    return spans;
  }
  static std::string AttributeOf(const otlp::Span& span, const std::string& key) {
    for (const otlp::KeyValue& attribute : span.attributes()) {
      if (attribute.key() != key) continue;
      return attribute.value().has_string_value() ? attribute.value().string_value()
                                                  : absl::StrCat(attribute.value().int_value());
    }
    return "";
  }

  const TempDirectory directory_;
  const std::string path_ = absl::StrCat(directory_.path(), "/observers.jsonl");
  ServiceFixture fixture_;
  std::map<std::string, MethodTable> methods_;
  std::shared_ptr<SpanWriter> writer_;
  std::map<std::string, std::unique_ptr<Tracer>> tracers_;
  EchoServer echo_;
  std::unique_ptr<ServiceServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(ObserversTest, BothSidesCountCallsBytesAndLatency) {
  Serve();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Echo("0123456789", nullptr, /*wait_us=*/50).ok());
  EchoRequest request;
  request.set_text("0123456789");
  request.set_times(2);
  request.set_wait_us(50);
  EchoResponse response;
  response.set_text(std::string(20, 'x'));
  for (const MethodStats* stats : {&Client_("Echo/Echo"), &Server_("Echo/Echo")}) {
    EXPECT_EQ(CallsOf(*stats, absl::StatusCode::kOk), 3u);
    EXPECT_EQ(stats->ended(), 3u);
    EXPECT_EQ(stats->in_flight.value(), 0);
    EXPECT_EQ(stats->request_bytes, 3 * request.ByteSizeLong()) << NameOf(stats->side);
    EXPECT_EQ(stats->response_bytes, 3 * response.ByteSizeLong()) << NameOf(stats->side);
    EXPECT_EQ(stats->latency_ns.Snapshot().count(), 3u);
    EXPECT_GE(stats->latency_ns.Snapshot().min(), 50'000);
  }
  EXPECT_GT(Client_("Echo/Echo").latency_ns.Snapshot().min(),
            Server_("Echo/Echo").latency_ns.Snapshot().min())
      << "the network";
}

TEST_F(ObserversTest, CallsAreCountedByStatusWhereverItComesFrom) {
  Serve();
  EchoClient echo(*channel_);
  EchoResponse response;
  testing::FailRequest fail;
  fail.set_code(static_cast<int>(absl::StatusCode::kNotFound));
  const absl::Status failed = fixture_.Run([](EchoClient& echo, const testing::FailRequest& request,
                                              EchoResponse& response) -> Task<absl::Status> {
    co_return co_await echo.Fail(request, &response);
  }(echo, fail, response));
  EXPECT_EQ(failed.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(CallsOf(Client_("Echo/Fail"), absl::StatusCode::kNotFound), 1u);
  EXPECT_EQ(CallsOf(Server_("Echo/Fail"), absl::StatusCode::kNotFound), 1u);

  // Ends at the client, and is cancelled at the server.
  ClientContext context;
  context.set_timeout(absl::Milliseconds(1));
  EXPECT_EQ(Echo("slow", &context, 10'000'000).code(), absl::StatusCode::kDeadlineExceeded);
  fixture_.RunFor(absl::Milliseconds(10));
  EXPECT_EQ(CallsOf(Client_("Echo/Echo"), absl::StatusCode::kDeadlineExceeded), 1u);
  EXPECT_EQ(CallsOf(Server_("Echo/Echo"), absl::StatusCode::kCancelled), 1u);
  EXPECT_EQ(Server_("Echo/Echo").in_flight.value(), 0);

  // Does not even begin.
  context.set_deadline_ns(1);
  EXPECT_EQ(Echo("late", &context).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(CallsOf(Client_("Echo/Echo"), absl::StatusCode::kDeadlineExceeded), 2u);
  EXPECT_EQ(Server_("Echo/Echo").ended(), 1u);
}

TEST_F(ObserversTest, ACallWhoseCallerGoesIsCancelled) {
  Trace(1);
  Serve();
  EchoRequest request;
  request.set_wait_us(10'000'000);
  {
    TaskGroup tasks;
    tasks.Spawn([](Channel& channel, const EchoRequest& request) -> Task<void> {
      (void)co_await CallEcho(channel, request, nullptr);
    }(*channel_, request));
    ASSERT_TRUE(fixture_.RunUntil([this] { return echo_.begun == 1; }));
    EXPECT_EQ(Client_("Echo/Echo").in_flight.value(), 1);
    EXPECT_EQ(Server_("Echo/Echo").in_flight.value(), 1);
  }
  EXPECT_EQ(CallsOf(Client_("Echo/Echo"), absl::StatusCode::kCancelled), 1u);
  ASSERT_TRUE(fixture_.RunUntil([this] { return echo_.ended == 1; }));
  EXPECT_EQ(CallsOf(Server_("Echo/Echo"), absl::StatusCode::kCancelled), 1u);
  const auto spans = Spans();
  ASSERT_EQ(spans.size(), 2u);
  for (const auto& [name, span] : spans) {
    EXPECT_EQ(AttributeOf(span, "rpc.response.status_code"), "CANCELLED") << name;
  }
}

TEST_F(ObserversTest, RawMethodsCountTheirBytes) {
  Serve();
  const absl::Status status = fixture_.Run([](Channel& channel) -> Task<absl::Status> {
    EchoClient echo(channel);
    const std::string bytes(100'000, 'b');
    BufferChain response;
    co_return co_await echo.Mirror(Payload::External(BytesOf(bytes)), &response);
  }(*channel_));
  ASSERT_TRUE(status.ok()) << status;
  for (const MethodStats* stats : {&Client_("Echo/Mirror"), &Server_("Echo/Mirror")}) {
    EXPECT_EQ(CallsOf(*stats, absl::StatusCode::kOk), 1u);
    EXPECT_EQ(stats->request_bytes, 100'000u) << NameOf(stats->side);
    EXPECT_EQ(stats->response_bytes, 100'000u) << NameOf(stats->side);
  }
}

TEST_F(ObserversTest, TheSpanOfTheServerIsTheChildOfTheClients) {
  Trace(1);
  Serve();
  ASSERT_TRUE(Echo("a", nullptr, 50).ok());
  const auto spans = Spans();
  ASSERT_EQ(spans.size(), 2u);
  const otlp::Span& client = spans.find("client Echo/Echo")->second;
  const otlp::Span& server = spans.find("server Echo/Echo")->second;
  EXPECT_EQ(client.parent_span_id(), "");
  EXPECT_EQ(server.parent_span_id(), client.span_id());
  EXPECT_EQ(server.trace_id(), client.trace_id());
  EXPECT_EQ(AttributeOf(client, "network.peer.address"), "sim:server");
  EXPECT_EQ(AttributeOf(server, "network.peer.address"), "sim:client");
  EXPECT_EQ(AttributeOf(client, "rpc.request.size"), AttributeOf(server, "rpc.request.size"));
  EXPECT_EQ(AttributeOf(client, "rpc.response.size"), AttributeOf(server, "rpc.response.size"));
  EXPECT_LT(client.start_time_unix_nano(), server.start_time_unix_nano());
  EXPECT_GT(client.end_time_unix_nano(), server.end_time_unix_nano());
  EXPECT_GE(server.end_time_unix_nano() - server.start_time_unix_nano(), 50'000u);
}

TEST_F(ObserversTest, ATraceGoesThroughServersThatCallOthers) {
  Trace(1);
  Serve();
  auto relay_client = fixture_.MakeClient("relay_client");
  auto onward = ConnectTo(*relay_client, "server", "relay");
  RelayServer relay(*onward);
  auto relay_server = fixture_.Serve("relay", {&relay}, {.observers = Observers("relay")}).value();
  auto to_relay = ConnectTo(*client_, "relay", "client");

  ClientContext context;
  context.set_trace(
      ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").value());
  context.request_metadata().Add(kTraceStateKey, "vendor=a");
  ASSERT_TRUE(fixture_
                  .Run([](Channel& channel, ClientContext& context) -> Task<absl::Status> {
                    testing::RelayClient relay(channel);
                    EchoRequest request;
                    EchoResponse response;
                    co_return co_await relay.Forward(request, &response, &context);
                  }(*to_relay, context))
                  .ok());

  const auto spans = Spans();
  ASSERT_EQ(spans.size(), 4u);
  std::string parent = "00f067aa0ba902b7";
  for (const char* name :
       {"client Relay/Forward", "server Relay/Forward", "client Echo/Echo", "server Echo/Echo"}) {
    ASSERT_EQ(spans.count(name), 1u) << name;
    const otlp::Span& span = spans.find(name)->second;
    EXPECT_EQ(span.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736") << name;
    EXPECT_EQ(span.parent_span_id(), parent) << name;
    EXPECT_EQ(span.trace_state(), "vendor=a") << name;
    parent = span.span_id();
  }
}

TEST_F(ObserversTest, ARootThatIsNotSampledSendsNothing) {
  Trace(0);
  Serve();
  ASSERT_TRUE(Echo("a").ok());
  EXPECT_TRUE(Spans().empty());
  EXPECT_EQ(Server_("Echo/Echo").ended(), 1u) << "counted all the same";
}

TEST_F(ObserversTest, AnUnsampledParentIsHandedOn) {
  Trace(1);
  Serve();
  ClientContext context;
  context.set_trace(
      ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").value());
  ASSERT_TRUE(Echo("a", &context).ok());
  EXPECT_TRUE(Spans().empty()) << "the server follows it too";
}

TEST_F(ObserversTest, WithoutObserversATraceIsHandedOnAsItIs) {
  Trace(1);
  server_ = fixture_.Serve("server", {&echo_}, {.observers = Observers("server")}).value();
  client_ = fixture_.MakeClient("client");
  channel_ = std::make_unique<Channel>(*client_, client_->Resolve(Address::Sim("server")).value());
  ClientContext context;
  context.set_trace(
      ParseTraceParent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").value());
  ASSERT_TRUE(Echo("a", &context).ok());
  const auto spans = Spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans.begin()->first, "server Echo/Echo");
  EXPECT_EQ(spans.begin()->second.parent_span_id(), "00f067aa0ba902b7");
}

TEST_F(ObserversTest, ASpanTellsOfRetransmissions) {
  Trace(1);
  Serve();
  ASSERT_TRUE(Echo("opens the session").ok());
  const std::vector<sim::NodeId> alone = {*fixture_.network().AddNode("server")};
  ASSERT_TRUE(fixture_.network().Partition({alone}).ok());
  TaskGroup tasks;
  bool done = false;
  EchoRequest request;
  tasks.Spawn([](Channel& channel, const EchoRequest& request, bool* done) -> Task<void> {
    (void)co_await CallEcho(channel, request, nullptr);
    *done = true;
  }(*channel_, request, &done));
  fixture_.RunFor(absl::Milliseconds(20));
  fixture_.network().Heal();
  ASSERT_TRUE(fixture_.RunUntil([&] { return done; }));
  bool told = false;
  for (const auto& [name, span] : Spans()) {
    told = told || !AttributeOf(span, "rpc.weft.retransmissions").empty();
  }
  EXPECT_TRUE(told);
}

TEST_F(ObserversTest, RefusalsAndStreamsShowInPrometheus) {
  Serve();
  MetricRegistry registry;
  const MetricGroup server = RegisterMetrics(registry, *server_, {{"worker", "0"}});
  const MetricGroup channel = RegisterMetrics(registry, *channel_, {{"worker", "0"}});
  ASSERT_TRUE(server.status().ok()) << server.status();
  ASSERT_TRUE(channel.status().ok()) << channel.status();
  bool ended = false;
  ASSERT_TRUE(client_
                  ->Call(channel_->target(), BytesOf("this is no head of a request"),
                         [&ended](absl::StatusOr<BufferChain>) { ended = true; })
                  .ok());
  ASSERT_TRUE(fixture_.RunUntil([&] { return ended; }));
  const std::string text = registry.RenderPrometheus();
  for (const char* line : {"weft_rpc_service_malformed_total{worker=\"0\"} 1\n",
                           "weft_rpc_service_unknown_methods_total{worker=\"0\"} 0\n",
                           "weft_rpc_service_streams_open{worker=\"0\"} 0\n",
                           "weft_rpc_channel_streams_retries_total{worker=\"0\"} 0\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

}  // namespace
}  // namespace weft::rpc
