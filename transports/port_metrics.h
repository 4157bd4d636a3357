// SPDX-License-Identifier: Apache-2.0
//
// Shows what a port counts: to Prometheus, as weft_port_*, and as JSON.
#ifndef WEFT_TRANSPORTS_PORT_METRICS_H_
#define WEFT_TRANSPORTS_PORT_METRICS_H_

#include "weft/core/json_writer.h"
#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"
#include "weft/transports/port.h"

namespace weft {

// The group must be destroyed before `port`. Its status() tells of labels that are taken or wrong.
MetricGroup RegisterPortMetrics(MetricRegistry& registry, const Port& port,
                                MetricGroup::Labels labels);

// A field of the open object for each, named as there without prefix and suffix. Any thread.
void WritePortStats(const PortStats& stats, JsonWriter& json);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_PORT_METRICS_H_
