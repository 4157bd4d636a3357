// SPDX-License-Identifier: Apache-2.0
//
// Metrics of the busiest peers of a client or server, worked out when somebody looks:
//
//   worker.Sample(rpc::PeerSampler(*server, worker.labels()));   // weft/host/worker.h
//
// Prometheus sees, with the labels `side` ("client" or "server"), `local` (this side's address) and
// `peer` (the other's) beside those given:
//   weft_rpc_peer_requests_total         of sessions that are open now
//   weft_rpc_peer_requests_per_second    since somebody last looked
//   weft_rpc_peer_in_flight              requests
//   weft_rpc_peer_sessions
//   weft_rpc_peer_credits                packets that may be on their way to the server
//   weft_rpc_peer_retransmissions_total  packets: of requests at a client, of replies at a server
//   weft_rpc_peer_drops_total            requests that the server refused
//   weft_rpc_peer_round_trip_seconds     of the network alone, smoothed; of a server only while it
//                                        sends replies of several packets
//
// Extended format only: the original one has no sessions.
#ifndef WEFT_RPC_PEER_METRICS_H_
#define WEFT_RPC_PEER_METRICS_H_

#include "weft/core/metric_group.h"
#include "weft/core/metric_samples.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft::rpc {

// The busiest are those with most requests since somebody last looked, then those with most in
// flight. `client` or `server` must outlive the sampler, which runs on its thread, and keeps that
// busy for about 5 ms for 100,000 sessions.
MetricSampler PeerSampler(Client& client, MetricGroup::Labels labels);
MetricSampler PeerSampler(Server& server, MetricGroup::Labels labels);

}  // namespace weft::rpc

#endif  // WEFT_RPC_PEER_METRICS_H_
