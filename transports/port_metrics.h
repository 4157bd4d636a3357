// SPDX-License-Identifier: Apache-2.0
//
// Shows what a port counts to Prometheus, as weft_port_*.
#ifndef WEFT_TRANSPORTS_PORT_METRICS_H_
#define WEFT_TRANSPORTS_PORT_METRICS_H_

#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"
#include "weft/transports/port.h"

namespace weft {

// The group must be destroyed before `port`. Its status() tells of labels that are taken or wrong.
MetricGroup RegisterPortMetrics(MetricRegistry& registry, const Port& port,
                                MetricGroup::Labels labels);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_PORT_METRICS_H_
