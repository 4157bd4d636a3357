// SPDX-License-Identifier: Apache-2.0
//
// What a router counts beside its dispatcher (DispatcherStats).
#ifndef WEFT_ROUTER_ROUTER_STATS_H_
#define WEFT_ROUTER_ROUTER_STATS_H_

#include "weft/core/metrics.h"

namespace weft::router {

// Any thread may read.
struct RouterStats {
  // What arrived.
  Counter requests;    // to be placed, in either format
  Counter anycasts;    // of those, in the extended format
  Counter fixed;       // of those, FIXED_ROUTE
  Counter strays;      // later packets of requests, which should have gone to the server
  Counter hellos;      // answered by POOL
  Counter pings;       // answered by PONG
  Counter cancels;     // of requests in the extended format
  Counter malformed;   // not R2P2
  Counter no_keys;     // handshakes of clients with `security`, that were told so
  Counter unexpected;  // R2P2, but nothing that a router takes
  Counter replicated;  // refused: REPLICATED requests

  // FEEDBACK.
  Counter feedback_datagrams;
  Counter feedback_unknown_source;   // datagrams of nobody who is a server
  Counter feedback_unknown_request;  // entries of requests that are not at that server
  Counter feedback_repeated;         // entries that had come before
  Counter feedback_lost;             // entries that never came
  Counter feedback_passed_on;        // to the other workers, which may have placed the request
  Counter feedback_overflows;        // that they had no room for: the lease returns the slot

  // Servers.
  Counter joins;  // that made a server a member, or began it anew
  Counter joins_refused;
  Counter leaves;
  Counter probes;
  Counter servers_lost;       // found to be down
  Counter servers_found;      // up again
  Counter servers_restarted;  // had begun anew: what they had is lost
  Counter member_overflows;   // changes for which there was no room

  // What was sent.
  Counter drops;           // DROP to clients
  Counter copied;          // requests without room for the client's address in front
  Counter send_overflows;  // packets that could not leave: the port was blocked for too long
  Gauge servers_up;
  Gauge servers_draining;
  Gauge servers_down;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_ROUTER_STATS_H_
