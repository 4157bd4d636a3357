// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/method_stats.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weft::rpc {
namespace {

using Json = google::protobuf::Struct;

Json Described(const MethodTable& table, size_t methods_max = 20) {
  JsonWriter json;
  Describe(table, methods_max, json);
  Json parsed;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json.text(), &parsed).ok());
  return parsed;
}

// The value of the sample whose name and labels are `sample`; "" if it is not there.
std::string ValueOf(const MetricRegistry& registry, const std::string& sample) {
  for (const absl::string_view line : absl::StrSplit(registry.RenderPrometheus(), '\n')) {
    if (absl::StartsWith(line, sample + " ")) return std::string(line.substr(sample.size() + 1));
  }
  return "";
}

TEST(MethodStatsTest, CountsWhatACallDoes) {
  MethodTable table;
  MethodStats& get = table.Of(Side::kServer, "kv.KeyValue/Get");
  get.OnBegin(10);
  get.OnBegin(20);
  get.OnEnd(absl::StatusCode::kOk, 1000, 300);
  EXPECT_EQ(get.in_flight.value(), 1);
  EXPECT_EQ(get.request_bytes, 30u);
  EXPECT_EQ(get.response_bytes, 300u);
  get.OnEnd(absl::StatusCode::kNotFound, 5000, 0);
  get.OnBegin(0);
  get.OnEnd(static_cast<absl::StatusCode>(99), 0, 0);
  EXPECT_EQ(get.calls[static_cast<size_t>(absl::StatusCode::kOk)], 1u);
  EXPECT_EQ(get.calls[static_cast<size_t>(absl::StatusCode::kNotFound)], 1u);
  EXPECT_EQ(get.calls[static_cast<size_t>(absl::StatusCode::kUnknown)], 1u) << "no such code";
  EXPECT_EQ(get.ended(), 3u);
  EXPECT_EQ(get.in_flight.value(), 0);
  EXPECT_EQ(get.latency_ns.Snapshot().max(), 5000);
}

TEST(MethodStatsTest, MessagesOfAStreamAreRequestsOneWayAndResponsesTheOther) {
  MethodTable table;
  MethodStats& server = table.Of(Side::kServer, "kv.KeyValue/Watch");
  server.OnMessagesIn(3, 30);
  server.OnMessagesOut(5, 500);
  EXPECT_EQ(server.request_bytes, 30u);
  EXPECT_EQ(server.response_bytes, 500u);
  MethodStats& client = table.Of(Side::kClient, "kv.KeyValue/Watch");
  client.OnMessagesIn(5, 500);
  client.OnMessagesOut(3, 30);
  EXPECT_EQ(client.request_bytes, 30u);
  EXPECT_EQ(client.response_bytes, 500u);
  EXPECT_EQ(client.messages_in, 5u);
  EXPECT_EQ(client.messages_out, 3u);
}

TEST(MethodTableTest, AMethodHasOneEntryASide) {
  MethodTable table;
  MethodStats& server = table.Of(Side::kServer, "a.B/C");
  EXPECT_EQ(&table.Of(Side::kServer, "a.B/C"), &server);
  EXPECT_NE(&table.Of(Side::kClient, "a.B/C"), &server);
  EXPECT_EQ(table.size(), 2u);
}

TEST(MethodTableTest, MethodsBeyondTheLimitShareOneEntryASide) {
  MethodTable table;
  for (size_t i = 0; i < MethodTable::kMethodsMax + 10; ++i) {
    table.Of(Side::kClient, absl::StrCat("a.B/", i));
    table.Of(Side::kServer, absl::StrCat("a.B/", i));
  }
  EXPECT_EQ(table.size(), MethodTable::kMethodsMax);
  EXPECT_EQ(&table.Of(Side::kClient, "a.B/new"), &table.Of(Side::kClient, "other"));
  EXPECT_EQ(&table.Of(Side::kServer, "a.B/new"), &table.Of(Side::kServer, "other"));
  EXPECT_EQ(table.Of(Side::kServer, "a.B/0").method, "a.B/0") << "known ones stay";
}

