// SPDX-License-Identifier: Apache-2.0
//
// Acknowledgements (RFC 9293, 3.10.7.4, "fifth, check the ACK field").
#include <algorithm>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

using netstack::kTcpEce;
using netstack::kTcpFin;

// RFC 5961, 5: what acknowledges more than was sent, or what is older than any window, is not of
// the peer. False: the segment is of no use, and was answered if it has to be.
bool EngineCore::CheckAck(Tcb& tcb, const Segment& segment) {
  if (segment.ack <= tcb.snd_nxt && segment.ack >= tcb.snd_una - tcb.snd_wnd_max) return true;
  ++stats_.bad_acks;
  Challenge(tcb);
  return false;
}

// Of a segment that CheckAck() lets through. False: the connection is over, and may be gone.
bool EngineCore::AckInput(Tcb& tcb, const Segment& segment) {
  const uint32_t window = uint32_t{segment.window} << tcb.send_scale;
  const bool nothing_else = segment.length == 0 && !segment.has(kTcpFin);
  const bool same_window = window == tcb.snd_wnd;
  const Seq una_before = tcb.snd_una;
  if (segment.ack >= tcb.snd_una) UpdateWindow(tcb, segment);

  // The queue knows nothing of the FIN, whose number lies behind its end.
  const Seq sent = tcb.send.next();
  SeqRange sacks[kSackBlocksMax];
  size_t count = 0;
  if (tcb.sack) {
    for (SeqRange block : segment.options.sack_blocks()) {
      if (tcb.fin_sent && block.end == sent + 1) block.end = sent;
      if (!block.empty()) sacks[count++] = block;
    }
  }
  const uint32_t chunks_before = tcb.send.chunks();
  const bool in_flight = tcb.send.in_flight_bytes() > 0 || tcb.send.recovery() != nullptr;
  if (in_flight) {
    LossDetection::Ack event;
    event.now_ns = now_ns_;
    event.ack = Min(segment.ack, sent);
    event.sacks = {sacks, count};
    event.ece = tcb.ecn && segment.has(kTcpEce);
    event.may_be_duplicate = nothing_else && same_window && segment.ack == una_before;
    event.echoed_ns = EchoedNs(tcb, segment);
    const RecoveryState* const state = tcb.send.recovery();
    const SendLimit limit = state == nullptr ? SendLimit::kIdle : state->limit;
    const uint32_t limit_since = state == nullptr ? 0 : state->limit_since;
    const LossDetection::Outcome outcome = tcb.loss.OnAck(SenderOf(tcb), event);
    if (tcb.send.empty()) NoteIdle(tcb, limit, limit_since);
    CountOutcome(tcb, outcome, event.ece);
    Hold(static_cast<int64_t>(tcb.send.chunks()) - chunks_before);
  }
  if (segment.ack > tcb.snd_una) {
    tcb.snd_una = segment.ack;
    tcb.progress = Tick::AtMost(now_ns_);
    tcb.retries = 0;
    RaiseWritable(tcb);
    ConfirmReachable(tcb);
  } else {
    NoteClosedWindow(tcb);
  }
  tcb.send.ReleaseIfEmpty();
  if (tcb.fin_acked() && !AckOfFin(tcb)) return false;
  UpdateRetransmit(tcb);
  // The window may have room for more now.
  if (tcb.send.unsent_bytes() > 0 || tcb.send.lost_bytes() > 0 || FinIsDue(tcb)) Touch(tcb);
  Arm(tcb);
  return true;
}

void EngineCore::CountOutcome(Tcb& tcb, const LossDetection::Outcome& outcome, bool ece) {
  tcb.bytes_acked += outcome.acked_bytes;
  tcb.segments_delivered += outcome.delivered_segments;
  if (ece && outcome.delivered_segments > 0) Rare(tcb).delivered_ce += outcome.delivered_segments;
  if (outcome.duplicate_bytes > 0) {
    Rare(tcb).dsack_duplicates += (outcome.duplicate_bytes + tcb.mss - 1) / tcb.mss;
  }
  if (outcome.reordered) ++Rare(tcb).reordering_seen;
  if (outcome.recovery_began) ++stats_.recoveries;
  if (outcome.undone) ++stats_.spurious_recoveries;
  if (outcome.ecn_reduced) ++stats_.ecn_reductions;
  stats_.bad_sacks += outcome.bad_sacks;
}

