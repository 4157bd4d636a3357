// SPDX-License-Identifier: Apache-2.0
//
// Shows to Prometheus what the services of a server refused and what became of streams, beside what
// rpc::RegisterMetrics() (weft/rpc/metrics.h) shows of the server or client below:
//
//   worker.Show(rpc::RegisterMetrics(worker.metrics(), *service_server, worker.labels()));
//
// as weft_rpc_service_*, weft_rpc_service_streams_* and weft_rpc_channel_streams_*. Calls are
// counted by method, where there are observers (call_observers.h).
#ifndef WEFT_RPC_SERVICE_SERVICE_METRICS_H_
#define WEFT_RPC_SERVICE_SERVICE_METRICS_H_

#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/service_server.h"

namespace weft::rpc {

// The group must be destroyed before the server or channel. Its status() tells of labels that are
// taken or wrong: a worker's channels need a label each. A channel over a session has no streams,
// and so nothing to show.
MetricGroup RegisterMetrics(MetricRegistry& registry, const ServiceServer& server,
                            MetricGroup::Labels labels);
MetricGroup RegisterMetrics(MetricRegistry& registry, Channel& channel, MetricGroup::Labels labels);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_METRICS_H_
