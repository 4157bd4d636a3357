// SPDX-License-Identifier: Apache-2.0
//
// Metrics of the servers of a router, worked out when somebody looks:
//
//   worker.Sample(router::ServerSampler(*router, worker.labels()));   // weft/host/worker.h
//
// Prometheus sees, with the label `server` (its address) beside those given:
//   weft_router_server_forwarded_total   requests that went to it, repeated ones included
//   weft_router_server_feedbacks_total   of those, that it has said to be done
//   weft_router_server_outstanding       of those, that it has not
//   weft_router_server_up                1, or 0 while it gets no requests
#ifndef WEFT_ROUTER_SERVER_METRICS_H_
#define WEFT_ROUTER_SERVER_METRICS_H_

#include "weft/core/metric_group.h"
#include "weft/core/metric_samples.h"
#include "weft/router/router.h"

namespace weft::router {

// Of no more servers than the sampler's limit: those with most requests. The router must outlive
// the sampler, which runs on its thread.
MetricSampler ServerSampler(const Router& router, MetricGroup::Labels labels);

}  // namespace weft::router

#endif  // WEFT_ROUTER_SERVER_METRICS_H_
