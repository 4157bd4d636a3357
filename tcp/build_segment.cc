// SPDX-License-Identifier: Apache-2.0
//
// How segments look (RFC 9293, 3.1), and their way into the outbox.
#include <algorithm>
#include <utility>

#include "weft/tcp/engine_core.h"
#include "weft/tcp/syn_cookie.h"

namespace weft::tcp {

using netstack::kTcpAck;
using netstack::kTcpCwr;
using netstack::kTcpEce;
using netstack::kTcpFin;
using netstack::kTcpHeaderBytes;
using netstack::kTcpPush;
using netstack::kTcpReset;
using netstack::kTcpSyn;

namespace {

constexpr uint8_t kEcnEct0 = 2;  // RFC 3168, 5
constexpr uint32_t kFieldMax = 0xffff;

}  // namespace

void EngineCore::Put(const Flow& flow, Buffer segment, uint8_t ecn, uint8_t ttl, uint8_t dscp) {
  if (outbox_.size() == outbox_.capacity() && outbox_begin_ > 0) {
    outbox_.erase(outbox_.begin(), outbox_.begin() + static_cast<ptrdiff_t>(outbox_begin_));
    outbox_begin_ = 0;
  }
  netstack::OutgoingSegment& out = outbox_.emplace_back();
  out.buffer = std::move(segment);
  out.source = flow.local;
  out.destination = flow.remote;
  out.ecn = ecn;
  out.ttl = ttl;
  out.dscp = dscp;
  ++stats_.segments_sent;
}

// Of segments of a connection: its timestamp, and the last one of the peer (RFC 7323, 3).
void EngineCore::FillOptions(Tcb& tcb, SegmentOptions* options) {
  if (!tcb.timestamps) return;
  options->has_timestamps = true;
  options->timestamp_value = TsNow(now_ns_, tcb.ts_offset);
  options->timestamp_echo = tcb.ts_recent;
}

// What the peer hears from it is all that there is to hear.
void EngineCore::Acknowledged(Tcb& tcb) {
  tcb.last_ack_sent = tcb.receive.next();
  tcb.ack_now = false;
  tcb.ack_at = Tick();
  if (tcb.quick_acks > 0) --tcb.quick_acks;
  ++tcb.segments_sent;
}

// Data, in a buffer that may be shared: the header comes in front of it.
void EngineCore::SendData(Tcb& tcb, Buffer payload, Seq seq, uint32_t bytes, bool again) {
  const Seq end = seq + bytes;
  const bool last = end == tcb.send.end();
  uint8_t flags = kTcpAck;
  if (last) flags |= kTcpPush;
  if (last && tcb.write_closed) {
    flags |= kTcpFin;
    tcb.fin_sent = true;
  }
  const Seq next = end + ((flags & kTcpFin) != 0 ? 1 : 0);
  tcb.snd_nxt = Max(tcb.snd_nxt, next);
  if (tcb.ecn_echo) flags |= kTcpEce;
  uint8_t ecn = 0;
  if (tcb.ecn && !again) {
    // RFC 3168, 6.1.2 and 6.1.5: what is sent again is not ECN-capable.
    ecn = kEcnEct0;
    if (tcb.loss.TakeReduced()) flags |= kTcpCwr;
  }
  netstack::TcpFields fields;
  fields.source_port = tcb.flow.local_port;
  fields.destination_port = tcb.flow.remote_port;
  fields.sequence = seq.value();
  fields.acknowledgment = tcb.receive.next().value();
  fields.header_bytes = kTcpHeaderBytes + (tcb.timestamps ? kTimestampBytes : 0);
  fields.flags = flags;
  fields.window = tcb.receive.Advertise(tcb.receive_mss, tcb.receive_scale);
  uint8_t* header = payload.Prepend(fields.header_bytes);
  fields.Write(header);
  if (bytes > tcb.mss) {
    payload.offload() = {.flags = FrameOffload::kSegment,
                         .l4_bytes = static_cast<uint8_t>(fields.header_bytes),
                         .segment_bytes = tcb.mss};
  }
  if (tcb.timestamps) {
    WriteTimestamps(TsNow(now_ns_, tcb.ts_offset), tcb.ts_recent, header + kTcpHeaderBytes);
  }
  Acknowledged(tcb);
  Put(tcb.flow, std::move(payload), ecn, tcb.ttl, tcb.dscp);
}

// A segment without data; false when there is no buffer or no room.
bool EngineCore::SendControl(Tcb& tcb, Seq seq, uint8_t flags) {
  if (!OutboxTakesOne()) return false;
  Buffer buffer = world_.pool->Allocate();
  if (!buffer) return false;
  SegmentOptions options;
  FillOptions(tcb, &options);
  if (tcb.sack && tcb.receive.has_sack()) {
    options.sack_count = static_cast<uint8_t>(
        tcb.receive.ReportSack(absl::MakeSpan(options.sacks).first(SackRoom(tcb.timestamps))));
  }
  if (tcb.ecn_echo) flags |= kTcpEce;
  netstack::TcpFields fields;
  fields.source_port = tcb.flow.local_port;
  fields.destination_port = tcb.flow.remote_port;
  fields.sequence = seq.value();
  fields.acknowledgment = tcb.receive.next().value();
  fields.flags = flags;
  fields.window = tcb.receive.Advertise(tcb.receive_mss, tcb.receive_scale);
  fields.header_bytes = kTcpHeaderBytes + SegmentOptionsBytes(options);
  uint8_t* header = buffer.Prepend(fields.header_bytes);
  fields.Write(header);
  WriteSegmentOptions(options, header + kTcpHeaderBytes);
  Acknowledged(tcb);
  Put(tcb.flow, std::move(buffer), 0, tcb.ttl, tcb.dscp);
  return true;
}

bool EngineCore::SendAck(Tcb& tcb) { return SendControl(tcb, tcb.next_taken_by_peer(), kTcpAck); }

bool EngineCore::SendProbe(Tcb& tcb) { return SendControl(tcb, tcb.snd_una - 1, kTcpAck); }

bool EngineCore::SendFin(Tcb& tcb) {
  if (!SendControl(tcb, tcb.fin_seq(), kTcpAck | kTcpFin)) return false;
  tcb.fin_sent = true;
  tcb.snd_nxt = Max(tcb.snd_nxt, tcb.fin_seq() + 1);
  return true;
}

// The SYN, or the answer to one (RFC 9293, 3.5), with all options in the first and those that were
// agreed on in the second.
bool EngineCore::SendSyn(Tcb& tcb) {
  if (!OutboxTakesOne()) return false;
  Buffer buffer = world_.pool->Allocate();
  if (!buffer) return false;
  const bool answer = tcb.is(State::kSynReceived);
  SegmentOptions options;
  options.mss = MssOf(tcb.flow.remote, world_.mtu);
  options.has_window_scale = answer ? tcb.window_scaling : options_.window_scaling;
  options.window_scale = window_scale_;
  options.sack_permitted = answer ? tcb.sack : options_.sack;
  if (answer ? tcb.timestamps : options_.timestamps) {
    options.has_timestamps = true;
    options.timestamp_value = TsNow(now_ns_, tcb.ts_offset);
    options.timestamp_echo = answer ? tcb.ts_recent : 0;
  }
  netstack::TcpFields fields;
  fields.source_port = tcb.flow.local_port;
  fields.destination_port = tcb.flow.remote_port;
  fields.sequence = tcb.iss.value();
  fields.flags = kTcpSyn;
  // RFC 3168, 6.1.1; the second SYN does without, as some paths drop the first for it (6.1.1.1).
  if (answer) {
    fields.flags |= kTcpAck;
    if (tcb.ecn) fields.flags |= kTcpEce;
    fields.acknowledgment = tcb.receive.next().value();
    // A SYN's window is not scaled (RFC 7323, 2.2).
    fields.window = tcb.receive.Advertise(tcb.receive_mss, 0);
    tcb.last_ack_sent = tcb.receive.next();
  } else {
    if (options_.ecn == EcnMode::kOn && !tcb.retransmitted_syn) fields.flags |= kTcpEce | kTcpCwr;
    fields.window = static_cast<uint16_t>(std::min(options_.receive_buffer_bytes, kFieldMax));
  }
  fields.header_bytes = kTcpHeaderBytes + SegmentOptionsBytes(options);
  uint8_t* header = buffer.Prepend(fields.header_bytes);
  fields.Write(header);
  WriteSegmentOptions(options, header + kTcpHeaderBytes);
  // Of several, the first: the answer may be to that (RFC 6298, 3).
  if (tcb.snd_nxt == tcb.iss) tcb.progress = Tick::AtMost(now_ns_);
  tcb.snd_nxt = tcb.iss + 1;
  ++tcb.segments_sent;
  Put(tcb.flow, std::move(buffer), 0, tcb.ttl, tcb.dscp);
  return true;
}

bool EngineCore::SendPlain(const Flow& flow, netstack::TcpFields fields,
                           const SegmentOptions& options) {
  if (!OutboxTakesOne()) return false;
  Buffer buffer = world_.pool->Allocate();
  if (!buffer) return false;
  fields.source_port = flow.local_port;
  fields.destination_port = flow.remote_port;
  fields.header_bytes = kTcpHeaderBytes + SegmentOptionsBytes(options);
  uint8_t* header = buffer.Prepend(fields.header_bytes);
  fields.Write(header);
  WriteSegmentOptions(options, header + kTcpHeaderBytes);
  Put(flow, std::move(buffer), 0, world_.ttl, 0);
  return true;
}

// Of a connection that ends by it: a reset is believed only at exactly RCV.NXT (RFC 5961, 3).
void EngineCore::SendResetOf(Tcb& tcb) {
  netstack::TcpFields fields;
  fields.sequence = tcb.next_taken_by_peer().value();
  fields.acknowledgment = tcb.receive.next().value();
  fields.flags = kTcpReset | kTcpAck;
  if (SendPlain(tcb.flow, fields, {})) ++stats_.resets_sent;
}

// RFC 9293, 3.5.2 and 3.10.7.1: such that its receiver believes it.
void EngineCore::SendResetFor(const Segment& segment) {
  if (segment.has(kTcpReset)) return;
  if (!resets_.Take(now_ns_)) {
    ++stats_.resets_limited;
    return;
  }
  netstack::TcpFields fields;
  fields.flags = kTcpReset;
  if (segment.has(kTcpAck)) {
    fields.sequence = segment.ack.value();
  } else {
    fields.flags |= kTcpAck;
    fields.acknowledgment = segment.end().value();
  }
  if (SendPlain(segment.flow, fields, {})) ++stats_.resets_sent;
}

// An answer to a SYN of which nothing is kept. Options go with it only where timestamps remember
// them.
bool EngineCore::SendCookie(const Segment& segment) {
  const SegmentOptions& peer = segment.options;
  constexpr uint16_t kDefaultMssV4 = 536, kDefaultMssV6 = 1220;  // RFC 9293, 3.7.1
  const uint16_t own_mss = MssOf(segment.flow.remote, world_.mtu);
  uint16_t peer_mss = peer.mss;
  if (peer_mss == 0) peer_mss = segment.flow.remote.is_v4() ? kDefaultMssV4 : kDefaultMssV6;
  SegmentOptions options;
  options.mss = own_mss;
  netstack::TcpFields fields;
  fields.flags = kTcpSyn | kTcpAck;
  if (options_.timestamps && peer.has_timestamps) {
    CookieOptions kept;
    kept.has_window_scale = options_.window_scaling && peer.has_window_scale;
    kept.window_scale = peer.window_scale;
    kept.sack_permitted = options_.sack && peer.sack_permitted;
    kept.ecn = options_.ecn != EcnMode::kOff && segment.has(kTcpEce) && segment.has(kTcpCwr);
    options.has_window_scale = kept.has_window_scale;
    options.window_scale = window_scale_;
    options.sack_permitted = kept.sack_permitted;
    options.has_timestamps = true;
    options.timestamp_value = CookieTimestamp(TsNow(now_ns_, 0), kept) +
                              secret_.TimestampOffset(segment.flow.local, segment.flow.remote);
    options.timestamp_echo = peer.timestamp_value;
    if (kept.ecn) fields.flags |= kTcpEce;
  }
  fields.sequence =
      MakeSynCookie(secret_, segment.flow, segment.seq, std::min(peer_mss, own_mss), now_ns_)
          .value();
  fields.acknowledgment = (segment.seq + 1).value();
  fields.window = static_cast<uint16_t>(std::min(options_.receive_buffer_bytes, kFieldMax));
  return SendPlain(segment.flow, fields, options);
}

}  // namespace weft::tcp
