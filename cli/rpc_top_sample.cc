// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/rpc_top_sample.h"

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "weft/cli/host_json.h"
#include "weft/core/clock.h"

namespace weft::cli {
namespace {

std::optional<double> KnownNumber(const JsonObject& object, const std::string& name) {
  const auto found = object.fields().find(name);
  if (found == object.fields().end()) return std::nullopt;
  return found->second.number_value();
}

double SumOf(const JsonObject& stats, absl::Span<const char* const> names) {
  double sum = 0;
  for (const char* name : names) sum += NumberOf(stats, name);
  return sum;
}

void AddMethod(const JsonObject& told, TopSample& sample) {
  const std::string name = TextOf(told, "method");
  const std::string side = TextOf(told, "side");
  TopMethod& method = sample.methods[absl::StrCat(side, "/", name)];
  method.method = name;
  method.side = side;
  for (const auto& [status, count] : ObjectOf(told, "calls").fields()) {
    method.calls += count.number_value();
    if (status == "OK") continue;
    method.errors += count.number_value();
    sample.failed += count.number_value();
  }
  method.in_flight += NumberOf(told, "in_flight");
  for (const auto& bucket : ListOf(ObjectOf(told, "latency"), "buckets").values()) {
    const auto& pair = bucket.list_value();
    if (pair.values_size() != 2) continue;
    method.buckets[pair.values(0).number_value()] += pair.values(1).number_value();
  }
}

void AddSession(const JsonObject& told, const std::string& kind, const std::string& worker,
                const std::string& key, TopSample& sample) {
  const std::string address = TextOf(told, "peer");
  const std::string identity = TextOf(told, "identity");
  sample.sessions[absl::StrCat(key, "/", Whole(NumberOf(told, "session")), "/", address)] = {
      .peer = identity.empty() ? address : absl::StrCat(identity, " (", address, ")"),
      .kind = kind,
      .worker = worker,
      .state = TextOf(told, "state"),
      .requests = NumberOf(told, "requests"),
      .in_flight = NumberOf(told, "in_flight"),
      .age_ms = NumberOf(told, "age_ms"),
      .srtt_us = KnownNumber(told, "srtt_us"),
      .retransmissions = KnownNumber(told, "retransmissions"),
      .credits = KnownNumber(told, "credits"),
      .window = KnownNumber(told, "window")};
}

// A server, a client, or a table of methods.
void AddItem(const JsonObject& item, const std::string& worker, const std::string& key,
             TopSample& sample) {
  for (const auto& method : ListOf(item, "methods").values()) {
    AddMethod(method.struct_value(), sample);
  }
  const std::string kind = TextOf(item, "kind");
  const JsonObject& stats = ObjectOf(item, "stats");
  if (kind == "server") {
    sample.served += NumberOf(stats, "requests");
    sample.failed += SumOf(stats, {"refused", "unanswered", "cancelled", "deadlines"});
    sample.in_flight += NumberOf(stats, "executing");
  } else if (kind == "client") {
    sample.called += NumberOf(stats, "calls");
    sample.failed += SumOf(stats, {"timeouts", "drops", "failures"});
  } else {
    return;
  }
  sample.sessions_total += NumberOf(item, "sessions_total");
  for (const auto& session : ListOf(item, "sessions").values()) {
    AddSession(session.struct_value(), kind, worker, key, sample);
    if (kind == "client") sample.in_flight += NumberOf(session.struct_value(), "in_flight");
  }
}

}  // namespace

absl::StatusOr<TopSample> ParseTopSample(const std::string& host, const std::string& rpc,
                                         int64_t at_ns) {
  const auto host_json = ParseJson(host);
  if (!host_json.ok()) return host_json.status();
  const auto rpc_json = ParseJson(rpc);
  if (!rpc_json.ok()) return rpc_json.status();

  const JsonObject& program = host_json->struct_value();
  TopSample sample = {.at_ns = at_ns,
                      .program = TextOf(program, "program"),
                      .transport = TextOf(program, "transport"),
                      .state = TextOf(program, "state"),
                      .pid = NumberOf(program, "pid"),
                      .uptime_ms = NumberOf(program, "uptime_ms"),
                      .workers = NumberOf(program, "workers"),
                      .silent = {},
                      .methods = {},
                      .sessions = {}};
  for (const auto& value : rpc_json->list_value().values()) {
    const JsonObject& worker = value.struct_value();
    const std::string number = Whole(NumberOf(worker, "worker"));
    if (const std::string error = TextOf(worker, "error"); !error.empty()) {
      sample.silent.push_back(absl::StrCat("worker ", number, " ", error));
    }
    int place = 0;
    for (const auto& item : ListOf(worker, "items").values()) {
      AddItem(item.struct_value(), number, absl::StrCat(number, "/", place++), sample);
    }
  }
  return sample;
}

absl::StatusOr<TopSample> FetchTopSample(const std::string& address, uint64_t sessions_max) {
  const auto host = Ask(address, "/host");
  if (!host.ok()) return host.status();
  const auto rpc = Ask(address, absl::StrCat("/rpc?limit=", sessions_max));
  if (!rpc.ok()) return rpc.status();
  return ParseTopSample(*host, *rpc, MonotonicClock().NowNs());
}

}  // namespace weft::cli
