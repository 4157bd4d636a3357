// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/port_metrics.h"

#include <utility>

namespace weft {

MetricGroup RegisterPortMetrics(MetricRegistry& registry, const Port& port,
                                MetricGroup::Labels labels) {
  const PortStats& s = port.stats();
  MetricGroup group(registry, "weft_port_", std::move(labels));
  group.Add("sent_total", "Messages sent.", &s.sent);
  group.Add("sent_bytes_total", "Bytes of messages sent.", &s.sent_bytes);
  group.Add("received_total", "Messages received.", &s.received);
  group.Add("received_bytes_total", "Bytes of messages received.", &s.received_bytes);
  group.Add("send_blocked_total", "Sends that took less than they were given.", &s.send_blocked);
  group.Add("send_failed_total", "Messages taken and then lost on this side.", &s.send_failed);
  group.Add("receive_dropped_total", "Messages dropped for want of a buffer or of room in it.",
            &s.receive_dropped);
  group.Add("receive_malformed_total", "Messages that no honest peer sends.", &s.receive_malformed);
  group.Add("copied_buffers_total", "Payloads copied on this side.", &s.copied_buffers);
  group.Add("copied_bytes_total", "Bytes of payloads copied on this side.", &s.copied_bytes);
  return group;
}

void WritePortStats(const PortStats& stats, JsonWriter& json) {
  json.Field("sent", stats.sent.value());
  json.Field("sent_bytes", stats.sent_bytes.value());
  json.Field("received", stats.received.value());
  json.Field("received_bytes", stats.received_bytes.value());
  json.Field("send_blocked", stats.send_blocked.value());
  json.Field("send_failed", stats.send_failed.value());
  json.Field("receive_dropped", stats.receive_dropped.value());
  json.Field("receive_malformed", stats.receive_malformed.value());
  json.Field("copied_buffers", stats.copied_buffers.value());
  json.Field("copied_bytes", stats.copied_bytes.value());
}

}  // namespace weft
