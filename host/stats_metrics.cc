// SPDX-License-Identifier: Apache-2.0
#include "weft/host/stats_metrics.h"

#include "absl/types/span.h"

namespace weft {
namespace {

constexpr PortMetrics::Entry kPort[] = {
    {"weft_port_sent_total", "Messages sent.", &PortStats::sent},
    {"weft_port_sent_bytes_total", "Bytes sent, headers of lower layers not counted.",
     &PortStats::sent_bytes},
    {"weft_port_received_total", "Messages received.", &PortStats::received},
    {"weft_port_received_bytes_total", "Bytes received, headers of lower layers not counted.",
     &PortStats::received_bytes},
    {"weft_port_send_blocked_total", "Sends that accepted less than they were given.",
     &PortStats::send_blocked},
    {"weft_port_send_failed_total", "Messages accepted, then lost by this side.",
     &PortStats::send_failed},
    {"weft_port_receive_dropped_total", "Messages received, then dropped: no buffer, truncated.",
     &PortStats::receive_dropped},
    {"weft_port_receive_malformed_total", "Bytes received that no honest peer sends.",
     &PortStats::receive_malformed},
    {"weft_port_copied_buffers_total", "Payloads copied between buffers.",
     &PortStats::copied_buffers},
    {"weft_port_copied_bytes_total", "Bytes of payload copied between buffers.",
     &PortStats::copied_bytes},
};

constexpr LoopMetrics::Entry kLoop[] = {
    {"weft_loop_iterations_total", "Rounds of the event loop.", &LoopStats::iterations},
    {"weft_loop_idle_iterations_total", "Rounds of the event loop that found no work.",
     &LoopStats::idle_iterations},
    {"weft_loop_sleeps_total", "Times that the event loop slept.", &LoopStats::sleeps},
};

absl::Span<const PortMetrics::Entry> Entries(const PortStats&) { return kPort; }
absl::Span<const LoopMetrics::Entry> Entries(const LoopStats&) { return kLoop; }

}  // namespace

template <typename Stats>
absl::StatusOr<std::unique_ptr<StatsMetrics<Stats>>> StatsMetrics<Stats>::Register(
    const Stats& stats, const MetricLabels& labels, MetricRegistry& registry) {
  std::unique_ptr<StatsMetrics> metrics(new StatsMetrics(stats));
  for (const Entry& entry : Entries(stats)) {
    auto shown = std::make_unique<Shown>();
    shown->entry = &entry;
    auto handle = registry.Register({entry.name, entry.help, labels}, &shown->counter);
    if (!handle.ok()) return handle.status();
    shown->handle = *std::move(handle);
    metrics->shown_.push_back(std::move(shown));
  }
  return metrics;
}

template <typename Stats>
void StatsMetrics<Stats>::Publish() {
  for (const auto& shown : shown_) {
    shown->counter.Add(stats_.*shown->entry->value - shown->counter.value());
  }
}

template class StatsMetrics<PortStats>;
template class StatsMetrics<LoopStats>;

}  // namespace weft
