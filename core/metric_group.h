// SPDX-License-Identifier: Apache-2.0
//
// The metrics of one object, registered together: one prefix, the same labels, one status, gone
// together.
//
//   MetricGroup group(registry, "weft_rpc_server_", {{"worker", "0"}});
//   group.Add("requests_total", "Requests handed to the handler.", &stats.requests);
//   group.Add("replies_total", "Replies sent.", &stats.replies);
//   if (!group.status().ok()) return group.status();
#ifndef WEFT_CORE_METRIC_GROUP_H_
#define WEFT_CORE_METRIC_GROUP_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/metrics.h"

namespace weft {

// Movable. Destroy it before the metrics and before the registry. One thread.
class MetricGroup {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  MetricGroup(MetricRegistry& registry, std::string prefix, Labels labels)
      : registry_(&registry), prefix_(std::move(prefix)), labels_(std::move(labels)) {}

  // `metric` is a Counter* or Gauge*, or a Histogram* followed by its unit.
  template <typename Metric, typename... Unit>
  void Add(const char* name, const char* help, const Metric* metric, Unit... unit) {
    Keep(registry_->Register({prefix_ + name, help, labels_}, metric, unit...));
  }
  // The same, left out of what is rendered while it is 0: for one of many that are rarely used.
  void AddUnlessZero(const char* name, const char* help, const Counter* counter) {
    Keep(registry_->Register({prefix_ + name, help, labels_, /*unless_zero=*/true}, counter));
  }

  // Ok, or the first error of Add().
  const absl::Status& status() const { return status_; }

 private:
  void Keep(absl::StatusOr<MetricHandle> handle) {
    if (handle.ok()) {
      handles_.push_back(*std::move(handle));
    } else {
      status_.Update(handle.status());
    }
  }

  MetricRegistry* registry_;
  std::string prefix_;
  Labels labels_;
  std::vector<MetricHandle> handles_;
  absl::Status status_;
};

}  // namespace weft

#endif  // WEFT_CORE_METRIC_GROUP_H_
