// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/metrics.h"

#include <utility>

namespace weft::rpc {
namespace {

// What only the extended format has.
void AddSessionMetrics(MetricGroup& group, const ServerStats& s) {
  group.Add("sessions", "Sessions that are open.", &s.sessions);
  group.Add("sessions_opened_total", "Sessions opened.", &s.sessions_opened);
  group.Add("sessions_closed_total", "Sessions closed in good order.", &s.sessions_closed);
  group.Add("sessions_lost_total",
            "Sessions whose client fell silent, restarted or was unreachable.", &s.sessions_lost);
  group.Add("sessions_refused_total", "Sessions refused.", &s.sessions_refused);
  group.Add("resets_total", "Packets of sessions that are not known.", &s.resets);
  group.Add("duplicates_answered_total", "Requests that came again and got the same answer.",
            &s.duplicates_answered);
  group.Add("replies_gone_total", "Requests that came again when the reply was not kept any more.",
            &s.replies_gone);
  group.Add("cancelled_total", "Requests that their client gave up.", &s.cancelled);
  group.Add("deadlines_total", "Requests whose deadline passed before there was a reply.",
            &s.deadlines);
  group.Add("retransmitted_total", "Packets of replies sent again.", &s.retransmitted);
  group.Add("kept_reply_bytes", "Memory of replies kept in case that they are lost.",
            &s.kept_reply_bytes);
}

}  // namespace

MetricGroup RegisterMetrics(MetricRegistry& registry, const Client& client,
                            MetricGroup::Labels labels) {
  const ClientStats& s = client.stats();
  MetricGroup group(registry, "weft_rpc_client_", std::move(labels));
  group.Add("calls_total", "Calls begun.", &s.calls);
  group.Add("replies_total", "Calls that ended with a reply.", &s.replies);
  group.Add("timeouts_total", "Calls that ended for want of a reply.", &s.timeouts);
  group.Add("drops_total", "Calls that a server refused.", &s.drops);
  group.Add("failures_total", "Calls that failed in another way.", &s.failures);
  group.Add("malformed_total", "Datagrams that are not R2P2 or contradict others.", &s.malformed);
  group.Add("unexpected_total", "Packets for no outstanding call: late, duplicate or forged.",
            &s.unexpected);
  group.Add("send_overflows_total", "Packets given up because their server blocked the port.",
            &s.send_overflows);
  return group;
}

MetricGroup RegisterMetrics(MetricRegistry& registry, const Server& server,
                            MetricGroup::Labels labels) {
  const ServerStats& s = server.stats();
  MetricGroup group(registry, "weft_rpc_server_", std::move(labels));
  group.Add("requests_total", "Requests handed to the handler.", &s.requests);
  group.Add("replies_total", "Replies sent.", &s.replies);
  group.Add("unanswered_total", "Requests that the handler left without a reply.", &s.unanswered);
  group.Add("refused_total", "Requests refused with DROP.", &s.refused);
  group.Add("refused_by_application_total", "Requests refused by admission or handler.",
            &s.refused_by_application);
  group.Add("refused_overloaded_total", "Requests refused for want of buffers or handlers.",
            &s.refused_overloaded);
  group.Add("refused_too_large_total", "Requests refused for their length.", &s.refused_too_large);
  group.Add("refused_shutting_down_total", "Requests refused while draining.",
            &s.refused_shutting_down);
  group.Add("refused_unsupported_total", "Requests for replicated execution refused.",
            &s.refused_unsupported);
  group.Add("executing", "Requests in handlers.", &s.executing);
  group.Add("feedbacks_total", "FEEDBACK sent to the router.", &s.feedbacks);
  group.Add("send_overflows_total", "Packets that found no buffer or no room to wait.",
            &s.send_overflows);
  group.Add("malformed_total", "Datagrams that are not R2P2 or contradict others.", &s.malformed);
  group.Add("unexpected_total", "Packets of no known request, or of a type for others.",
            &s.unexpected);
  group.Add("duplicates_total", "Packets that had come before.", &s.duplicates);
  group.Add("expired_total", "Incomplete requests given up for lack of progress.", &s.expired);
  group.Add("evicted_total", "Incomplete requests given up for others.", &s.evicted);
  AddSessionMetrics(group, s);
  return group;
}

}  // namespace weft::rpc
