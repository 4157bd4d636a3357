// SPDX-License-Identifier: Apache-2.0
//
// What is told of clients and servers: to Prometheus and to people, by name and in full.
#include "weft/rpc/metrics.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "weft/core/json_writer.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/counters.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

using Json = google::protobuf::Struct;

class MetricsTest : public testing::Test {
 protected:
  void SetUp() override {
    config::Transport config;
    config.set_name("sim");
    config.mutable_sim()->set_latency_us(10);
    transport_ = OpenPlainTransport(config).value();
    loop_ = std::make_unique<Loop>(LoopOptions{}, *transport_->virtual_time());
    server_ = Server::Create(
                  *loop_, transport_->OpenDatagramPort({.local = Address::Sim("server")}).value(),
                  {.key_seed = 1},
                  [this](ServerCall call) {
                    if (holds_) {
                      held_.push_back(std::move(call));
                    } else {
                      (void)call.Reply(std::move(call.request()));
                    }
                  })
                  .value();
    server_->set_admission([this](Peer, absl::Span<const uint8_t>) { return admits_; });
    client_ = MakeClient();
    peer_ = client_->Resolve(Address::Sim("server")).value();
  }
  ~MetricsTest() override {
    client_.reset();
    held_.clear();
  }

  std::unique_ptr<Client> MakeClient() {
    return Client::Create(*loop_, transport_->OpenDatagramPort({}).value(), {.request_id_seed = 1})
        .value();
  }

  // One call a target, all at once; returns when `ends` of them have ended.
  void Call(const std::vector<Target>& targets, size_t ends) {
    ended_ = 0;
    const std::vector<uint8_t> request(64);
    for (const Target& target : targets) {
      ASSERT_TRUE(
          client_->Call(target, request, [this](const absl::StatusOr<BufferChain>&) { ++ended_; })
              .ok());
    }
    const int64_t end_ns = transport_->virtual_time()->NowNs() + 100'000'000;
    RunVirtual(
        *transport_->virtual_time(), {loop_.get()}, [&] { return ends > 0 && ended_ >= ends; },
        end_ns);
    ASSERT_EQ(ended_, ends);
  }

  template <typename T>
  Json Described(T& rpc, size_t sessions_max = 10) {
    JsonWriter writer;
    Describe(rpc, sessions_max, writer);
    Json json;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(writer.text(), &json).ok())
        << writer.text();
    return json;
  }
  static double Number(const Json& json, const std::string& name) {
    EXPECT_TRUE(json.fields().contains(name)) << name;
    return json.fields().at(name).number_value();
  }
  static std::string Text(const Json& json, const std::string& name) {
    EXPECT_TRUE(json.fields().contains(name)) << name;
    return json.fields().at(name).string_value();
  }
  static const Json& Object(const Json& json, const std::string& name) {
    return json.fields().at(name).struct_value();
  }
  static std::vector<Json> Sessions(const Json& json) {
    std::vector<Json> sessions;
    for (const auto& value : json.fields().at("sessions").list_value().values()) {
      sessions.push_back(value.struct_value());
    }
    return sessions;
  }

  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  std::vector<ServerCall> held_;
  Peer peer_;
  bool holds_ = false;
  bool admits_ = true;
  size_t ended_ = 0;
};

TEST_F(MetricsTest, NothingThatIsCountedHasNoName) {
  EXPECT_EQ(sizeof(ClientStats),
            ClientCounters().size() * sizeof(Counter) + sizeof(ClientStats::drops_by_reason));
  EXPECT_EQ(sizeof(ServerStats),
            ServerCounters().size() * sizeof(Counter) + ServerGauges().size() * sizeof(Gauge));
  for (int i = 1; i <= kDropReasonMax; ++i) {
    EXPECT_STRNE(NameOf(static_cast<DropReason>(i)), "unknown") << i;
  }
}

TEST_F(MetricsTest, RoutersAreDescribedWhereThereAreAny) {
  EXPECT_FALSE(Described(*server_).fields().contains("routers"));
  ServerOptions options;
  options.router.control = {Address::Sim("router")};
  options.router.join = true;
  server_.reset();
  server_ = Server::Create(*loop_,
                           transport_->OpenDatagramPort({.local = Address::Sim("routed")}).value(),
                           options, [](ServerCall) {})
                .value();
  const Json json = Described(*server_);
  const auto& routers = json.fields().at("routers").list_value();
  ASSERT_EQ(routers.values_size(), 1);
  const Json& router = routers.values(0).struct_value();
  EXPECT_EQ(Text(router, "control"), "sim:router");
  EXPECT_EQ(Text(router, "state"), "joining");
  EXPECT_EQ(Text(router, "feedback"), "batches");
  EXPECT_EQ(Number(router, "keepalive_ms"), 100);
  EXPECT_EQ(Number(router, "entries"), 0);
}

