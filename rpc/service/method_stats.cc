// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/method_stats.h"

#include <algorithm>

namespace weft::rpc {
namespace {

constexpr char kOther[] = "other";
// Sub-buckets of a histogram that are shown as one: four of them make a power of two.
constexpr size_t kShownBuckets = size_t{1} << (HistogramBuckets::kSubBucketBits - 2);
static_assert(HistogramBuckets::kCount % kShownBuckets == 0);

std::string NameOf(size_t code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

void WriteLatency(const HistogramSnapshot& latency, JsonWriter& json) {
  json.Key("latency").BeginObject();
  json.Field("count", latency.count());
  json.Field("sum_ns", latency.sum());
  json.Key("buckets").BeginArray();
  for (size_t begin = 0; begin < HistogramBuckets::kCount; begin += kShownBuckets) {
    uint64_t count = 0;
    for (size_t i = begin; i < begin + kShownBuckets; ++i) count += latency.CountAt(i);
    if (count == 0) continue;
    const size_t last = begin + kShownBuckets - 1;
    json.BeginArray();
    json.Value(HistogramBuckets::LowerBound(last) + (HistogramBuckets::Width(last) - 1));
    json.Value(count);
    json.EndArray();
  }
  json.EndArray();
  json.EndObject();
}

void Write(const MethodStats& stats, JsonWriter& json) {
  json.BeginObject();
  json.Field("method", stats.method);
  json.Field("side", NameOf(stats.side));
  json.Key("calls").BeginObject();
  for (size_t code = 0; code < MethodStats::kCodes; ++code) {
    if (stats.calls[code] != 0) json.Field(NameOf(code), stats.calls[code].value());
  }
  json.EndObject();
  json.Field("in_flight", stats.in_flight.value());
  json.Field("request_bytes", stats.request_bytes.value());
  json.Field("response_bytes", stats.response_bytes.value());
  json.Field("messages_in", stats.messages_in.value());
  json.Field("messages_out", stats.messages_out.value());
  WriteLatency(stats.latency_ns.Snapshot(), json);
  json.EndObject();
}

}  // namespace

const char* NameOf(Side side) { return side == Side::kClient ? "client" : "server"; }

uint64_t MethodStats::ended() const {
  uint64_t sum = 0;
  for (const Counter& count : calls) sum += count;
  return sum;
}

MethodStats& MethodTable::Of(Side side, absl::string_view method) {
  std::pair<Side, std::string> key(side, method);
  if (const auto found = by_name_.find(key); found != by_name_.end()) return *found->second;
  // Two places are left for the others of both sides.
  if (methods_.size() >= kMethodsMax - 2 && method != kOther) return Of(side, kOther);
  MethodStats& stats = *methods_.emplace_back(std::make_unique<MethodStats>());
  stats.method = std::string(method);
  stats.side = side;
  by_name_.emplace(std::move(key), &stats);
  if (registry_ != nullptr) Show(stats);
  return stats;
}

absl::Status MethodTable::Register(MetricRegistry& registry, MetricGroup::Labels labels) {
  if (registry_ != nullptr) return absl::FailedPreconditionError("methods are shown already");
  registry_ = &registry;
  labels_ = std::move(labels);
  for (const auto& stats : methods_) Show(*stats);
  return status_;
}

void MethodTable::Show(const MethodStats& stats) {
  MetricGroup::Labels labels = labels_;
  labels.emplace_back("method", stats.method);
  labels.emplace_back("side", NameOf(stats.side));
  MetricGroup& group = shown_.emplace_back(*registry_, "weft_rpc_method_", labels);
  group.Add("latency_seconds", "Time that calls took.", &stats.latency_ns,
            HistogramUnit::kNanoseconds);
  group.Add("in_flight", "Calls that have begun and not ended.", &stats.in_flight);
  group.Add("request_bytes_total", "Bytes of request messages.", &stats.request_bytes);
  group.Add("response_bytes_total", "Bytes of response messages.", &stats.response_bytes);
  group.Add("messages_in_total", "Messages of streams that came.", &stats.messages_in);
  group.Add("messages_out_total", "Messages of streams that went.", &stats.messages_out);
  status_.Update(group.status());
  for (size_t code = 0; code < MethodStats::kCodes; ++code) {
    MetricGroup::Labels with_code = labels;
    with_code.emplace_back("code", NameOf(code));
    MetricGroup& calls = shown_.emplace_back(*registry_, "weft_rpc_method_", std::move(with_code));
    calls.AddUnlessZero("calls_total", "Calls that ended, by status.", &stats.calls[code]);
    status_.Update(calls.status());
  }
}

void Describe(const MethodTable& table, size_t methods_max, JsonWriter& json) {
  std::vector<const MethodStats*> methods;
  table.ForEach([&methods](const MethodStats& stats) { methods.push_back(&stats); });
  const size_t shown = std::min(methods_max, methods.size());
  std::partial_sort(methods.begin(), methods.begin() + static_cast<ptrdiff_t>(shown), methods.end(),
                    [](const MethodStats* a, const MethodStats* b) {
                      return std::pair(a->in_flight.value(), a->ended()) >
                             std::pair(b->in_flight.value(), b->ended());
                    });
  json.BeginObject();
  json.Field("kind", "methods");
  json.Field("methods_total", methods.size());
  json.Key("methods").BeginArray();
  for (size_t i = 0; i < shown; ++i) Write(*methods[i], json);
  json.EndArray();
  json.EndObject();
}

}  // namespace weft::rpc