// The peer is there and says that it has no room, be it for what was sent already: for as long as
// it does so the connection stays (RFC 9293, 3.8.6 and 3.8.6.1). What is sent next is to be
// answered, not the time until then, which may be longer than the user's patience. One that has no
// user any more is not kept for ever: peers could fill the memory with them (RFC 6429, 4).
void EngineCore::NoteClosedWindow(Tcb& tcb) {
  if (tcb.user_closed) return;
  int64_t next_ns = now_ns_;
  if (tcb.retransmit == Retransmit::kWindowProbe) {
    next_ns = tcb.retransmit_at.ToNs(now_ns_);
  } else if (tcb.window_edge() < tcb.send.next()) {
    next_ns = tcb.loss.deadline_ns(tcb.send);
    if (next_ns == TimerWheel::kNever) next_ns = now_ns_;
  } else {
    return;
  }
  tcb.progress = Tick::AtLeast(std::max(next_ns, now_ns_));
}

// RFC 9293, 3.10.7.4: SND.WND follows segments that are not older than the last one it came from.
void EngineCore::UpdateWindow(Tcb& tcb, const Segment& segment) {
  if (!(tcb.snd_wl1 < segment.seq || (tcb.snd_wl1 == segment.seq && tcb.snd_wl2 <= segment.ack))) {
    return;
  }
  const uint32_t window = uint32_t{segment.window} << tcb.send_scale;
  const bool opened = segment.ack + window > tcb.window_edge();
  tcb.snd_wnd = window;
  tcb.snd_wnd_max = std::max(tcb.snd_wnd_max, window);
  tcb.snd_wl1 = segment.seq;
  tcb.snd_wl2 = segment.ack;
  if (opened && tcb.retransmit == Retransmit::kWindowProbe) {
    tcb.retransmit = Retransmit::kNone;
    tcb.retransmit_at = Tick();
    tcb.retries = 0;
    Touch(tcb);
  }
}

// Our clock of timestamps counts milliseconds: the last nanosecond of the one echoed.
int64_t EngineCore::EchoedNs(const Tcb& tcb, const Segment& segment) const {
  if (!tcb.timestamps || !segment.options.has_timestamps) return 0;
  constexpr int64_t kTickNs = LossDetection::Ack::kEchoTickNs;
  const uint32_t echoed = segment.options.timestamp_echo - tcb.ts_offset;
  const auto age = static_cast<int32_t>(TsNow(now_ns_, 0) - echoed);
  return age < 0 ? 0 : (now_ns_ / kTickNs - age + 1) * kTickNs - 1;
}

// Forward progress: what is sent arrives, so the neighbour need not be asked whether it is there
// (RFC 4861, 7.3.1).
void EngineCore::ConfirmReachable(Tcb& tcb) {
  if (!world_.confirm_reachable) return;
  const auto second = static_cast<uint8_t>(now_ns_ / 1'000'000'000);
  if (second == tcb.reachable_s) return;
  tcb.reachable_s = second;
  world_.confirm_reachable(tcb.flow.remote);
}

// The peer has everything that was sent, and knows that it was all. False: the connection is over.
bool EngineCore::AckOfFin(Tcb& tcb) {
  switch (tcb.state) {
    case State::kFinWait1:
      tcb.state = State::kFinWait2;
      return true;
    case State::kClosing:
      EnterTimeWait(tcb, /*fin_wait_2=*/false);
      return false;
    case State::kLastAck:
      End(tcb, 0);
      return false;
    default:
      return true;
  }
}

}  // namespace weft::tcp
