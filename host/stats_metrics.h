// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_HOST_STATS_METRICS_H_
#define WEFT_HOST_STATS_METRICS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/transports/port.h"

namespace weft {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Shows plain statistics, which only their thread may read, to a registry: copies them into
// counters whenever that thread calls Publish().
template <typename Stats>
class StatsMetrics {
 public:
  // A counter of Prometheus for a member of Stats.
  struct Entry {
    const char* name;
    const char* help;
    uint64_t Stats::*value;
  };

  // `stats` and `registry` must outlive the result.
  static absl::StatusOr<std::unique_ptr<StatsMetrics>> Register(const Stats& stats,
                                                                const MetricLabels& labels,
                                                                MetricRegistry& registry);

  void Publish();

 private:
  struct Shown {
    const Entry* entry;
    Counter counter;
    MetricHandle handle;
  };

  explicit StatsMetrics(const Stats& stats) : stats_(stats) {}

  const Stats& stats_;
  std::vector<std::unique_ptr<Shown>> shown_;
};

// weft_port_*: labels transport, contract, worker and port are usual.
using PortMetrics = StatsMetrics<PortStats>;
// weft_loop_*
using LoopMetrics = StatsMetrics<LoopStats>;

extern template class StatsMetrics<PortStats>;
extern template class StatsMetrics<LoopStats>;

}  // namespace weft

#endif  // WEFT_HOST_STATS_METRICS_H_
