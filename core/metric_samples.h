// SPDX-License-Identifier: Apache-2.0
//
// Metrics that are computed when somebody asks, of things that come and go, such as peers: what
// would be too many, or too short-lived, to be registered one by one (metrics.h).
//
//   MetricSampler sampler = [&server](size_t limit, std::vector<MetricSample>* samples) {
//     samples->push_back({{"weft_rpc_server_peer_requests", "...", {{"peer", name}}},
//                         MetricType::kCounter, count});
//   };
//   worker.Sample(sampler);                        // weft/host/worker.h
//
//   std::string text = RenderPrometheus(samples);  // what a host does
#ifndef WEFT_CORE_METRIC_SAMPLES_H_
#define WEFT_CORE_METRIC_SAMPLES_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/metrics.h"

namespace weft {

// Value of one metric, a counter or a gauge, at one moment.
struct MetricSample {
  MetricInfo info;
  MetricType type = MetricType::kGauge;
  double value = 0;
};

// Appends the metrics of at most `limit` of the things that it knows.
using MetricSampler = std::function<void(size_t limit, std::vector<MetricSample>* samples)>;

// In the same form as MetricRegistry::RenderPrometheus(), whose text it may follow if no metric has
// the same name. Samples that the registry would refuse, such as the second one of a name and
// labels, are left out.
std::string RenderPrometheus(absl::Span<const MetricSample> samples);

}  // namespace weft

#endif  // WEFT_CORE_METRIC_SAMPLES_H_
