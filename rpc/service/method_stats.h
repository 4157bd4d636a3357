// SPDX-License-Identifier: Apache-2.0
//
// What is counted of each method of typed services, on both sides: calls by status, latency, calls
// in flight, bytes, and messages of streams. A worker has one table, which all its channels and
// services share:
//
//   rpc::MethodTable methods;
//   rpc::MethodStats& get = methods.Of(rpc::Side::kServer, "kv.KeyValue/Get");  // once
//   get.OnBegin(request_bytes);                                                 // each call
//   get.OnEnd(absl::StatusCode::kOk, end_ns - begin_ns, response_bytes);
//
//   absl::Status status = methods.Register(worker.metrics(), worker.labels());  // for /metrics
//   worker.Show("rpc", rpc::Description(methods));                              // for /rpc
//
// Prometheus sees, with the labels `method` ("package.Service/Method") and `side` ("client" or
// "server") beside those given:
//   weft_rpc_method_calls_total            calls that ended, by `code` ("OK", "NOT_FOUND", ...);
//                                          codes that never came are left out
//   weft_rpc_method_latency_seconds        histogram
//   weft_rpc_method_in_flight              calls that have begun and not ended
//   weft_rpc_method_{request,response}_bytes_total   of messages, without heads and metadata
//   weft_rpc_method_messages_{in,out}_total          of streams, as this side sees it
//
// Latencies are measured with the loop's clock, which is read once a round: a call that ends in the
// round in which it began has taken 0.
#ifndef WEFT_RPC_SERVICE_METHOD_STATS_H_
#define WEFT_RPC_SERVICE_METHOD_STATS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/core/histogram.h"
#include "weft/core/json_writer.h"
#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"

namespace weft::rpc {

// Of a call: the one that asks or the one that is asked.
enum class Side : uint8_t { kClient, kServer };

const char* NameOf(Side side);  // "client", "server"

// Of one method on one side. The worker's thread writes, any thread reads. About 30 KiB.
struct MethodStats {
  static constexpr size_t kCodes = 17;  // absl::StatusCode

  // Each call that begins ends once. Bytes are those of the message; of a stream, 0 here.
  void OnBegin(size_t bytes) {
    in_flight.Add(1);
    request_bytes.Add(bytes);
  }
  void OnEnd(absl::StatusCode code, int64_t took_ns, size_t bytes) {
    in_flight.Add(-1);
    const auto index = static_cast<size_t>(code);
    calls[index < kCodes ? index : static_cast<size_t>(absl::StatusCode::kUnknown)].Add();
    latency_ns.Record(took_ns);
    response_bytes.Add(bytes);
  }

  // Messages of a stream, several at a time perhaps. In comes a request at the server and a
  // response at the client.
  void OnMessagesIn(size_t messages, size_t bytes) {
    messages_in.Add(messages);
    (side == Side::kServer ? request_bytes : response_bytes).Add(bytes);
  }
  void OnMessagesOut(size_t messages, size_t bytes) {
    messages_out.Add(messages);
    (side == Side::kServer ? response_bytes : request_bytes).Add(bytes);
  }

  // Calls that have ended, with whatever status.
  uint64_t ended() const;

  std::string method;  // "package.Service/Method"
  Side side = Side::kClient;
  Gauge in_flight;
  Counter request_bytes;
  Counter response_bytes;
  Counter messages_in;
  Counter messages_out;
  std::array<Counter, kCodes> calls;  // that have ended, by absl::StatusCode
  Histogram latency_ns;
};

// Used by one thread. Everything that counts into it must be gone before it is.
class MethodTable {
 public:
  static constexpr size_t kMethodsMax = 1024;  // of both sides together

  MethodTable() = default;
  MethodTable(const MethodTable&) = delete;
  MethodTable& operator=(const MethodTable&) = delete;

  // The stats of `method`, which stay where they are; made when they are first asked for. Slow: for
  // set-up. Beyond kMethodsMax, all methods of a side share the stats of "other".
  MethodStats& Of(Side side, absl::string_view method);

  // Shows all methods to Prometheus, also those that are added later, for the life of the table.
  // `registry` must outlive it. Once. The error of a method that cannot be shown, such as one whose
  // labels are taken, is status() as well.
  absl::Status Register(MetricRegistry& registry, MetricGroup::Labels labels);
  // Ok, or the first error of showing a method.
  const absl::Status& status() const { return status_; }

  size_t size() const { return methods_.size(); }
  void ForEach(absl::FunctionRef<void(const MethodStats&)> f) const {
    for (const auto& stats : methods_) f(*stats);
  }

 private:
  void Show(const MethodStats& stats);

  std::vector<std::unique_ptr<MethodStats>> methods_;
  absl::flat_hash_map<std::pair<Side, std::string>, MethodStats*> by_name_;
  MetricRegistry* registry_ = nullptr;
  MetricGroup::Labels labels_;
  std::vector<MetricGroup> shown_;  // last: unregistered before the stats are destroyed
  absl::Status status_;
};

// Writes one object: "kind": "methods"; "methods_total": how many there are; "methods": the
// `methods_max` of them with most calls in flight, then with most calls, each with
//   "method", "side"; "calls": by the name of the status code, those that are not 0; "in_flight",
//   "request_bytes", "response_bytes", "messages_in", "messages_out"; "latency": "count", "sum_ns",
//   "buckets": [upper_ns, count] of each quarter of a power of two in which there are some, upper
//   bound included.
// All numbers count from the start. On the table's thread.
void Describe(const MethodTable& table, size_t methods_max, JsonWriter& json);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_METHOD_STATS_H_
