// SPDX-License-Identifier: Apache-2.0
//
// What a TCP engine has seen. Any thread may read.
//
//   MetricGroup group(registry, "weft_tcp_", {{"worker", "0"}});
//   engine.stats().AddTo(group);
#ifndef WEFT_TCP_TCP_STATS_H_
#define WEFT_TCP_TCP_STATS_H_

#include "weft/core/json_writer.h"
#include "weft/core/metric_group.h"
#include "weft/core/metrics.h"

namespace weft::tcp {

// One row a counter: the member, and its help. All are of segments unless they say otherwise.
#define WEFT_TCP_STATS(ROW)                                                                     \
  ROW(segments_received, "Segments received, of whatever quality.")                             \
  ROW(segments_sent, "Segments sent, retransmissions included.")                                \
  ROW(bytes_received, "Bytes received in order and taken.")                                     \
  ROW(bytes_sent, "Bytes of data sent for the first time.")                                     \
  ROW(active_opens, "Connections that were begun here.")                                        \
  ROW(passive_opens, "Connections that peers began and that were established.")                 \
  ROW(connect_failures, "Connections begun here that were refused or timed out.")               \
  ROW(closed, "Connections that ended in good order.")                                          \
  ROW(resets_received, "Resets that ended a connection.")                                       \
  ROW(resets_sent, "Resets sent.")                                                              \
  ROW(resets_limited, "Resets not sent as there were too many.")                                \
  ROW(timeouts, "Connections that ended as the peer answered no more.")                         \
  ROW(retransmissions, "Segments sent again.")                                                  \
  ROW(retransmitted_bytes, "Bytes sent again.")                                                 \
  ROW(retransmission_timeouts, "Retransmission timers that fired.")                             \
  ROW(recoveries, "Times that lost segments were noticed by what came behind them.")            \
  ROW(tail_loss_probes, "Probes for a lost tail (RFC 8985).")                                   \
  ROW(spurious_recoveries, "Recoveries and timeouts that were undone as nothing was lost.")     \
  ROW(copied_buffers, "Buffers copied, as the device still held the one to send again.")        \
  ROW(window_probes, "Probes of windows that were closed.")                                     \
  ROW(keepalive_probes, "Probes of idle connections.")                                          \
  ROW(malformed, "Segments whose header or options lie.")                                       \
  ROW(bad_options, "Options of a wrong length, ignored.")                                       \
  ROW(no_connection, "Segments that belong to no connection and no listener.")                  \
  ROW(out_of_window, "Segments that lie outside of the receive window.")                        \
  ROW(paws_dropped, "Segments with a timestamp of the past (RFC 7323, PAWS).")                  \
  ROW(bad_sacks, "SACK blocks that cannot be, ignored.")                                        \
  ROW(sacks_reneged, "Times that a peer took back what it had acknowledged selectively.")       \
  ROW(bad_acks, "Segments that acknowledge what was never sent, or long ago (RFC 5961, 5).")    \
  ROW(no_ack, "Segments of a connection without an ACK.")                                       \
  ROW(challenge_acks, "Acknowledgements in answer to what may be forged (RFC 5961).")           \
  ROW(challenge_acks_limited, "Of these, not sent as there were too many.")                     \
  ROW(out_of_order, "Segments with data beyond a gap, kept.")                                   \
  ROW(duplicate_data, "Segments with nothing but data that was here already.")                  \
  ROW(out_of_order_dropped, "Segments beyond a gap that were dropped, as there were too many.") \
  ROW(pruned, "Pieces beyond a gap dropped when buffers ran short.")                            \
  ROW(window_dropped, "Segments of data that the window or the buffers had no room for.")       \
  ROW(coalesced, "Segments copied behind another to save a buffer.")                            \
  ROW(data_after_close, "Segments of data that nobody would read any more.")                    \
  ROW(delayed_acks, "Acknowledgements that a timer sent.")                                      \
  ROW(ecn_marked, "Segments marked by a switch (CE).")                                          \
  ROW(ecn_reductions, "Times that a peer's ECN echo shrank a window.")                          \
  ROW(syns_received, "SYNs to listeners.")                                                      \
  ROW(syns_dropped, "Of these, dropped at a limit.")                                            \
  ROW(syn_cookies_sent, "SYNs answered by a cookie.")                                           \
  ROW(syn_cookies_accepted, "Connections established by a cookie.")                             \
  ROW(syn_cookies_failed, "Acknowledgements to a listener without a valid cookie.")             \
  ROW(accept_overflows, "Handshakes that wait as too many connections wait to be accepted.")    \
  ROW(half_open_timeouts, "Handshakes of peers that were given up.")                            \
  ROW(time_waits, "Connections that went to TIME-WAIT.")                                        \
  ROW(time_wait_reused, "Of these, taken over by a new connection (RFC 6191).")                 \
  ROW(time_wait_evicted, "Of these, forgotten early as there were too many.")                   \
  ROW(icmp_errors, "ICMP errors about connections.")                                            \
  ROW(icmp_ignored, "Of these, about nothing in flight (RFC 5927).")                            \
  ROW(path_mtu_changes, "Connections whose path has become narrower.")                          \
  ROW(path_mtu_black_holes, "Connections whose full segments vanish; shorter ones are tried.")  \
  ROW(connections_refused, "Connections not begun or taken, as there were too many.")           \
  ROW(no_buffers, "Times that a segment was not sent for want of a buffer.")                    \
  ROW(outbox_full, "Times that sending waited for the device.")                                 \
  ROW(half_open_made, "Handshakes begun by peers for which state is kept.")

struct TcpStats {
#define WEFT_TCP_STATS_MEMBER(name, help) Counter name;
  WEFT_TCP_STATS(WEFT_TCP_STATS_MEMBER)
#undef WEFT_TCP_STATS_MEMBER

  // How many there are now.
  Gauge connections;  // half-open ones included, TIME-WAIT not
  Gauge established;
  Gauge half_open;
  Gauge time_wait;
  Gauge buffers_held;  // with data received or sent

  void ClearGauges() {
    for (Gauge* gauge : {&connections, &established, &half_open, &time_wait, &buffers_held}) {
      gauge->Set(0);
    }
  }

  // All of them, counters with "_total" behind their names; what has never happened is left out of
  // what is rendered. This outlives the group.
  void AddTo(MetricGroup& group) const {
#define WEFT_TCP_STATS_METRIC(name, help) group.AddUnlessZero(#name "_total", help, &name);
    WEFT_TCP_STATS(WEFT_TCP_STATS_METRIC)
#undef WEFT_TCP_STATS_METRIC
    group.Add("connections", "Connections, half-open ones included.", &connections);
    group.Add("established", "Connections whose handshake has ended.", &established);
    group.Add("half_open", "Handshakes of peers under way.", &half_open);
    group.Add("time_wait", "Closed connections that rest.", &time_wait);
    group.Add("buffers_held", "Buffers with data received or sent.", &buffers_held);
  }
  // The same as members of the object that `json` is in.
  void WriteTo(JsonWriter& json) const {
#define WEFT_TCP_STATS_JSON(name, help) json.Field(#name, name.value());
    WEFT_TCP_STATS(WEFT_TCP_STATS_JSON)
#undef WEFT_TCP_STATS_JSON
    json.Field("connections", connections.value());
    json.Field("established", established.value());
    json.Field("half_open", half_open.value());
    json.Field("time_wait", time_wait.value());
    json.Field("buffers_held", buffers_held.value());
  }
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TCP_STATS_H_
