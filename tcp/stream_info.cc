// SPDX-License-Identifier: Apache-2.0
//
// What can be set for a connection, and what is known of it.
#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "weft/tcp/engine_core.h"

namespace weft::tcp {
namespace {

constexpr int64_t kNsPerUs = 1'000;
constexpr int64_t kNsPerMs = 1'000'000;

// The send buffer must hold a few segments, or nothing is ever acknowledged in time.
constexpr uint32_t kBufferBytesLeast = 4096;
// Ticks tell times of up to 9.7 hours apart.
constexpr uint32_t kUserTimeoutMsMax = 32'767'000;

absl::Status Gone() { return absl::NotFoundError("the stream is gone"); }

uint32_t Us(int64_t ns) {
  return static_cast<uint32_t>(std::clamp<int64_t>(ns / kNsPerUs, 0, UINT32_MAX));
}

StreamInfo::Recovery RecoveryOf(const Tcb& tcb) {
  using enum StreamInfo::Recovery;
  const RecoveryState* const state = tcb.send.recovery();
  if (state == nullptr) return kOpen;
  switch (state->phase) {
    case RecoveryPhase::kOpen:
      break;
    case RecoveryPhase::kReducing:
      return kReducing;
    case RecoveryPhase::kRecovery:
      return kRecovery;
    case RecoveryPhase::kTimeout:
      return kTimeout;
  }
  return tcb.send.sacked_bytes() > 0 || state->duplicates > 0 ? kDisorder : kOpen;
}

}  // namespace

absl::Status EngineCore::SetOptions(StreamId stream, const StreamOptions& options, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || tcb->is(State::kClosed)) return Gone();
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  if (options.congestion_control) {
    const auto algorithm = FindCongestionAlgorithm(*options.congestion_control);
    if (!algorithm.ok()) return algorithm.status();
    tcb->congestion.Use(**algorithm, tcb->mss);
  }
  if (options.no_delay) tcb->no_delay = *options.no_delay;
  if (options.cork) tcb->cork = *options.cork;
  if (options.no_delay || options.cork) Touch(*tcb);
  if (options.keepalive_idle_s) {
    tcb->keepalive_idle_s = static_cast<uint16_t>(*options.keepalive_idle_s);
  }
  if (options.keepalive_interval_s) {
    tcb->keepalive_interval_s = static_cast<uint16_t>(*options.keepalive_interval_s);
  }
  if (options.keepalive_probes) {
    tcb->keepalive_probes = static_cast<uint8_t>(*options.keepalive_probes);
  }
  if (options.keepalive) tcb->keepalive = *options.keepalive;
  if (options.keepalive || options.keepalive_idle_s || options.keepalive_interval_s) {
    StartKeepalive(*tcb);
    Arm(*tcb);
  }
  if (options.user_timeout_ms) {
    const uint32_t wanted = *options.user_timeout_ms;
    tcb->user_timeout_ms =
        wanted == 0 ? options_.user_timeout_ms : std::min(wanted, kUserTimeoutMsMax);
    Arm(*tcb);
  }
  if (options.send_buffer_bytes) {
    tcb->send_limit_bytes =
        std::clamp(*options.send_buffer_bytes, kBufferBytesLeast, options_.send_buffer_bytes_max);
    RaiseWritable(*tcb);
  }
  if (options.receive_buffer_bytes) {
    tcb->fixed_receive_buffer = true;
    tcb->receive.set_limit_bytes(std::clamp(*options.receive_buffer_bytes, kBufferBytesLeast,
                                            options_.receive_buffer_bytes_max));
  }
  if (options.dscp) tcb->dscp = *options.dscp;
  if (options.ttl) tcb->ttl = *options.ttl;
  return absl::OkStatus();
}

