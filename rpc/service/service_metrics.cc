// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service_metrics.h"

#include <utility>

#include "weft/rpc/service/service_stats.h"
#include "weft/rpc/service/stream_options.h"

namespace weft::rpc {
namespace {

// What both sides count.
void AddStreams(const StreamStats& s, MetricGroup& group) {
  group.Add("streams_opened_total", "Streams begun.", &s.opened);
  group.Add("streams_broken_total", "Streams ended by an error of the protocol or on the way.",
            &s.broken);
  group.Add("streams_open", "Streams that are open.", &s.open);
  group.Add("streams_messages_sent_total", "Messages sent, of streams that have ended.",
            &s.messages_sent);
  group.Add("streams_messages_received_total", "Messages received, of streams that have ended.",
            &s.messages_received);
  group.Add("streams_malformed_total", "Batches or replies that make no sense.", &s.malformed);
}

}  // namespace

MetricGroup RegisterMetrics(MetricRegistry& registry, const ServiceServer& server,
                            MetricGroup::Labels labels) {
  MetricGroup group(registry, "weft_rpc_service_", std::move(labels));
  const ServiceStats& s = server.stats();
  group.Add("malformed_total", "Requests that are not of this protocol.", &s.malformed);
  group.Add("unknown_methods_total", "Requests for a method or stream that is not there.",
            &s.unknown_methods);
  group.Add("unparsable_total", "Requests that are not what their method takes.", &s.unparsable);
  group.Add("metadata_too_large_total", "Requests with more metadata than allowed.",
            &s.metadata_too_large);
  group.Add("forbidden_total", "Calls that security.allow does not allow their peer.",
            &s.forbidden);
  group.Add("refused_total", "Calls that an interceptor refused.", &s.refused);
  group.Add("trailers_cut_total", "Replies whose details or metadata were cut.", &s.trailers_cut);
  group.Add("replies_failed_total", "Replies that were too large or found no buffers.",
            &s.replies_failed);

  const StreamStats& streams = server.streams().stats();
  AddStreams(streams, group);
  group.Add("streams_refused_total",
            "Streams beyond rpc.service.streams_max, or with an id in use.", &streams.refused);
  group.Add("streams_unknown_total", "Packets for no stream that is open.", &streams.unknown);
  group.Add("streams_duplicates_total", "Batches that had come before.", &streams.duplicates);
  group.Add("streams_beyond_window_total", "Batches that there was no room for.",
            &streams.beyond_window);
  group.Add("streams_copied_total", "Batches copied because packet buffers ran low.",
            &streams.copied);
  return group;
}

MetricGroup RegisterMetrics(MetricRegistry& registry, Channel& channel,
                            MetricGroup::Labels labels) {
  MetricGroup group(registry, "weft_rpc_channel_", std::move(labels));
  if (const ClientStreams* const streams = channel.streams(); streams != nullptr) {
    AddStreams(streams->stats(), group);
    group.Add("streams_retries_total", "Batches that were to be sent or asked for again.",
              &streams->stats().retries);
  }
  return group;
}

}  // namespace weft::rpc
