// SPDX-License-Identifier: Apache-2.0
//
// Sending, timers, and what is lost; what an acknowledgement changes is in on_ack.cc.
#include "weft/tcp/loss_detection.h"

#include <algorithm>

namespace weft::tcp {
namespace {

constexpr uint32_t kDupThresh = 3;                  // RFC 5681, 3.2
constexpr int64_t kProbeNsUnknown = 1'000'000'000;  // without a round trip (RFC 8985, 7.2)
constexpr int64_t kProbeSlackNs = 2'000'000;        // beyond two round trips, as Linux
constexpr int64_t kRtoNsAfterSyn = 3'000'000'000;   // RFC 6298, 5.7
constexpr uint8_t kBackoffMax = 32;

}  // namespace

void LossDetection::BeforeFirst(const Sender& sender, int64_t now_ns) {
  if (!has_sent_ || sender.queue.in_flight_bytes() > 0) return;
  if (last_sent_.AgeNs(now_ns) <= sender.rtt.rto_ns(sender.options.rtt)) return;
  sender.congestion.AfterIdle(sender.mss, sender.options.initial_window_packets);
}

void LossDetection::BackOffAfterSyn(const RttOptions& options) {
  const int64_t least_ns = std::min(kRtoNsAfterSyn, options.rto_max_ns);
  while (options.rto_initial_ns < least_ns >> backoff_) ++backoff_;
}

// Without SACK each duplicate says that one segment has arrived, though not which; the first has
// not.
uint32_t LossDetection::pipe_bytes(const Sender& sender) const {
  const uint32_t pipe = sender.queue.pipe_bytes();
  const RecoveryState* state = sender.queue.recovery();
  if (sack_ || state == nullptr || state->duplicates == 0) return pipe;
  const uint32_t flight = sender.queue.in_flight_bytes();
  const uint32_t missing =
      std::max(sender.queue.lost_bytes(), std::min<uint32_t>(flight, sender.queue.chunk(0).bytes));
  const uint64_t arrived =
      std::min<uint64_t>(uint64_t{state->duplicates} * sender.mss, flight - missing);
  return pipe > arrived ? pipe - static_cast<uint32_t>(arrived) : 0;
}

uint32_t LossDetection::budget_bytes(const Sender& sender) const {
  const uint32_t pipe = pipe_bytes(sender);
  const uint32_t cwnd = sender.congestion.cwnd_bytes;
  // A window of less than a segment, as after a change of the MTU, still lets one go.
  if (pipe == 0) return std::max(cwnd, sender.mss);
  return cwnd > pipe ? cwnd - pipe : 0;
}

LossDetection::Next LossDetection::NextToSend(const Sender& sender) const {
  const RecoveryState* state = sender.queue.recovery();
  const uint32_t unsent = sender.queue.unsent_bytes();
  if (state == nullptr || (unsent == 0 && sender.queue.lost_bytes() == 0)) return Next::kNothing;
  const uint32_t budget = budget_bytes(sender);
  if (!state->prefer_new || unsent == 0) {
    const SendQueue::Chunk* lost = sender.queue.FirstLost();
    if (lost != nullptr) {
      const uint32_t wanted = std::min<uint32_t>(sender.mss, lost->bytes);
      return budget >= wanted || state->resend_head ? Next::kResend : Next::kNothing;
    }
  }
  if (unsent == 0 || budget < std::min(sender.mss, sender.queue.next_chunk_bytes())) {
    return Next::kNothing;
  }
  return Next::kNew;
}

bool LossDetection::CannotSendNew(const Sender& sender) {
  RecoveryState* const state = sender.queue.recovery();
  if (state == nullptr || !state->prefer_new) return false;
  state->prefer_new = state->spurious_check = false;
  return sender.queue.FirstLost() != nullptr;
}

// The piece that a measurement is taken by, if none is under way. What is sent again ends it: of
// which sending would the acknowledgement be?
static void BeginRate(RateRound& rate, const Sender& sender, const SendQueue::Piece& piece,
                      int64_t now_ns) {
  const Seq end = piece.seq + piece.bytes;
  if (piece.resent) {
    if (rate.open && piece.seq < rate.end && end >= rate.end) rate.open = false;
    return;
  }
  if (rate.open) return;
  if (sender.queue.in_flight_bytes() == piece.bytes) {
    rate.delivered_ns = rate.first_sent_ns = now_ns;
  }
  rate.delivered_before = rate.delivered_bytes;
  rate.delivered_before_ns = rate.delivered_ns;
  rate.sent_before_ns = rate.first_sent_ns;
  rate.sent_ns = now_ns;
  rate.end = end;
  rate.open = true;
  rate.user_limited = false;
}

void LossDetection::OnSent(const Sender& sender, const SendQueue::Piece& piece, int64_t now_ns) {
  RecoveryState& state = *sender.queue.recovery();
  last_sent_ = Tick::AtMost(now_ns);
  has_sent_ = true;
  BeginRate(state.rate, sender, piece, now_ns);
  state.forget_ns = kNever;
  if (state.phase == RecoveryPhase::kRecovery || state.phase == RecoveryPhase::kReducing) {
    state.prr_sent += piece.bytes;
  }
  const bool first = piece.seq == sender.queue.una();
  if (state.rto_ns == kNever || (piece.resent && first)) {
    state.rto_ns = now_ns + rto_ns(sender);  // RFC 6298, 5.1
  }
  if (piece.resent) {
    state.resend_head = false;
    if (!state.probe_due) {
      state.resent_lately = true;
      state.resent_until = sender.queue.next();
    }
    if (state.can_undo && !state.probe_due) {
      state.undo_resent_bytes += piece.bytes;
      if (state.first_resend_ns == 0) state.first_resend_ns = now_ns;
    }
  }
  // A piece that does not fit the window as a whole waits.
  const uint32_t next = std::max(sender.mss, sender.queue.next_chunk_bytes());
  if (pipe_bytes(sender) + next > sender.congestion.cwnd_bytes) {
    state.was_limited = true;
    state.limited_until = sender.queue.next();
  }
  if (state.probe_due) {
    state.probe_due = false;
    state.probing = true;
    state.probe_resent = piece.resent;
    state.probe_end = sender.queue.next();
  } else if (!piece.resent) {
    ArmProbe(sender, now_ns);
  }
}

// RFC 8985, 7.2.
void LossDetection::ArmProbe(const Sender& sender, int64_t now_ns) {
  RecoveryState& state = *sender.queue.recovery();
  state.probe_ns = kNever;
  const uint32_t flight = sender.queue.in_flight_bytes();
  if (!UsesRack(sender) || flight == 0 || state.probing || state.phase != RecoveryPhase::kOpen ||
      sender.queue.sacked_bytes() > 0) {
    return;
  }
  int64_t wait_ns = kProbeNsUnknown;
  if (sender.rtt.has_sample()) {
    wait_ns = 2 * sender.rtt.srtt_ns() + kProbeSlackNs;
    if (flight <= sender.mss) wait_ns += sender.options.peer_delayed_ack_ns;
  }
  state.probe_ns = std::min(now_ns + wait_ns, state.rto_ns);
}

int64_t LossDetection::deadline_ns(const SendQueue& queue) const {
  const RecoveryState* state = queue.recovery();
  if (state == nullptr) return kNever;
  return std::min({state->rto_ns, state->probe_ns, state->reorder_ns, state->forget_ns});
}

LossDetection::Action LossDetection::OnTimer(const Sender& sender, int64_t now_ns) {
  RecoveryState* const state = sender.queue.recovery();
  if (state == nullptr || deadline_ns(sender.queue) > now_ns) return Action::kNone;
  if (state->forget_ns <= now_ns) {
    state->forget_ns = kNever;
    state->can_undo = state->probing = false;
    sender.queue.ReleaseIfEmpty();
    return Action::kNone;
  }
  if (state->reorder_ns <= now_ns) {
    if (!DetectLosses(sender, now_ns)) return Action::kNone;
    if (state->phase <= RecoveryPhase::kReducing) EnterRecovery(sender, now_ns);
    if (state->phase == RecoveryPhase::kRecovery) ReduceInProportion(sender, 0, false);
    return Action::kOutput;
  }
  if (state->probe_ns <= now_ns) {
    state->probe_ns = kNever;
    state->probe_due = true;
    state->rto_ns = now_ns + rto_ns(sender);  // RFC 8985, 7.3
    return Action::kProbe;
  }
  return Timeout(sender, now_ns);
}

CongestionEvent LossDetection::EventOf(const Sender& sender, int64_t now_ns) const {
  return {.now_ns = now_ns,
          .in_flight_bytes = sender.queue.in_flight_bytes(),
          .mss = sender.mss,
          .next = sender.queue.next()};
}

void LossDetection::SaveForUndo(const Sender& sender) {
  RecoveryState& state = *sender.queue.recovery();
  state.before = sender.congestion;
  state.can_undo = true;
  state.marked = false;
  state.undo_from = sender.queue.una();
  state.undo_resent_bytes = 0;
  state.first_resend_ns = 0;
}

// RFC 6298, 5.4 to 5.7.
LossDetection::Action LossDetection::Timeout(const Sender& sender, int64_t now_ns) {
  SendQueue& queue = sender.queue;
  RecoveryState& state = *queue.recovery();
  const bool reneged = queue.first_is_sacked();
  // What is lost again of a window that has been answered for does not shrink it again (RFC 5681,
  // 3.1).
  const bool answered =
      state.phase >= RecoveryPhase::kRecovery && state.recovery_point > queue.una();
  if (!answered) {
    SaveForUndo(sender);
    state.marked = state.phase == RecoveryPhase::kReducing;
    sender.congestion.OnTimeout(EventOf(sender, now_ns));
  }
  reduced_ = true;
  state.ecn_answered = true;
  state.ecn_until = queue.next();
  // Without SACK the answers to a first segment that was sent again before do not tell (RFC 5682,
  // 2.1, step 1). Of a recovery's losses the timeout says nothing, so what is undone is not that.
  const bool first_resent = (queue.chunk(0).flags & SendQueue::kEverResent) != 0;
  const bool of_recovery = answered && state.phase == RecoveryPhase::kRecovery;
  state.spurious_check = !reneged && !of_recovery && (sack_ || !first_resent);
  if (reneged) queue.ForgetSacks();
  MarkAtTimeout(sender, now_ns);
  sender.congestion.SetWindow(sender.mss);
  state.phase = RecoveryPhase::kTimeout;
  state.recovery_point = queue.next();
  state.duplicates = 0;
  state.prefer_new = state.probing = state.probe_due = false;
  state.resend_head = true;  // the earliest, whatever is on the way (RFC 6298, 5.4)
  state.probe_ns = state.reorder_ns = kNever;
  if (backoff_ < kBackoffMax) ++backoff_;
  state.rto_ns = now_ns + rto_ns(sender);
  return reneged ? Action::kReneged : Action::kTimeout;
}

// With RACK, what was sent a short while ago may well be on the way (RFC 8985, 6.3).
void LossDetection::MarkAtTimeout(const Sender& sender, int64_t now_ns) {
  SendQueue& queue = sender.queue;
  const RecoveryState& state = *queue.recovery();
  if (UsesRack(sender) && state.rack_rtt_ns > 0) {
    const int64_t sent_before_ns = now_ns - state.rack_rtt_ns - ReorderWindowNs(sender, now_ns);
    queue.MarkLostInSentOrder(
        [=](const SendQueue::Chunk& chunk) { return chunk.sent_ns <= sent_before_ns; });
  } else {
    queue.MarkAllLost();
  }
  queue.MarkFirstLost();
}

// Whether something is found to be lost that was on the way.
bool LossDetection::DetectLosses(const Sender& sender, int64_t now_ns) {
  SendQueue& queue = sender.queue;
  RecoveryState& state = *queue.recovery();
  const uint32_t on_the_way = queue.pipe_bytes();
  if (UsesRack(sender)) {
    DetectByTime(sender, now_ns);
  } else if (sack_) {
    queue.MarkLostBefore(queue.LostBelow(kDupThresh, (kDupThresh - 1) * sender.mss));
  } else if (state.phase <= RecoveryPhase::kReducing && state.duplicates >= kDupThresh &&
             queue.una() > state.recovery_point) {
    queue.MarkFirstLost();
  }
  return queue.pipe_bytes() < on_the_way;
}

// RFC 8985, 6.2, step 5. Of those on the way, the ones sent first come first.
void LossDetection::DetectByTime(const Sender& sender, int64_t now_ns) {
  RecoveryState& state = *sender.queue.recovery();
  state.reorder_ns = kNever;
  if (state.rack_rtt_ns == 0) return;
  const int64_t patience_ns = state.rack_rtt_ns + ReorderWindowNs(sender, now_ns);
  const auto sent_before_delivered = [&state](const SendQueue::Chunk& chunk) {
    return chunk.SentBefore(state.rack_sent_ns, state.rack_end);
  };
  const SendQueue::Chunk* next =
      sender.queue.MarkLostInSentOrder([&](const SendQueue::Chunk& chunk) {
        return sent_before_delivered(chunk) && chunk.sent_ns + patience_ns <= now_ns;
      });
  if (next != nullptr && sent_before_delivered(*next)) {
    state.reorder_ns = next->sent_ns + patience_ns;
  }
}

// RFC 8985, 6.2, step 4.
int64_t LossDetection::ReorderWindowNs(const Sender& sender, int64_t now_ns) const {
  const RecoveryState& state = *sender.queue.recovery();
  if (!reordering_seen_) {
    const bool many = sender.queue.sacked_chunks() >= kDupThresh ||
                      sender.queue.sacked_bytes() > (kDupThresh - 1) * sender.mss;
    if (many || state.phase >= RecoveryPhase::kRecovery) return 0;
  }
  const int64_t min_rtt_ns = sender.rtt.min_rtt_ns(sender.options.rtt, now_ns);
  return std::min(min_rtt_ns / 4 * reorder_mult_, sender.rtt.srtt_ns());
}

void LossDetection::EnterRecovery(const Sender& sender, int64_t now_ns) {
  RecoveryState& state = *sender.queue.recovery();
  SaveForUndo(sender);
  if (state.phase == RecoveryPhase::kReducing) {
    // The window is on its way down already, for the same window of data.
    state.marked = true;
  } else {
    sender.congestion.OnLoss(EventOf(sender, now_ns));
    BeginReduction(sender);
    reduced_ = true;
  }
  // Echoes of marks within this window ask for no more (RFC 3168, 6.1.2).
  state.ecn_answered = true;
  state.ecn_until = sender.queue.next();
  state.phase = RecoveryPhase::kRecovery;
  state.recovery_point = sender.queue.next();
  state.resend_head = true;
  state.probe_ns = kNever;
}

// RFC 6937.
void LossDetection::BeginReduction(const Sender& sender) {
  RecoveryState& state = *sender.queue.recovery();
  state.prr_delivered = 0;
  state.prr_sent = 0;
  state.prr_flight = std::max<uint32_t>(sender.queue.in_flight_bytes(), 1);
}

// `safe`: the acknowledgement went forward and showed no further loss, so the window may grow back
// to its threshold by slow start; else by as much as was delivered (3.1 of RFC 6937: PRR-SSRB and
// PRR-CRB).
void LossDetection::ReduceInProportion(const Sender& sender, uint32_t delivered_bytes, bool safe) {
  RecoveryState& state = *sender.queue.recovery();
  CongestionState& congestion = sender.congestion;
  const int64_t threshold = congestion.ssthresh_bytes;
  const int64_t pipe = pipe_bytes(sender);
  state.prr_delivered += delivered_bytes;
  int64_t send = 0;
  if (pipe > threshold) {
    send = (state.prr_delivered * threshold + state.prr_flight - 1) / state.prr_flight -
           state.prr_sent;
  } else {
    int64_t limit =
        std::max<int64_t>(int64_t{state.prr_delivered} - state.prr_sent, delivered_bytes);
    if (safe) limit += sender.mss;
    send = std::min(threshold - pipe, limit);
  }
  if (state.resend_head) send = std::max<int64_t>(send, sender.mss);
  congestion.SetWindow(std::max<uint64_t>(pipe + std::max<int64_t>(send, 0), sender.mss));
}

}  // namespace weft::tcp
