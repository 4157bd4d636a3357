// SPDX-License-Identifier: Apache-2.0
//
// Shows what clients, callers, balancers and servers count to Prometheus, as weft_rpc_client_*,
// weft_rpc_caller_*, weft_rpc_balancer_* and weft_rpc_server_*.
#ifndef WEFT_RPC_METRICS_H_
#define WEFT_RPC_METRICS_H_

#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/retry.h"
#include "weft/rpc/server.h"

namespace weft::rpc {

// The group must be destroyed before the client, caller, balancer or server. Its status() tells of
// labels that are taken or wrong.
MetricGroup RegisterMetrics(MetricRegistry& registry, const Client& client,
                            MetricGroup::Labels labels);
MetricGroup RegisterMetrics(MetricRegistry& registry, const Caller& caller,
                            MetricGroup::Labels labels);
MetricGroup RegisterMetrics(MetricRegistry& registry, const Balancer& balancer,
                            MetricGroup::Labels labels);
MetricGroup RegisterMetrics(MetricRegistry& registry, const Server& server,
                            MetricGroup::Labels labels);

}  // namespace weft::rpc

#endif  // WEFT_RPC_METRICS_H_
