// SPDX-License-Identifier: Apache-2.0
//
// What is due. Each connection has one timer, for the earliest of its deadlines; one that moves
// later leaves the timer where it is, which then fires early and is armed anew.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kNsPerS = 1'000'000'000;
constexpr uint8_t kRetriesMax = 30;          // what counts for the backoff
constexpr int64_t kCorkNsMax = 200'000'000;  // as Linux

}  // namespace

void EngineCore::Arm(Tcb& tcb) {
  int64_t earliest_ns = tcb.loss.deadline_ns(tcb.send);
  for (const Tick tick : {tcb.retransmit_at, tcb.ack_at, tcb.keepalive_at}) {
    if (tick) earliest_ns = std::min(earliest_ns, tick.ToNs(now_ns_));
  }
  ArmBy(tcb, std::min(earliest_ns, GiveUpNs(tcb)));
}

void EngineCore::ArmBy(Tcb& tcb, int64_t deadline_ns) {
  if (deadline_ns == TimerWheel::kNever) return;
  if (tcb.timer.armed() && tcb.timer.deadline_ns() <= deadline_ns) return;
  world_.timers->Schedule(tcb.timer, deadline_ns);
}

void EngineCore::OnTimer(void* self, int64_t now_ns) {
  Tcb& tcb = *static_cast<Tcb*>(self);
  EngineCore& core = *tcb.core;
  core.now_ns_ = now_ns;
  core.OnDue(tcb);
}

void EngineCore::OnDue(Tcb& tcb) {
  if (GiveUpNs(tcb) <= now_ns_) {
    GiveUp(tcb);
    return;
  }
  const auto due = [&](Tick tick) { return tick && tick.ToNs(now_ns_) <= now_ns_; };
  if (due(tcb.ack_at)) {
    tcb.ack_at = Tick();
    // Or it is time to look for buffers again, and the peer would take an ACK for a duplicate.
    if (tcb.synchronized() && tcb.receive.next() != tcb.last_ack_sent) {
      tcb.ack_now = true;
      ++stats_.delayed_acks;
    }
    Touch(tcb);
  }
  if (due(tcb.keepalive_at) && !OnKeepalive(tcb)) return;
  if (tcb.loss.deadline_ns(tcb.send) <= now_ns_) {
    OnLossTimer(tcb);
  }
  if (due(tcb.retransmit_at)) {
    if (tcb.retransmit == Retransmit::kHandshake) {
      OnHandshakeTimeout(tcb);  // which may be its end
      return;
    }
    OnRetransmit(tcb);
  }
  Arm(tcb);
}

// RFC 9293, 3.8.3: R2 is a time here, as RFC 5482 has it, not a number of retransmissions. Never
// while nothing waits to be acknowledged. (Handshakes have a number.)
int64_t EngineCore::GiveUpNs(const Tcb& tcb) const {
  const bool waits = tcb.send.in_flight_bytes() > 0 || tcb.retransmit == Retransmit::kFin ||
                     tcb.retransmit == Retransmit::kWindowProbe;
  if (!waits || !tcb.synchronized()) return TimerWheel::kNever;
  return tcb.progress.ToNs(now_ns_) + int64_t{tcb.user_timeout_ms} * kNsPerMs;
}

// The peer answers no more. If the network has said why, that is the reason (RFC 9293, 3.9.1.8).
void EngineCore::EndInSilence(Tcb& tcb) { End(tcb, tcb.error != 0 ? tcb.error : ETIMEDOUT); }

void EngineCore::GiveUp(Tcb& tcb) {
  ++stats_.timeouts;
  SendResetOf(tcb);
  EndInSilence(tcb);
}

void EngineCore::OnLossTimer(Tcb& tcb) {
  const RecoveryPhase before = tcb.loss.phase(tcb.send);
  const LossDetection::Action action = tcb.loss.OnTimer(SenderOf(tcb), now_ns_);
  switch (action) {
    case LossDetection::Action::kNone:
      break;
    case LossDetection::Action::kReneged:
      ++stats_.sacks_reneged;
      [[fallthrough]];
    case LossDetection::Action::kTimeout:
      ++stats_.retransmission_timeouts;
      SuspectBlackHole(tcb);
      Touch(tcb);
      break;
    case LossDetection::Action::kOutput:
      if (before < RecoveryPhase::kRecovery) ++stats_.recoveries;
      Touch(tcb);
      break;
    case LossDetection::Action::kProbe:
      SendTailProbe(tcb);
      break;
  }
  tcb.send.ReleaseIfEmpty();
}

void EngineCore::SetRetransmit(Tcb& tcb, Retransmit what) {
  tcb.retransmit = what;
  if (what == Retransmit::kNone) {
    tcb.retransmit_at = Tick();
  } else {
    const int64_t wait_ns = what == Retransmit::kCork ? kCorkNsMax : Rto(tcb);
    tcb.retransmit_at = Tick::AtLeast(now_ns_ + wait_ns);
  }
}

