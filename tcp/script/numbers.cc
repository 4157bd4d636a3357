// SPDX-License-Identifier: Apache-2.0
//
// The numbers that scripts may ask for.
#include <utility>

#include "weft/tcp/script/script.h"

namespace weft::tcp::script {

std::optional<int64_t> StatOf(const TcpStats& stats, absl::string_view name) {
#define WEFT_TCP_SCRIPT_STAT(counter, help) \
  if (name == #counter) return static_cast<int64_t>(stats.counter.value());
  WEFT_TCP_STATS(WEFT_TCP_SCRIPT_STAT)
#undef WEFT_TCP_SCRIPT_STAT
  if (name == "connections") return stats.connections.value();
  if (name == "established") return stats.established.value();
  if (name == "half_open") return stats.half_open.value();
  if (name == "time_wait") return stats.time_wait.value();
  if (name == "buffers_held") return stats.buffers_held.value();
  return std::nullopt;
}

std::optional<int64_t> InfoOf(const StreamInfo& info, absl::string_view name) {
  const std::pair<absl::string_view, uint64_t> rows[] = {
      {"soft_error", static_cast<uint64_t>(info.soft_error)},
      {"timestamps", info.timestamps},
      {"sack", info.sack},
      {"window_scaling", info.window_scaling},
      {"ecn", info.ecn},
      {"send_window_scale", info.send_window_scale},
      {"receive_window_scale", info.receive_window_scale},
      {"rtt_us", info.rtt_us},
      {"rttvar_us", info.rttvar_us},
      {"min_rtt_us", info.min_rtt_us},
      {"rto_us", info.rto_us},
      {"backoff", info.backoff},
      {"cwnd_bytes", info.cwnd_bytes},
      {"ssthresh_bytes", info.ssthresh_bytes},
      {"send_window_bytes", info.send_window_bytes},
      {"receive_window_bytes", info.receive_window_bytes},
      {"path_mtu_bytes", info.path_mtu_bytes},
      {"send_mss_bytes", info.send_mss_bytes},
      {"receive_mss_bytes", info.receive_mss_bytes},
      {"unacked_segments", info.unacked_segments},
      {"sacked_segments", info.sacked_segments},
      {"lost_segments", info.lost_segments},
      {"unsent_bytes", info.unsent_bytes},
      {"bytes_acked", info.bytes_acked},
      {"bytes_received", info.bytes_received},
      {"bytes_retransmitted", info.bytes_retransmitted},
      {"retransmissions", info.retransmissions},
      {"reordering_seen", info.reordering_seen},
      {"dsack_duplicates", info.dsack_duplicates},
  };
  for (const auto& [known, value] : rows) {
    if (name == known) return static_cast<int64_t>(value);
  }
  return std::nullopt;
}

}  // namespace weft::tcp::script