TEST_F(MetricsTest, PrometheusSeesCallsSessionsAndRefusals) {
  MetricRegistry registry;
  const MetricGroup client = RegisterMetrics(registry, *client_, {{"worker", "0"}});
  const MetricGroup server = RegisterMetrics(registry, *server_, {{"worker", "0"}});
  ASSERT_TRUE(client.status().ok()) << client.status();
  ASSERT_TRUE(server.status().ok()) << server.status();
  Call({peer_, peer_, peer_}, 3);
  admits_ = false;
  Call({peer_, peer_}, 2);
  const std::string text = registry.RenderPrometheus();
  for (const char* line : {
           "# TYPE weft_rpc_client_calls_total counter\n",
           "weft_rpc_client_calls_total{worker=\"0\"} 5\n",
           "weft_rpc_client_replies_total{worker=\"0\"} 3\n",
           "weft_rpc_client_drops_total{worker=\"0\"} 2\n",
           "weft_rpc_client_drops_refused_total{worker=\"0\"} 2\n",
           "weft_rpc_client_drops_overloaded_total{worker=\"0\"} 0\n",
           "weft_rpc_client_sessions_opened_total{worker=\"0\"} 1\n",
           "weft_rpc_client_sessions_lost_total{worker=\"0\"} 0\n",
           "weft_rpc_client_retransmissions_total{worker=\"0\"} 0\n",
           "weft_rpc_client_fallbacks_total{worker=\"0\"} 0\n",
           "weft_rpc_server_requests_total{worker=\"0\"} 3\n",
           "weft_rpc_server_refused_by_application_total{worker=\"0\"} 2\n",
           "# TYPE weft_rpc_server_sessions gauge\n",
           "weft_rpc_server_sessions{worker=\"0\"} 1\n",
           "weft_rpc_server_executing{worker=\"0\"} 0\n",
       }) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line << text;
  }
}

TEST_F(MetricsTest, ASessionIsDescribedFromBothSides) {
  Call({peer_, peer_}, 2);
  const Json server = Described(*server_);
  EXPECT_EQ(Text(server, "kind"), "server");
  EXPECT_EQ(Text(server, "address"), "sim:server");
  EXPECT_EQ(Number(server, "sessions_total"), 1);
  ASSERT_EQ(Sessions(server).size(), 1u);
  const Json at_server = Sessions(server)[0];
  EXPECT_EQ(Text(at_server, "peer"), client_->port().local_address().ToString());
  EXPECT_EQ(Number(at_server, "requests"), 2);
  EXPECT_EQ(Number(at_server, "in_flight"), 0);
  EXPECT_EQ(Number(at_server, "slots"), 128);
  EXPECT_EQ(Number(Object(server, "stats"), "replies"), 2);
  EXPECT_EQ(Number(Object(server, "stats"), "sessions"), 1);

  const Json client = Described(*client_);
  EXPECT_EQ(Text(client, "kind"), "client");
  ASSERT_EQ(Sessions(client).size(), 1u);
  const Json at_client = Sessions(client)[0];
  EXPECT_EQ(Text(at_client, "peer"), "sim:server");
  EXPECT_EQ(Text(at_client, "state"), "open");
  EXPECT_EQ(Number(at_client, "requests"), 2);
  EXPECT_NEAR(Number(at_client, "srtt_us"), 20, 5);
  EXPECT_GE(Number(at_client, "rto_us"), 200);
  EXPECT_EQ(Number(at_client, "packet_bytes"), Number(at_server, "packet_bytes"));
  EXPECT_GE(Number(at_client, "window"), 1);
  EXPECT_EQ(Number(Object(client, "drops"), "overloaded"), 0);
  EXPECT_EQ(Number(Object(client, "stats"), "sessions_opened"), 1);
}

TEST_F(MetricsTest, TheBusiestSessionsComeFirstAndAllAreCounted) {
  std::vector<SessionId> sessions;
  for (int i = 0; i < 5; ++i) sessions.push_back(client_->Connect(peer_).value());
  for (int i = 0; i < 5; ++i) {
    Call(std::vector<Target>(static_cast<size_t>(i) + 1, sessions[static_cast<size_t>(i)]),
         static_cast<size_t>(i) + 1);
  }
  holds_ = true;
  Call({sessions[2]}, 0);
  for (const Json& json : {Described(*server_, 3), Described(*client_, 3)}) {
    EXPECT_EQ(Number(json, "sessions_total"), 5);
    const std::vector<Json> listed = Sessions(json);
    ASSERT_EQ(listed.size(), 3u);
    EXPECT_EQ(Number(listed[0], "in_flight"), 1);
    EXPECT_EQ(Number(listed[0], "requests"), 4);
    EXPECT_EQ(Number(listed[1], "requests"), 5);
    EXPECT_EQ(Number(listed[2], "requests"), 4);
  }
  EXPECT_TRUE(Sessions(Described(*server_, 0)).empty());
}

TEST_F(MetricsTest, AServerOfTheOriginalFormatIsSaidToBeOne) {
  // Nobody at that address answers HELLO.
  const auto port = transport_->OpenDatagramPort({.local = Address::Sim("silent")}).value();
  Call({client_->Resolve(Address::Sim("silent")).value()}, 0);
  Call({client_->Resolve(Address::Sim("silent")).value()}, 0);
  EXPECT_EQ(Text(Sessions(Described(*client_))[0], "state"), "original");
  EXPECT_EQ(Number(Object(Described(*client_), "stats"), "fallbacks"), 1);
}

}  // namespace
}  // namespace weft::rpc
