// SPDX-License-Identifier: Apache-2.0
//
// Everything that a router counts, by name: for metrics and pages. Not for users.
#ifndef WEFT_ROUTER_COUNTERS_H_
#define WEFT_ROUTER_COUNTERS_H_

#include "absl/types/span.h"
#include "weft/core/metrics.h"
#include "weft/router/dispatcher.h"
#include "weft/router/router_stats.h"

namespace weft::router {

template <typename Stats, typename Metric = Counter>
struct Named {
  const char* name;
  const char* help;
  Metric Stats::*metric;
};

absl::Span<const Named<RouterStats>> RouterCounters();
absl::Span<const Named<RouterStats, Gauge>> RouterGauges();
absl::Span<const Named<DispatcherStats>> DispatcherCounters();
absl::Span<const Named<DispatcherStats, Gauge>> DispatcherGauges();

}  // namespace weft::router

#endif  // WEFT_ROUTER_COUNTERS_H_
