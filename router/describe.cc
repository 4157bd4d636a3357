// SPDX-License-Identifier: Apache-2.0
//
// What a router shows of itself: pages and metrics.
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/router/counters.h"
#include "weft/router/router.h"

namespace weft::router {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

template <typename Stats>
void WriteStats(const Stats& stats, absl::Span<const Named<Stats>> counters, JsonWriter& json) {
  for (const Named<Stats>& counter : counters) {
    json.Field(counter.name, (stats.*counter.metric).value());
  }
}

template <typename Stats>
void AddMetrics(const Stats& stats, absl::Span<const Named<Stats>> counters,
                absl::Span<const Named<Stats, Gauge>> gauges, MetricGroup& group) {
  for (const Named<Stats>& counter : counters) {
    group.Add(absl::StrCat(counter.name, "_total").c_str(), counter.help, &(stats.*counter.metric));
  }
  for (const Named<Stats, Gauge>& gauge : gauges) {
    group.Add(gauge.name, gauge.help, &(stats.*gauge.metric));
  }
}

// `judges`: this worker is the one that watches who is alive.
void Write(const Member& member, const Dispatcher& dispatcher, bool judges, int64_t now_ns,
           JsonWriter& json) {
  const r2p2::ServerSet& servers = dispatcher.servers();
  json.BeginObject();
  json.Field("address", member.server.address.ToString());
  json.Field("state", NameOf(member.state));
  if (judges) json.Field("origin", member.configured ? "configured" : "joined");
  json.Field("slots", servers.slots(member.index));
  json.Field("weight", servers.weight(member.index));
  json.Field("outstanding", servers.outstanding(member.index));
  json.Field("forwarded", member.forwarded);
  json.Field("feedbacks", member.feedbacks);
  json.Field("requests_per_s", member.rates.requests_per_s());
  if (member.rates.service_us() > 0) json.Field("service_us", member.rates.service_us());
  if (judges) {
    json.Field("keepalive_ms", member.life.keepalive_ns / kNsPerMs);
    json.Field("silent_ms", (now_ns - member.life.heard_ns) / kNsPerMs);
  }
  json.EndObject();
}

void WriteQueue(const Dispatcher& dispatcher, const RouterOptions& options, JsonWriter& json) {
  json.BeginObject();
  json.Field("length", dispatcher.queue_length());
  json.Field("max", options.queue_max);
  const HistogramSnapshot waits = dispatcher.stats().waits_ns.Snapshot();
  json.Field("wait_p50_us", static_cast<double>(waits.Percentile(50)) / 1e3);
  json.Field("wait_p99_us", static_cast<double>(waits.Percentile(99)) / 1e3);
  json.Key("tenants").BeginArray();
  for (size_t i = 0; i < options.tenants.size(); ++i) {
    json.BeginObject();
    json.Field("name", options.tenants[i].name);
    json.Field("weight", options.tenants[i].weight);
    json.Field("length", dispatcher.queue_length(i));
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

}  // namespace

void Router::Describe(JsonWriter& json, size_t servers_max) const {
  json.BeginObject();
  json.Field("kind", "router");
  json.Field("worker", worker_);
  json.Field("address", listen_->local_address().ToString());
  json.Field("control", options_.control.ToString());
  json.Field("policy", dispatcher_->policy());
  json.Field("forwarding", keeps_source() ? "KEEP_SOURCE" : "ADDRESS_IN_HEADER");
  json.Field("outstanding", dispatcher_->servers().outstanding());
  json.Key("queue");
  WriteQueue(*dispatcher_, options_, json);
  json.Key("servers").BeginArray();
  const bool judges = group_ == nullptr || worker_ == 0;
  ForEachMember([&](const Member& member) {
    if (servers_max == 0) return;
    --servers_max;
    Write(member, *dispatcher_, judges, loop_.now_ns(), json);
  });
  json.EndArray();
  json.Field("servers_total", members_->size());
  json.Key("stats").BeginObject();
  WriteStats(stats_, RouterCounters(), json);
  WriteStats(dispatcher_->stats(), DispatcherCounters(), json);
  json.EndObject();
  json.EndObject();
}

std::function<void(size_t, JsonWriter&)> Router::Description() const {
  return [this](size_t limit, JsonWriter& json) { Describe(json, limit); };
}

void Router::ForEachMember(absl::FunctionRef<void(const Member&)> f) const {
  std::as_const(*members_).ForEach(f);
}

MetricGroup RegisterMetrics(MetricRegistry& registry, const Router& router,
                            MetricGroup::Labels labels) {
  MetricGroup group(registry, "weft_router_", std::move(labels));
  AddMetrics(router.stats(), RouterCounters(), RouterGauges(), group);
  const DispatcherStats& stats = router.dispatcher().stats();
  AddMetrics(stats, DispatcherCounters(), DispatcherGauges(), group);
  group.Add("wait_seconds", "How long requests waited that had to.", &stats.waits_ns,
            HistogramUnit::kNanoseconds);
  return group;
}

}  // namespace weft::router
