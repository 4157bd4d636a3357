// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/metrics.h"

#include <utility>

namespace weft::rpc {

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
  group.Add("feedbacks_total", "FEEDBACK sent to the router.", &s.feedbacks);
  group.Add("send_overflows_total", "Packets that found no buffer or no room to wait.",
            &s.send_overflows);
  group.Add("malformed_total", "Datagrams that are not R2P2 or contradict others.", &s.malformed);
  group.Add("unexpected_total", "Packets of no known request, or of a type for others.",
            &s.unexpected);
  group.Add("duplicates_total", "Packets that had come before.", &s.duplicates);
  group.Add("expired_total", "Incomplete requests given up for lack of progress.", &s.expired);
  group.Add("evicted_total", "Incomplete requests given up for others.", &s.evicted);
  return group;
}

}  // namespace weft::rpc
