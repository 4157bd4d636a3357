// SPDX-License-Identifier: Apache-2.0
//
// What a server counts.
#ifndef WEFT_RPC_SERVER_STATS_H_
#define WEFT_RPC_SERVER_STATS_H_

#include "weft/core/metrics.h"

namespace weft::rpc {

// Of both formats, as far as nothing else is said. Any thread may read.
struct ServerStats {
  Counter requests;        // handed to the handler
  Counter replies;         // of the handler
  Counter unanswered;      // calls destroyed without a reply
  Counter refused;         // requests and sessions, for whatever reason
  Counter feedbacks;       // FEEDBACK datagrams sent to routers
  Counter send_overflows;  // replies and control messages that found no buffer or no room to wait
  Counter malformed;       // datagrams that are not R2P2, or contradict what came before
  Counter unexpected;  // well-formed packets of no request that is known, or of a type for others
  Counter duplicates;  // packets that had come before
  Counter expired;     // requests given up for lack of progress
  Counter evicted;     // original format: requests given up for others, at a limit
  Gauge executing;     // calls that are neither answered nor destroyed
  Gauge parked;        // likewise, but they only wait (ServerCall::Park)

  // Routers.
  Counter routed;              // datagrams that came with their client's address
  Counter routed_untrusted;    // the same, from senders that may not say so
  Counter routed_unreachable;  // the same, of clients that this side cannot send to
  Counter feedback_entries;    // requests that routers were told the end of; each router counts
  Counter feedback_lost;       // the same, that could not be sent for too long
  Counter joins;               // JOIN sent
  Counter join_refusals;       // answers that refuse this server

  // Why requests were refused.
  Counter refused_by_application;  // by the admission or by ServerCall::Drop()
  Counter refused_overloaded;      // executing_max or buffers reached
  Counter refused_too_large;
  Counter refused_shutting_down;
  Counter refused_unsupported;
  Counter refused_forbidden;      // of clients that may not make them
  Counter refused_amplification;  // original format: replies longer than their request

  // Extended format only.
  Gauge sessions;             // but for half-open ones
  Gauge sessions_half_open;   // whose client has not shown that it is where it says
  Counter half_open_expired;  // half-open sessions that stayed so for too long
  Counter half_open_evicted;  // half-open sessions that gave way to others, at sessions_max
  Counter wrong_address;      // packets for a session from another address than its client's
  Counter sessions_opened;
  Counter sessions_closed;      // in good order
  Counter sessions_lost;        // not heard of, not reachable, restarted
  Counter sessions_refused;     // as many as allowed, or the server drains
  Counter resets;               // packets for sessions that are not known
  Counter picked;               // requests that a router picked this server for, again too
  Counter duplicates_answered;  // requests that came again and got the same answer again
  Counter replies_gone;         // requests that came again when their reply was not kept any more
  Counter cancelled;            // requests that their client gave up
  Counter deadlines;            // requests whose deadline passed before there was a reply
  Counter retransmitted;        // packets of replies sent again
  Counter bulk_sent;            // replies announced, for the client to fetch
  Counter bulk_received;        // requests fetched
  Counter bulk_failed;          // messages that were announced, and then went in packets
  Counter bulk_over_share;      // replies in packets, as their client held its share of buffers
  Gauge kept_reply_bytes;       // of replies kept in case that they are lost
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_STATS_H_
