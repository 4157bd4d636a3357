// SPDX-License-Identifier: Apache-2.0
//
// What can be set for a stream, and what is known of it. Both are those of TCP; a transport that is
// no TCP offers what it has.
//
//   port->SetOptions(stream, {.no_delay = true, .keepalive = true, .keepalive_idle_s = 30});
//   absl::StatusOr<StreamInfo> info = port->Info(stream);
//   if (info.ok()) std::printf("rtt %u us, cwnd %u\n", info->rtt_us, info->cwnd_bytes);
#ifndef WEFT_TRANSPORTS_STREAM_OPTIONS_H_
#define WEFT_TRANSPORTS_STREAM_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace weft {

// A field without a value leaves things as they are.
struct StreamOptions {
  // Short writes are sent at once, rather than when the last one has been acknowledged (Nagle's
  // algorithm, RFC 9293 section 3.7.4).
  std::optional<bool> no_delay = std::nullopt;
  // Holds back what does not fill a segment, until this is turned off again, or for 200 ms
  // (TCP_CORK).
  std::optional<bool> cork = std::nullopt;

  // Asks a silent peer whether it is still there (RFC 9293 section 3.8.4): after `idle_s`, then
  // every `interval_s`, and ends the stream with ETIMEDOUT after `probes` without an answer. Idle
  // and interval are 1 to 32767, probes 1 to 127.
  std::optional<bool> keepalive = std::nullopt;
  std::optional<uint32_t> keepalive_idle_s = std::nullopt;
  std::optional<uint32_t> keepalive_interval_s = std::nullopt;
  std::optional<uint32_t> keepalive_probes = std::nullopt;

  // What was sent and not acknowledged for so long ends the stream with ETIMEDOUT (RFC 5482); 0:
  // the transport's own limit. At most 2^31 - 1.
  std::optional<uint32_t> user_timeout_ms = std::nullopt;

  // Limits of what waits to be sent or acknowledged, and to be read. The transport may bring them
  // into its own bounds. At most 2^30.
  std::optional<uint32_t> send_buffer_bytes = std::nullopt;
  std::optional<uint32_t> receive_buffer_bytes = std::nullopt;

  std::optional<uint8_t> dscp = std::nullopt;  // 0 to 63 (RFC 2474)
  std::optional<uint8_t> ttl = std::nullopt;   // or hop limit; 1 to 255

  // By name: "cubic", "reno", ...; NotFound for one that the transport has not.
  std::optional<std::string> congestion_control = std::nullopt;

  // Names of the fields that have a value: "no_delay", "cork", ...
  std::vector<absl::string_view> Names() const;

  // InvalidArgument that names the field, for a value that is out of range.
  absl::Status Validate() const;
};

// As Linux's TCP_INFO (tcp(7)). What the transport does not know is 0.
struct StreamInfo {
  // RFC 9293 section 3.3.2.
  enum class State : uint8_t {
    kClosed,
    kListen,
    kSynSent,
    kSynReceived,
    kEstablished,
    kFinWait1,
    kFinWait2,
    kCloseWait,
    kClosing,
    kLastAck,
    kTimeWait,
  };
  State state = State::kClosed;

  // An errno: what the network has said since the peer was last heard, such as EHOSTUNREACH (RFC
  // 9293 section 3.9.1.8). It ends the stream only if nothing else is heard; 0: nothing.
  int soft_error = 0;

  // What both sides agreed on.
  bool timestamps = false;      // RFC 7323
  bool sack = false;            // RFC 2018
  bool window_scaling = false;  // RFC 7323
  bool ecn = false;             // RFC 3168
  uint8_t send_window_scale = 0;
  uint8_t receive_window_scale = 0;
  std::string congestion_control = {};

  // Round trips (RFC 6298).
  uint32_t rtt_us = 0;          // smoothed
  uint32_t rttvar_us = 0;       // its variation
  uint32_t min_rtt_us = 0;      // lowest of late
  uint32_t rto_us = 0;          // retransmission timeout, with backoff
  uint32_t backoff = 0;         // times that it has been doubled
  uint32_t receive_rtt_us = 0;  // as the receiver sees it, by the data that comes

  // What is being done about losses (tcpi_ca_state).
  enum class Recovery : uint8_t {
    kOpen,      // nothing
    kDisorder,  // something is missing, or late
    kReducing,  // the peer echoed a mark of congestion (RFC 3168)
    kRecovery,  // a loss was seen by what came behind it
    kTimeout,   // nothing came, and the retransmission timer fired
  };
  Recovery recovery = Recovery::kOpen;

  // How much may be sent.
  uint32_t cwnd_bytes = 0;
  uint32_t ssthresh_bytes = 0;  // UINT32_MAX: none yet
  uint32_t send_window_bytes = 0;
  uint32_t receive_window_bytes = 0;
  uint32_t path_mtu_bytes = 0;
  uint32_t send_mss_bytes = 0;
  uint32_t receive_mss_bytes = 0;

  // Of what is on its way now, in segments.
  uint32_t unacked_segments = 0;
  uint32_t sacked_segments = 0;
  uint32_t lost_segments = 0;
  uint32_t retransmitted_segments = 0;
  // What waits: to be read, to be acknowledged, and to be sent for the first time.
  uint32_t unread_bytes = 0;
  uint32_t unacked_bytes = 0;
  uint32_t unsent_bytes = 0;

  // Since the beginning.
  uint64_t bytes_sent = 0;  // retransmissions included
  uint64_t bytes_acked = 0;
  uint64_t bytes_received = 0;
  uint64_t bytes_retransmitted = 0;
  uint64_t segments_sent = 0;
  uint64_t segments_received = 0;
  uint64_t segments_out_of_order = 0;  // received
  uint64_t retransmissions = 0;        // segments
  uint64_t delivered_segments = 0;
  uint64_t delivered_ce_segments = 0;  // of them, those that met congestion (ECN)
  uint64_t dsack_duplicates = 0;       // retransmissions that were not needed (RFC 2883)
  uint64_t reordering_seen = 0;

  // Bytes a second, as last measured.
  uint64_t delivery_rate_bytes = 0;
  uint64_t pacing_rate_bytes = 0;  // UINT64_MAX: not paced

  // Time in which there was something to send, and of it, that in which it had to wait for the
  // peer's window or for room in this side's buffer.
  uint64_t busy_us = 0;
  uint64_t receive_window_limited_us = 0;
  uint64_t send_buffer_limited_us = 0;
  // Since the last data that was sent or received.
  uint32_t last_sent_ms = 0;
  uint32_t last_received_ms = 0;
};

// "ESTABLISHED", as RFC 9293 writes it.
absl::string_view StreamStateName(StreamInfo::State state);
// "recovery".
absl::string_view RecoveryName(StreamInfo::Recovery recovery);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_STREAM_OPTIONS_H_