StreamInfo EngineCore::InfoOf(const Tcb& tcb, int64_t now_ns) const {
  StreamInfo info;
  info.state = tcb.state;
  info.timestamps = tcb.timestamps;
  info.sack = tcb.sack;
  info.window_scaling = tcb.window_scaling;
  info.ecn = tcb.ecn;
  info.send_window_scale = tcb.send_scale;
  info.receive_window_scale = tcb.receive_scale;
  if (tcb.congestion.algorithm != nullptr) {
    info.congestion_control = std::string(tcb.congestion.algorithm->name());
  }
  info.rtt_us = Us(tcb.rtt.srtt_ns());
  info.rttvar_us = Us(tcb.rtt.rttvar_ns());
  info.min_rtt_us = Us(tcb.rtt.min_rtt_ns(loss_options_.rtt, now_ns));
  const uint32_t backoff = std::max<uint32_t>(tcb.loss.backoff(), tcb.retries);
  info.rto_us = Us(tcb.rtt.rto_ns(loss_options_.rtt, backoff));
  info.backoff = backoff;
  info.cwnd_bytes = tcb.congestion.cwnd_bytes;
  info.ssthresh_bytes = tcb.congestion.ssthresh_bytes == CongestionState::kNoThreshold
                            ? UINT32_MAX
                            : tcb.congestion.ssthresh_bytes;
  info.send_window_bytes = tcb.snd_wnd;
  info.receive_window_bytes = tcb.receive.window();
  info.path_mtu_bytes = tcb.path_mtu;
  info.send_mss_bytes = tcb.mss;
  info.receive_mss_bytes = tcb.receive_mss;
  info.unacked_segments = tcb.send.sent_chunks();
  info.sacked_segments = tcb.send.sacked_chunks();
  const uint32_t mss = std::max<uint32_t>(tcb.mss, 1);
  info.lost_segments = (tcb.send.lost_bytes() + mss - 1) / mss;
  info.retransmitted_segments = (tcb.send.resent_bytes() + mss - 1) / mss;
  info.unread_bytes = tcb.receive.bytes();
  info.unacked_bytes = tcb.send.in_flight_bytes();
  info.unsent_bytes = tcb.send.unsent_bytes();
  info.receive_rtt_us = Us(tcb.receive_rtt_ticks * Tick::kNs);
  info.recovery = RecoveryOf(tcb);
  info.delivery_rate_bytes = tcb.loss.delivery_rate_bytes();
  info.soft_error = tcb.is(State::kClosed) ? 0 : tcb.error;
  info.pacing_rate_bytes = UINT64_MAX;
  info.last_received_ms = static_cast<uint32_t>(tcb.last_received.AgeNs(now_ns) / kNsPerMs);
  if (tcb.loss.has_sent()) {
    info.last_sent_ms = static_cast<uint32_t>(tcb.loss.last_sent().AgeNs(now_ns) / kNsPerMs);
  }
  FillCounts(tcb, now_ns, &info);
  return info;
}

void EngineCore::FillCounts(const Tcb& tcb, int64_t now_ns, StreamInfo* info) const {
  info->bytes_acked = tcb.bytes_acked;
  info->bytes_received = tcb.bytes_received;
  info->bytes_sent = tcb.bytes_acked + tcb.send.in_flight_bytes();
  info->segments_sent = tcb.segments_sent;
  info->segments_received = tcb.segments_received;
  info->delivered_segments = tcb.segments_delivered;
  const auto us = [](uint32_t time) {
    return static_cast<uint64_t>(int64_t{time} << kLimitShift) / kNsPerUs;
  };
  // What is under way counts, too.
  const RecoveryState* const state = tcb.send.recovery();
  const SendLimit limit = state == nullptr ? SendLimit::kIdle : state->limit;
  const uint32_t time = limit == SendLimit::kIdle ? 0 : LimitTime(now_ns) - state->limit_since;
  info->busy_us = us(tcb.busy + time);
  if (limit == SendLimit::kReceiveWindow) info->receive_window_limited_us = us(time);
  if (limit == SendLimit::kSendBuffer) info->send_buffer_limited_us = us(time);
  const RareCounts* const rare = rare_.Find(tcb.rare);
  if (rare == nullptr) return;
  info->bytes_sent += rare->retransmitted_bytes;
  info->bytes_retransmitted = rare->retransmitted_bytes;
  info->retransmissions = rare->retransmissions;
  info->segments_out_of_order = rare->out_of_order;
  info->delivered_ce_segments = rare->delivered_ce;
  info->dsack_duplicates = rare->dsack_duplicates;
  info->reordering_seen = rare->reordering_seen;
  info->receive_window_limited_us += us(rare->receive_window_limited);
  info->send_buffer_limited_us += us(rare->send_buffer_limited);
}

absl::StatusOr<StreamInfo> EngineCore::Info(StreamId stream, int64_t now_ns) const {
  const Tcb* tcb = Find(stream);
  if (tcb == nullptr) return Gone();
  return InfoOf(*tcb, now_ns);
}

absl::StatusOr<Flow> EngineCore::FlowOf(StreamId stream) const {
  const Tcb* tcb = Find(stream);
  if (tcb == nullptr) return Gone();
  return tcb->flow;
}

bool EngineCore::Look(
    Engine::Scan* scan, size_t places, int64_t now_ns,
    absl::FunctionRef<bool(const Flow&, State)> wanted,
    absl::FunctionRef<void(StreamId, const Flow&, const StreamInfo&)> show) const {
  for (; !scan->resting && places > 0; --places) {
    if (scan->place >= slab_.places()) {
      *scan = {.place = 0, .resting = true};
      break;
    }
    const Tcb* tcb = slab_.At(scan->place++);
    if (tcb == nullptr || !wanted(tcb->flow, tcb->state)) continue;
    show(TcbSlab::IdOf(*tcb), tcb->flow, InfoOf(*tcb, now_ns));
  }
  for (; scan->resting && places > 0; --places) {
    if (scan->place >= time_wait_.places()) return false;
    const TimeWaitEntry& entry = time_wait_[scan->place++];
    if (!entry.used()) continue;
    const State state = entry.fin_wait_2 ? State::kFinWait2 : State::kTimeWait;
    if (!wanted(entry.flow(), state)) continue;
    StreamInfo info;
    info.state = state;
    info.timestamps = entry.timestamps;
    show(StreamId(), entry.flow(), info);
  }
  return true;
}

}  // namespace weft::tcp