void EngineCore::UpdateRetransmit(Tcb& tcb) {
  Retransmit want = Retransmit::kNone;
  if (tcb.send.in_flight_bytes() == 0) {
    const bool corked = tcb.cork && !tcb.write_closed && tcb.send.unsent_bytes() < tcb.mss &&
                        tcb.window_edge() > tcb.send.next();
    if (tcb.send.unsent_bytes() > 0) {
      // What the window has room for is sent as soon as there is a buffer.
      if (NextNewBytes(tcb) == 0) want = corked ? Retransmit::kCork : Retransmit::kWindowProbe;
    } else if (tcb.fin_sent && !tcb.fin_acked()) {
      want = Retransmit::kFin;
    }
  }
  if (want == tcb.retransmit) return;
  tcb.retries = 0;
  // Of one that has no user any more the time counts from Close(), however often the window opens
  // by too little.
  if (want == Retransmit::kWindowProbe && !tcb.user_closed) tcb.progress = Tick::AtMost(now_ns_);
  SetRetransmit(tcb, want);
}

void EngineCore::OnHandshakeTimeout(Tcb& tcb) {
  const uint8_t most = tcb.passive ? options_.syn_ack_retries : options_.syn_retries;
  if (tcb.retries >= most) {
    if (tcb.passive) {
      ++stats_.half_open_timeouts;
    } else {
      ++stats_.connect_failures;
    }
    EndInSilence(tcb);
    return;
  }
  ++tcb.retries;
  tcb.retransmitted_syn = true;
  ++stats_.retransmissions;
  tcb.syn_due = true;
  SetRetransmit(tcb, Retransmit::kHandshake);
  Touch(tcb);
  Arm(tcb);
}

// The FIN again, or a probe of a closed window (RFC 9293, 3.8.6.1): less and less often. Or the end
// of what a cork holds back.
void EngineCore::OnRetransmit(Tcb& tcb) {
  if (tcb.retries < kRetriesMax) ++tcb.retries;
  if (tcb.retransmit == Retransmit::kFin) {
    ++stats_.retransmissions;
    ++Rare(tcb).retransmissions;
    SendFin(tcb);
  } else {
    if (tcb.retransmit == Retransmit::kWindowProbe) ++stats_.window_probes;
    const int32_t usable = tcb.window_edge() - tcb.send.next();
    if (usable > 0 && OutboxHasRoom()) {
      // The window is small rather than closed, and nothing else has come (3.8.6.2.1, "override
      // timeout").
      const uint32_t chunks_before = tcb.send.chunks();
      SendQueue::Piece piece =
          tcb.send.SendNext(std::min<uint32_t>(static_cast<uint32_t>(usable), tcb.mss), now_ns_,
                            *world_.pool, world_.headroom + netstack::kTcpHeaderBytesMax);
      Hold(static_cast<int64_t>(tcb.send.chunks()) - chunks_before);
      if (piece.buffer) {
        tcb.progress = Tick::AtMost(now_ns_);
        SendPiece(tcb, std::move(piece));
        UpdateRetransmit(tcb);
        return;
      }
    } else {
      // No new byte: the peer has to answer a number that was acknowledged, too, and what it would
      // drop need not be kept.
      SendProbe(tcb);
    }
  }
  SetRetransmit(tcb, tcb.retransmit);
}

void EngineCore::StartKeepalive(Tcb& tcb) {
  tcb.keepalive_sent = 0;
  tcb.keepalive_at = tcb.keepalive && tcb.synchronized()
                         ? Tick::AtLeast(now_ns_ + tcb.keepalive_idle_s * kNsPerS)
                         : Tick();
}

// RFC 9293, 3.8.4. False: the connection is over, and may be gone.
bool EngineCore::OnKeepalive(Tcb& tcb) {
  tcb.keepalive_at = Tick();
  if (!tcb.keepalive || !tcb.synchronized()) return true;
  // Nobody may have asked for long, so that it may be further back than other times are.
  const int64_t silent_ns = tcb.last_received.AgeNs(now_ns_);
  const int64_t idle_ns = tcb.keepalive_idle_s * kNsPerS;
  // What is under way finds out by itself whether the peer is there.
  if (tcb.send.in_flight_bytes() > 0 || tcb.retransmit != Retransmit::kNone) {
    tcb.keepalive_at = Tick::AtLeast(now_ns_ + idle_ns);
    return true;
  }
  if (tcb.keepalive_sent == 0 && silent_ns < idle_ns) {
    tcb.keepalive_at = Tick::AtLeast(now_ns_ - silent_ns + idle_ns);
    return true;
  }
  if (tcb.keepalive_sent >= tcb.keepalive_probes) {
    GiveUp(tcb);
    return false;
  }
  ++tcb.keepalive_sent;
  ++stats_.keepalive_probes;
  SendProbe(tcb);
  tcb.keepalive_at = Tick::AtLeast(now_ns_ + tcb.keepalive_interval_s * kNsPerS);
  return true;
}

}  // namespace weft::tcp
