// SPDX-License-Identifier: Apache-2.0
//
// What an operator wants to know of a running client, balancer or server, as JSON: its sessions or
// servers, and what it has counted. A host shows it at /rpc, where `weft rpc stats` looks:
//
//   worker.Show("rpc", rpc::Description(*server));   // weft/host/worker.h
#ifndef WEFT_RPC_DESCRIBE_H_
#define WEFT_RPC_DESCRIBE_H_

#include <cstddef>
#include <functional>

#include "weft/core/json_writer.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft::rpc {

// Write one object:
//   "kind": "client" or "server"; "address"; "draining" of a server
//   "sessions_total": how many there are; "sessions": the `sessions_max` busiest of them, those
//     with most in flight first, then those with most requests
//   "routers" of a server that has to do with any: of each "control" (its address), "state",
//     "refusal" (why, if it refused), "feedback" ("original" or "batches"), "entries" (requests
//     that it was told the end of), "silent_ms" (since it last answered), "keepalive_ms",
//     "outstanding" (requests that it waits for, while the server leaves it)
//   "stats": by name, what was counted; "drops" of a client: by reason, what servers refused
// and of each session:
//   "session" (this side's number), "peer", "identity" (that the peer has proved, if it had to),
//   "state", "age_ms", "silent_ms" (since the peer was heard of), "requests", "in_flight"
//   (requests), "retransmissions" (packets that this side sent again), "drops" (requests that the
//   server refused); of a server's also "kept_replies"; of a client's also "waiting" (requests); of
//   an open one "slots" (requests that may be in flight), "packet_bytes", "credits", "window"
//   (packets; with congestion control), and in microseconds the network's round trip "srtt_us",
//   "rttvar_us", both of a server's only while it sends replies of several packets; of a client's
//   open one "min_rtt_us", the time "response_us" that replies take, and "rto_us", after which a
//   request is sent again.
//
// Of a balancer instead of the sessions:
//   "policy"; "outstanding" and "waiting" (calls); "servers_total"; "servers": the `sessions_max`
//   with most outstanding, then with most calls, and of each "address", "state" (NameOf()),
//   "weight", "outstanding", "calls", "failed" and "failures_in_a_row" (calls), and "for_ms": how
//   long it will be left alone.
//
// On the thread that the client or server belongs to, which is busy with it for a while: about 5 ms
// for 100,000 sessions.
void Describe(Client& client, size_t sessions_max, JsonWriter& json);
void Describe(Balancer& balancer, size_t sessions_max, JsonWriter& json);
void Describe(Server& server, size_t sessions_max, JsonWriter& json);

// The same as a function. `rpc`, a Client, Balancer or Server, must outlive it.
template <typename T>
std::function<void(size_t sessions_max, JsonWriter& json)> Description(T& rpc) {
  return [&rpc](size_t sessions_max, JsonWriter& json) { Describe(rpc, sessions_max, json); };
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_DESCRIBE_H_
