// SPDX-License-Identifier: Apache-2.0
#include "weft/core/metric_samples.h"

#include <utility>

#include "absl/status/statusor.h"

namespace weft {

std::string RenderPrometheus(absl::Span<const MetricSample> samples) {
  MetricRegistry registry(samples.size());
  std::vector<MetricHandle> handles;
  for (const MetricSample& sample : samples) {
    absl::StatusOr<MetricHandle> handle = registry.RegisterCallback(
        sample.info, sample.type, [value = sample.value] { return value; });
    if (handle.ok()) handles.push_back(*std::move(handle));
  }
  return registry.RenderPrometheus();
}

}  // namespace weft
