// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/trace/tracer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/random/random.h"

namespace weft::rpc {
namespace {

uint64_t RandomSeed() { return absl::Uniform<uint64_t>(absl::BitGen()); }

}  // namespace

Tracer::Tracer(std::shared_ptr<SpanWriter> writer, const Clock& clock, const TracerOptions& options)
    : writer_(std::move(writer)),
      queue_(writer_->AddQueue()),
      clock_(clock),
      sample_ratio_(options.sample_ratio),
      random_(options.seed.has_value() ? *options.seed : RandomSeed()) {
  DrawNextRoot();
}

Tracer::~Tracer() { queue_->closed.store(true, std::memory_order_release); }

// The distance between independent events of that probability: geometrically distributed.
void Tracer::DrawNextRoot() {
  constexpr double kNever = 0x1p63;
  double distance = 1;
  if (sample_ratio_ <= 0) {
    distance = kNever;
  } else if (sample_ratio_ < 1) {
    distance += std::floor(std::log1p(-random_.Unit()) / std::log1p(-sample_ratio_));
  }
  until_root_ = static_cast<uint64_t>(std::min(distance, kNever));
}

uint64_t Tracer::NonZero() {
  const uint64_t random = random_.Next();
  return random != 0 ? random : 1;
}

Span* Tracer::BeginSampled(Span::Kind kind, const TraceParent* parent, absl::string_view method) {
  if (free_.empty()) {
    free_.reserve(all_.size() + 1);
    free_.push_back(all_.emplace_back(std::make_unique<Span>()).get());
  }
  Span& span = *free_.back();
  free_.pop_back();
  span = Span();
  span.kind = kind;
  span.method = method;
  if (parent != nullptr) {
    span.context = *parent;
    span.parent_id = parent->span_id;
  } else {
    const uint64_t trace_id[] = {NonZero(), NonZero()};
    std::memcpy(span.context.trace_id.data(), trace_id, sizeof(trace_id));
    span.context.flags = kTraceSampled;
    DrawNextRoot();
  }
  const uint64_t span_id = NonZero();
  std::memcpy(span.context.span_id.data(), &span_id, sizeof(span_id));
  span.begin_ns = clock_.NowNs();
  return &span;
}

void Tracer::End(Span* span, const absl::Status& status) {
  span->end_ns = clock_.NowNs();
  span->code = status.code();
  span->message.Set(status.message());
  if (queue_->ring.producer().TryPush(*span)) {
    ++queue_->queued;
  } else {
    ++queue_->dropped;
  }
  free_.push_back(span);
}

MetricGroup RegisterMetrics(MetricRegistry& registry, const Tracer& tracer,
                            MetricGroup::Labels labels) {
  MetricGroup group(registry, "weft_rpc_trace_", std::move(labels));
  group.Add("spans_total", "Spans of calls that were handed to the writer.", &tracer.spans());
  group.Add("spans_dropped_total", "Spans that found its queue full.", &tracer.dropped());
  return group;
}

}  // namespace weft::rpc
