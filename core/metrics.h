// SPDX-License-Identifier: Apache-2.0
//
// Counters, gauges and a registry that shows them to Prometheus.
//
// A metric is a plain member of the object that it describes and costs a plain load and store to
// change; the registry only points at it. Threads do not share metrics: each worker has its own and
// registers it with a label of its own.
//
//   struct Stats { Counter requests; Histogram latency; } stats;
//   auto handle = registry.Register(
//       {"weft_rpc_requests_total", "Requests answered.", {{"worker", "0"}}}, &stats.requests);
//   if (!handle.ok()) return handle.status();
//   stats.requests.Add();                       // on the worker
//   std::string text = registry.RenderPrometheus();  // on the thread that serves /metrics

#ifndef WEFT_CORE_METRICS_H_
#define WEFT_CORE_METRICS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/core/histogram.h"

namespace weft {

// A count that only grows; used like an integer. One thread writes, any thread reads. A copy is a
// count of its own.
class Counter {
 public:
  Counter() = default;
  Counter(const Counter& other) : value_(other.value()) {}
  Counter& operator=(const Counter& other) {
    value_.store(other.value(), std::memory_order_relaxed);
    return *this;
  }

  // Not a read-modify-write: with one writer a load and a store are enough, and need no bus lock.
  void Add(uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  Counter& operator++() { return *this += 1; }
  Counter& operator+=(uint64_t n) {
    Add(n);
    return *this;
  }

  uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  operator uint64_t() const { return value(); }  // NOLINT(google-explicit-constructor)

 private:
  std::atomic<uint64_t> value_{0};
};

// A value that goes up and down. One thread writes, any thread reads.
class Gauge {
 public:
  Gauge() = default;
  Gauge(const Gauge&) = delete;
  Gauge& operator=(const Gauge&) = delete;

  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Add(int64_t n) { Set(value() + n); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// What a metric is called. `name` matches [a-zA-Z_:][a-zA-Z0-9_:]*, label names
// [a-zA-Z_][a-zA-Z0-9_]* and not "__*"; help and label values are any UTF-8. No text is longer than
// 1024 bytes; at most 16 labels.
struct MetricInfo {
  std::string name;
  std::string help;
  std::vector<std::pair<std::string, std::string>> labels = {};
  // Of a counter: it is not rendered while it is 0, as one of many that are rarely used.
  bool unless_zero = false;
};

enum class MetricType { kCounter, kGauge, kHistogram };

// What the values of a histogram are, which fixes its exported buckets.
enum class HistogramUnit {
  kNanoseconds,  // exported in seconds (name it *_seconds), buckets from 256 ns to 17 s
  kPlain,        // exported as they are, buckets from 1 to 2^26
};

class MetricRegistry;

// Keeps a metric registered; unregisters it when destroyed. After that the registry no longer
// touches the metric. Destroy it before the metric and before the registry. Movable, may be empty.
class [[nodiscard]] MetricHandle {
 public:
  MetricHandle() = default;
  MetricHandle(MetricHandle&& other) noexcept { *this = std::move(other); }
  MetricHandle& operator=(MetricHandle&& other) noexcept;
  ~MetricHandle() { Reset(); }

  void Reset();

 private:
  friend class MetricRegistry;
  MetricHandle(MetricRegistry* registry, std::string family, std::string labels)
      : registry_(registry), family_(std::move(family)), labels_(std::move(labels)) {}

  MetricRegistry* registry_ = nullptr;
  std::string family_;
  std::string labels_;
};

// Thread-safe. Metrics of one name form a family, which has one type and one help text; within it
// the labels differ.
class MetricRegistry {
 public:
  static constexpr size_t kDefaultMaxMetrics = 4096;

  explicit MetricRegistry(size_t max_metrics = kDefaultMaxMetrics) : max_metrics_(max_metrics) {}
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;
  ~MetricRegistry();

  // The metric must outlive the handle. Errors: InvalidArgument (a name, label or text that
  // Prometheus would refuse), AlreadyExists (same name and labels), FailedPrecondition (the name
  // belongs to a family of another type or help, or to a sample of a histogram), ResourceExhausted
  // (`max_metrics` are registered).
  absl::StatusOr<MetricHandle> Register(MetricInfo info, const Counter* counter);
  absl::StatusOr<MetricHandle> Register(MetricInfo info, const Gauge* gauge);
  absl::StatusOr<MetricHandle> Register(MetricInfo info, const Histogram* histogram,
                                        HistogramUnit unit);

  // A counter or gauge whose value is computed when it is read. `read` is called with the registry
  // locked, on the thread that renders: it must be safe there and must not use the registry.
  absl::StatusOr<MetricHandle> RegisterCallback(MetricInfo info, MetricType type,
                                                std::function<double()> read);

  // Everything, in Prometheus' text exposition format 0.0.4, sorted by name and labels. Histograms
  // are rendered as cumulative buckets rather than as a summary: buckets of several workers and
  // machines can be added up, and their rate gives the percentiles of the last minutes, where a
  // summary's would cover all time and never recover.
  std::string RenderPrometheus() const;

  // The Content-Type of that text.
  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  friend class MetricHandle;

  struct CounterSource {
    const Counter* counter;
    bool unless_zero;
  };
  struct HistogramSource {
    const Histogram* histogram;
    HistogramUnit unit;
  };
  using Source =
      std::variant<CounterSource, const Gauge*, HistogramSource, std::function<double()>>;
  struct Family {
    MetricType type;
    std::string help;
    std::map<std::string, Source> by_labels;  // keyed by the labels as rendered
  };

  absl::StatusOr<MetricHandle> Insert(MetricInfo info, MetricType type, const Source& source);
  absl::Status CheckFamilyLocked(const MetricInfo& info, MetricType type) const;
  void Remove(const std::string& family, const std::string& labels);
  static void RenderSample(const std::string& name, const std::string& labels, const Source& source,
                           std::string* out);
  static void RenderHistogram(const std::string& name, const std::string& labels,
                              const HistogramSource& source, std::string* out);

  const size_t max_metrics_;
  mutable std::mutex mutex_;  // guards everything below
  std::map<std::string, Family> families_;
  size_t metrics_ = 0;
};

}  // namespace weft

#endif  // WEFT_CORE_METRICS_H_
