// SPDX-License-Identifier: Apache-2.0
//
// Decides which calls of one thread are traced, and hands their spans to a SpanWriter.
//
//   rpc::Span* span = tracer.Begin(rpc::Span::Kind::kClient, parent, "kv.KeyValue/Get");
//   ... span == nullptr ? nothing : span->context is sent with the request ...
//   if (span != nullptr) tracer.End(span, status);
//
// Channels and services do this; programs give them the tracer (call_observers.h), and a parent
// where a trace comes from elsewhere (ClientContext::set_trace()).
//
// A call that belongs to a trace is traced if its parent says so. One without a parent is the root
// of a trace with the probability `sample_ratio`; if it is not, nothing is sent with it, and its
// server decides for itself.
//
// A call that is not traced costs a decrement: how many roots are left out before the next one that
// is traced is drawn beforehand. One that is traced takes two readings of the clock and a copy of
// the span; nothing is allocated, once as many were traced at the same time before.
#ifndef WEFT_RPC_TRACE_TRACER_H_
#define WEFT_RPC_TRACE_TRACER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/core/clock.h"
#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"
#include "weft/core/prng.h"
#include "weft/rpc/trace/span.h"
#include "weft/rpc/trace/span_writer.h"
#include "weft/rpc/trace/trace_parent.h"

namespace weft::rpc {

struct TracerOptions {
  double sample_ratio = 0.01;  // of the calls without a parent, 0 to 1
  // Makes decisions and ids foreseeable, so that a simulation can be repeated; none: random.
  std::optional<uint64_t> seed = std::nullopt;
};

// Used by one thread. Calls that are traced must have ended before it is destroyed.
class Tracer {
 public:
  // `clock` is the loop's and must outlive the tracer.
  Tracer(std::shared_ptr<SpanWriter> writer, const Clock& clock, const TracerOptions& options);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // Null if the call is not traced. `parent`: what the call belongs to, null for nothing. `method`
  // lives as long as the program. A span is ended once, by End().
  Span* Begin(Span::Kind kind, const TraceParent* parent, absl::string_view method) {
    const bool sampled =
        parent != nullptr ? (parent->flags & kTraceSampled) != 0 : --until_root_ == 0;
    if (!sampled) [[likely]]
      return nullptr;
    return BeginSampled(kind, parent, method);
  }

  // Now, with the status of the call. Its memory is used again.
  void End(Span* span, const absl::Status& status);

  // What was handed to the writer, and what did not fit into its queue.
  const Counter& spans() const { return queue_->queued; }
  const Counter& dropped() const { return queue_->dropped; }

 private:
  Span* BeginSampled(Span::Kind kind, const TraceParent* parent, absl::string_view method);
  void DrawNextRoot();
  uint64_t NonZero();

  const std::shared_ptr<SpanWriter> writer_;
  const std::shared_ptr<SpanQueue> queue_;
  const Clock& clock_;
  const double sample_ratio_;
  Prng random_;
  uint64_t until_root_ = 0;  // calls without a parent until one is traced, that one included
  std::vector<std::unique_ptr<Span>> all_;
  std::vector<Span*> free_;
};

// Shows what a tracer counts as weft_rpc_trace_*. The group must be destroyed before the tracer.
MetricGroup RegisterMetrics(MetricRegistry& registry, const Tracer& tracer,
                            MetricGroup::Labels labels);

}  // namespace weft::rpc

#endif  // WEFT_RPC_TRACE_TRACER_H_