TEST(MethodTableTest, PrometheusSeesMethodsThatCameBeforeAndAfter) {
  MetricRegistry registry;
  {
    MethodTable table;
    MethodStats& get = table.Of(Side::kServer, "kv.KeyValue/Get");
    ASSERT_TRUE(table.Register(registry, {{"worker", "0"}}).ok());
    EXPECT_FALSE(table.Register(registry, {{"worker", "0"}}).ok()) << "once";
    MethodStats& put = table.Of(Side::kClient, "kv.KeyValue/Put");
    get.OnBegin(7);
    get.OnEnd(absl::StatusCode::kOk, 1000, 9);
    put.OnBegin(8);
    const std::string get_labels = "method=\"kv.KeyValue/Get\",side=\"server\",worker=\"0\"}";
    const std::string put_labels = "method=\"kv.KeyValue/Put\",side=\"client\",worker=\"0\"}";
    EXPECT_EQ(ValueOf(registry, "weft_rpc_method_calls_total{code=\"OK\"," + get_labels), "1");
    EXPECT_EQ(ValueOf(registry, "weft_rpc_method_calls_total{code=\"ABORTED\"," + get_labels), "")
        << "never came";
    EXPECT_EQ(ValueOf(registry, "weft_rpc_method_request_bytes_total{" + get_labels), "7");
    EXPECT_EQ(ValueOf(registry, "weft_rpc_method_response_bytes_total{" + get_labels), "9");
    EXPECT_EQ(ValueOf(registry, "weft_rpc_method_latency_seconds_count{" + get_labels), "1");
    EXPECT_EQ(ValueOf(registry, "weft_rpc_method_in_flight{" + put_labels), "1");
  }
  EXPECT_EQ(registry.RenderPrometheus(), "") << "goes with the table";
}

TEST(MethodTableTest, AMethodThatCannotBeShownIsAnErrorAndCountsAllTheSame) {
  MetricRegistry registry;
  MethodTable table;
  ASSERT_TRUE(table.Register(registry, {}).ok());
  MethodStats& stats = table.Of(Side::kServer, "a.B/\xff");
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  stats.OnBegin(1);
  EXPECT_EQ(stats.in_flight.value(), 1);
}

TEST(MethodTableTest, JsonHasTheBusiestFirst) {
  MethodTable table;
  table.Of(Side::kServer, "a.B/Idle");
  MethodStats& often = table.Of(Side::kServer, "a.B/Often");
  MethodStats& busy = table.Of(Side::kClient, "a.B/Busy");
  for (int i = 0; i < 3; ++i) {
    often.OnBegin(1);
    often.OnEnd(i == 0 ? absl::StatusCode::kNotFound : absl::StatusCode::kOk, 100 << i, 2);
  }
  busy.OnBegin(5);
  Json json = Described(table);
  EXPECT_EQ(json.fields().at("kind").string_value(), "methods");
  EXPECT_EQ(json.fields().at("methods_total").number_value(), 3);
  const auto& methods = json.fields().at("methods").list_value();
  ASSERT_EQ(methods.values_size(), 3);
  EXPECT_EQ(methods.values(0).struct_value().fields().at("method").string_value(), "a.B/Busy");
  EXPECT_EQ(methods.values(0).struct_value().fields().at("side").string_value(), "client");
  EXPECT_EQ(methods.values(0).struct_value().fields().at("in_flight").number_value(), 1);
  const Json& second = methods.values(1).struct_value();
  EXPECT_EQ(second.fields().at("method").string_value(), "a.B/Often");
  EXPECT_EQ(second.fields().at("calls").struct_value().fields_size(), 2);
  EXPECT_EQ(second.fields().at("calls").struct_value().fields().at("OK").number_value(), 2);
  EXPECT_EQ(second.fields().at("calls").struct_value().fields().at("NOT_FOUND").number_value(), 1);
  EXPECT_EQ(second.fields().at("response_bytes").number_value(), 6);
  const Json& latency = second.fields().at("latency").struct_value();
  EXPECT_EQ(latency.fields().at("count").number_value(), 3);
  EXPECT_EQ(latency.fields().at("sum_ns").number_value(), 700);
  const auto& buckets = latency.fields().at("buckets").list_value();
  ASSERT_EQ(buckets.values_size(), 3);
  // 100 is in 96 to 111, 200 in 192 to 223, 400 in 384 to 447.
  const double upper[] = {111, 223, 447};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(buckets.values(i).list_value().values(0).number_value(), upper[i]);
    EXPECT_EQ(buckets.values(i).list_value().values(1).number_value(), 1);
  }
  EXPECT_EQ(Described(table, 1).fields().at("methods").list_value().values_size(), 1);
}

}  // namespace
}  // namespace weft::rpc
