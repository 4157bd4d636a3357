// SPDX-License-Identifier: Apache-2.0
//
// Segments to listeners (RFC 9293, 3.10.7.2), with cookies where there is no room for state (RFC
// 4987, 3.6).
#include <algorithm>
#include <optional>

#include "weft/tcp/engine_core.h"
#include "weft/tcp/syn_cookie.h"

namespace weft::tcp {

using netstack::kTcpAck;
using netstack::kTcpCwr;
using netstack::kTcpEce;
using netstack::kTcpReset;
using netstack::kTcpSyn;

namespace {

// Cookies are looked for as long as one that was sent may be good.
constexpr int64_t kCookieLifeNs = 180'000'000'000;

}  // namespace

void EngineCore::ListenInput(uint32_t index, Segment& segment) {
  if (segment.has(kTcpReset)) return;
  if (segment.has(kTcpAck)) {
    if (!segment.has(kTcpSyn) && CookieInput(index, segment)) return;
    SendResetFor(segment);
    return;
  }
  if (!segment.has(kTcpSyn)) return;
  // From itself to itself (the "LAND" attack): it would talk to itself for ever.
  if (segment.flow.local == segment.flow.remote &&
      segment.flow.local_port == segment.flow.remote_port) {
    ++stats_.malformed;
    return;
  }
  ++stats_.syns_received;
  SynInput(index, segment);
}

void EngineCore::SynInput(uint32_t index, Segment& segment) {
  Listener& listener = listeners_[index];
  if (listener.waiting >= listener.backlog) {
    ++stats_.syns_dropped;
    return;
  }
  const bool full = listener.half_open >= options_.syn_backlog;
  if (options_.syn_cookies == SynCookieMode::kAlways ||
      (full && options_.syn_cookies == SynCookieMode::kAuto)) {
    if (SendCookie(segment)) {
      ++stats_.syn_cookies_sent;
      listener.overflowed_ns = now_ns_;
    }
    return;
  }
  Tcb* tcb = full ? nullptr : NewTcb(segment.flow, segment.hash, now_ns_);
  if (tcb == nullptr) {
    ++stats_.syns_dropped;
    return;
  }
  tcb->listener = index;
  tcb->user = listener.user;
  ++listener.half_open;
  stats_.half_open.Add(1);
  ++stats_.half_open_made;
  tcb->passive = true;
  tcb->state = State::kSynReceived;
  tcb->irs = segment.seq;
  Agree(*tcb, segment.options, now_ns_);
  // RFC 3168, 6.1.1.
  tcb->ecn = options_.ecn != EcnMode::kOff && segment.has(kTcpEce) && segment.has(kTcpCwr);
  // Data that comes with the SYN is not acknowledged, and sent again once all is agreed.
  tcb->receive.Start(segment.seq + 1, options_.receive_buffer_bytes);
  tcb->iss = secret_.InitialSequence(segment.flow, now_ns_);
  if (segment.takes_over) tcb->iss = Max(tcb->iss, segment.isn_above);
  tcb->snd_una = tcb->snd_nxt = tcb->iss;
  tcb->send.Start(tcb->iss + 1);
  tcb->snd_wnd = tcb->snd_wnd_max = segment.window;  // never scaled in a SYN (RFC 7323, 2.2)
  tcb->snd_wl1 = segment.seq;
  tcb->syn_due = true;
  SetRetransmit(*tcb, Retransmit::kHandshake);
  Touch(*tcb);
  Arm(*tcb);
}

// Whether it acknowledges a cookie that is good.
bool EngineCore::IsCookie(uint32_t index, const Segment& segment) const {
  return now_ns_ - listeners_[index].overflowed_ns <= kCookieLifeNs &&
         CheckSynCookie(secret_, segment.flow, segment.ack - 1, segment.seq - 1, now_ns_);
}

// An ACK of no connection may be the answer to a cookie. False: it is not, and is to be reset.
bool EngineCore::CookieInput(uint32_t index, Segment& segment) {
  Listener& listener = listeners_[index];
  if (now_ns_ - listener.overflowed_ns > kCookieLifeNs) return false;
  const Seq peer_isn = segment.seq - 1;
  const std::optional<uint16_t> mss =
      CheckSynCookie(secret_, segment.flow, segment.ack - 1, peer_isn, now_ns_);
  if (!mss) {
    ++stats_.syn_cookies_failed;
    // Data may have overtaken what the cookie can be seen by, the byte behind the SYN: a reset
    // would end a good connection, and the peer sends that byte again.
    return segment.length > 0;
  }
  // The peer sends its data again until there is room.
  if (listener.waiting >= listener.backlog) {
    ++stats_.accept_overflows;
    return true;
  }
  Tcb* tcb = NewTcb(segment.flow, segment.hash, now_ns_);
  if (tcb == nullptr) return true;
  SegmentOptions agreed = segment.options;
  agreed.mss = *mss;
  if (options_.timestamps && segment.options.has_timestamps) {
    const CookieOptions kept =
        OptionsOfCookieTimestamp(segment.options.timestamp_echo - tcb->ts_offset);
    agreed.has_window_scale = kept.has_window_scale;
    agreed.window_scale = kept.window_scale;
    agreed.sack_permitted = kept.sack_permitted;
    tcb->ecn = kept.ecn && options_.ecn != EcnMode::kOff;
  } else {
    agreed.has_window_scale = false;
    agreed.sack_permitted = false;
  }
  tcb->passive = true;
  tcb->irs = peer_isn;
  Agree(*tcb, agreed, now_ns_);
  tcb->receive.Start(segment.seq, options_.receive_buffer_bytes);
  tcb->receive.Advertise(tcb->receive_mss, tcb->receive_scale);
  tcb->iss = segment.ack - 1;
  tcb->snd_una = tcb->snd_nxt = segment.ack;
  tcb->snd_wl1 = segment.seq - 1;
  tcb->snd_wl2 = segment.ack;
  Establish(*tcb, nullptr);
  tcb->last_ack_sent = tcb->receive.next();
  tcb->listener = index;
  tcb->user = listener.user;
  ++listener.waiting;
  Announce(*tcb);
  ++stats_.syn_cookies_accepted;
  ++stats_.passive_opens;
  Raise(*tcb, Tcb::kAccepted);
  SegmentInput(*tcb, segment);
  return true;
}

}  // namespace weft::tcp
