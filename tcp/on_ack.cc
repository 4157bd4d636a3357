// SPDX-License-Identifier: Apache-2.0
//
// What an acknowledgement tells LossDetection.
#include <algorithm>

#include "weft/tcp/loss_detection.h"

namespace weft::tcp {
namespace {

constexpr uint8_t kReorderPersist = 16;  // recoveries without a DSACK (RFC 8985, 6.2, step 4)
constexpr int64_t kRenegingNsMin = 10'000'000;

}  // namespace

struct LossDetection::Context {
  const Sender& sender;
  const Ack& ack;
  SendQueue& queue;
  RecoveryState& state;
  SendQueue::Delivery delivery;
  Seq una_before;
  RecoveryPhase phase_before;
  CongestionEvent event;        // before it: what is in flight is what the path was asked to carry
  uint32_t reno_delivered = 0;  // without SACK: what this acknowledgement says to have arrived
  bool advanced = false;
  bool duplicate = false;  // without SACK (RFC 5681, 2)
  bool found_loss = false;
  Outcome outcome;

  bool recovered() const { return queue.una() >= state.recovery_point; }

  // Undoes the last reduction (RFC 4015), unless it was of an ECN mark, too.
  void Undo(bool* reordering_seen, bool* reduced) {
    if (state.phase == RecoveryPhase::kRecovery) *reordering_seen = true;
    if (!state.marked) {
      sender.congestion.Undo(state.before);
      *reduced = false;
    } else if (state.phase == RecoveryPhase::kRecovery) {
      sender.congestion.SetWindow(sender.congestion.ssthresh_bytes);
    }
    queue.UnmarkLost();
    state.phase = RecoveryPhase::kOpen;
    state.can_undo = state.spurious_check = state.prefer_new = state.resend_head = false;
    state.duplicates = 0;
    outcome.undone = true;
  }

  // By its timestamp, what went forward was acknowledged before anything was sent again (RFC 3522).
  bool ShownByTimestamp() const {
    return state.can_undo && state.first_resend_ns != 0 && advanced && ack.echoed_ns != 0 &&
           ack.echoed_ns < state.first_resend_ns;
  }
};

LossDetection::Outcome LossDetection::OnAck(const Sender& sender, const Ack& ack) {
  SendQueue& queue = sender.queue;
  if (queue.recovery() == nullptr) return {};
  Context c{.sender = sender,
            .ack = ack,
            .queue = queue,
            .state = *queue.recovery(),
            .delivery = {},
            .una_before = queue.una(),
            .phase_before = queue.recovery()->phase,
            .event = EventOf(sender, ack.now_ns),
            .outcome = {}};
  // RFC 8985, 6.2, step 2. What is SACKed does not move the timestamp that is echoed (RFC 7323,
  // 4.3).
  const int64_t min_rtt_ago_ns = ack.now_ns - sender.rtt.min_rtt_ns(sender.options.rtt, ack.now_ns);
  c.delivery.ambiguous_after_ns =
      ack.echoed_ns == 0 ? min_rtt_ago_ns : std::min(min_rtt_ago_ns, ack.echoed_ns);
  c.delivery.recovery_point =
      c.state.phase == RecoveryPhase::kTimeout ? c.state.recovery_point : c.una_before;
  c.delivery.forward = c.state.forward;
  queue.Acknowledge(ack.ack, c.delivery);
  c.delivery.ambiguous_after_ns = min_rtt_ago_ns;
  if (sack_ && !ack.sacks.empty()) queue.ApplySacks(ack.ack, ack.sacks, c.delivery);
  c.advanced = c.delivery.acked_bytes > 0;
  c.outcome.acked_bytes = c.delivery.acked_bytes;
  c.outcome.delivered_bytes = c.delivery.delivered_bytes;
  // A chunk is a segment, or several that the device has cut.
  c.outcome.delivered_segments = c.delivery.delivered_chunks;
  if (c.delivery.delivered_bytes > c.delivery.delivered_chunks * sender.mss) {
    c.outcome.delivered_segments = (c.delivery.delivered_bytes + sender.mss - 1) / sender.mss;
  }
  c.outcome.bad_sacks = c.delivery.bad_blocks;
  c.outcome.duplicate_bytes = c.delivery.duplicate_bytes;

  TakeRttSample(c);
  MeasureRate(c);
  if (c.advanced) LeadBackoff(c);
  LearnFromDelivery(c);
  LearnFromDuplicate(c);
  if (!sack_) CountDuplicates(c);
  EndProbe(c);
  Advance(c);
  AnswerEcn(c);
  MoveWindow(c);
  ForgetPast(c);
  ArmAfterAck(c);
  queue.ReleaseIfEmpty();
  return c.outcome;
}

// Of what was sent once (Karn), unless it waited at the peer for what was sent again; of that, by
// timestamp (RFC 7323, 4.1), which may be of any time within its tick: the longest counts, as a
// round trip that is too short would have the timers fire too early for minutes.
void LossDetection::TakeRttSample(Context& c) {
  const int64_t now_ns = c.ack.now_ns;
  if (c.delivery.earliest_sent_ns != 0 && !c.delivery.resent) {
    c.outcome.rtt_ns = std::max<int64_t>(now_ns - c.delivery.earliest_sent_ns, 1);
  } else if (c.advanced && c.ack.echoed_ns != 0 && c.ack.echoed_ns < now_ns) {
    c.outcome.rtt_ns = now_ns - c.ack.echoed_ns + Ack::kEchoTickNs - 1;
  }
  if (c.outcome.rtt_ns > 0) c.sender.rtt.Add(c.sender.options.rtt, now_ns, c.outcome.rtt_ns);
}

void LossDetection::MeasureRate(Context& c) {
  RateRound& rate = c.state.rate;
  if (c.delivery.delivered_bytes == 0) return;
  rate.delivered_bytes += c.delivery.delivered_bytes;
  rate.delivered_ns = c.ack.now_ns;
  if (!rate.open || c.queue.una() < rate.end) return;
  rate.open = false;
  rate.first_sent_ns = rate.sent_ns;
  const int64_t taken_ns =
      std::max(rate.sent_ns - rate.sent_before_ns, c.ack.now_ns - rate.delivered_before_ns);
  // Faster than light: several acknowledgements that came at once.
  const int64_t least_ns = c.sender.rtt.min_rtt_ns(c.sender.options.rtt, c.ack.now_ns);
  if (taken_ns <= 0 || taken_ns < least_ns) return;
  const auto bytes = static_cast<float>(rate.delivered_bytes - rate.delivered_before);
  const float measured = bytes * 1e9f / static_cast<float>(taken_ns);
  if (!rate.user_limited || measured > delivery_rate_) delivery_rate_ = measured;
}

// The second half of Karn's algorithm ("Improving Round-Trip Time Estimates", 1987, 5; RFC 6298,
// 5): until a round trip was measured, new data is given as long as the old one had, or else a path
// that has become slower than the timeout would never be measured. What is still to be sent again,
// of which nothing can be measured, need not wait for so long: something got through.
void LossDetection::LeadBackoff(Context& c) {
  if (c.outcome.rtt_ns > 0) {
    backoff_ = kept_backoff_ = 0;
    return;
  }
  kept_backoff_ = std::max(kept_backoff_, backoff_);
  backoff_ = c.state.phase == RecoveryPhase::kTimeout && !c.recovered() ? 0 : kept_backoff_;
}

// RFC 8985, 6.2, steps 1 to 3.
void LossDetection::LearnFromDelivery(Context& c) {
  RecoveryState& state = c.state;
  const SendQueue::Delivery& delivery = c.delivery;
  if (delivery.delivered_bytes > 0) state.forward = Max(state.forward, delivery.highest);
  state.forward = Max(state.forward, c.queue.una());
  c.outcome.reordered = delivery.reordered;
  if (delivery.reordered) reordering_seen_ = true;
  if (delivery.rack_sent_ns == 0) return;
  if (state.rack_rtt_ns != 0 &&
      (delivery.rack_sent_ns < state.rack_sent_ns ||
       (delivery.rack_sent_ns == state.rack_sent_ns && delivery.rack_end <= state.rack_end))) {
    return;
  }
  state.rack_sent_ns = delivery.rack_sent_ns;
  state.rack_end = delivery.rack_end;
  state.rack_rtt_ns = std::max<int64_t>(c.ack.now_ns - delivery.rack_sent_ns, 1);
}

// DSACK: RFC 8985, 6.2, step 4, and RFC 3708. What the network has doubled, or a probe for the
// tail, is not of a loss that was seen too early: only what comes within a round trip of a
// resending tells, much as in Linux.
void LossDetection::LearnFromDuplicate(Context& c) {
  RecoveryState& state = c.state;
  if (state.in_dsack_round && c.queue.una() >= state.dsack_round) state.in_dsack_round = false;
  if (c.delivery.duplicate_bytes == 0) return;
  const bool resent = state.resent_lately && c.delivery.duplicate.end <= state.resent_until;
  if (resent && !state.in_dsack_round) {
    state.in_dsack_round = true;
    state.dsack_round = c.queue.next();
    if (reorder_mult_ < 255) ++reorder_mult_;
    reorder_persist_ = kReorderPersist;
  }
  if (!state.can_undo || c.delivery.duplicate.end <= state.undo_from) return;
  state.undo_resent_bytes -= std::min(state.undo_resent_bytes, c.delivery.duplicate_bytes);
}

void LossDetection::CountDuplicates(Context& c) {
  RecoveryState& state = c.state;
  const uint32_t mss = c.sender.mss;
  if (!c.advanced) {
    c.duplicate = c.ack.may_be_duplicate && c.queue.in_flight_bytes() > 0;
    if (!c.duplicate) return;
    // No more than what is in flight: a peer that acknowledges twice cannot inflate the window.
    const uint32_t most = c.queue.in_flight_bytes() / mss + 1;
    // What a timeout sent again needlessly brings duplicates, too; only what is new tells.
    const bool tells =
        state.phase != RecoveryPhase::kTimeout || c.queue.next() > state.recovery_point;
    if (state.duplicates >= most || !tells) return;
    ++state.duplicates;
    c.reno_delivered = mss;
    return;
  }
  // One segment filled the hole, the others had been counted (RFC 6582, 3.2, step 3).
  const uint32_t counted = state.duplicates * mss;
  c.reno_delivered = std::max(c.delivery.acked_bytes - std::min(c.delivery.acked_bytes, counted),
                              std::min(mss, c.delivery.acked_bytes));
  const uint32_t acked_segments = (c.delivery.acked_bytes + mss - 1) / mss;
  const bool recovering = state.phase == RecoveryPhase::kRecovery && !c.recovered();
  state.duplicates =
      recovering ? state.duplicates - std::min(state.duplicates, acked_segments - 1) : 0;
}

// RFC 8985, 7.4.
void LossDetection::EndProbe(Context& c) {
  RecoveryState& state = c.state;
  if (!state.probing || c.queue.una() < state.probe_end) return;
  // A duplicate that says nothing else is of a peer without DSACK that got both.
  const bool both = c.delivery.duplicate_bytes > 0 ||
                    (!c.advanced && c.ack.may_be_duplicate && c.delivery.delivered_bytes == 0);
  if (!state.probe_resent || both) {
    state.probing = false;
    return;
  }
  if (c.queue.una() == state.probe_end) return;  // of which of the two? The next one tells
  state.probing = false;
  if (state.phase != RecoveryPhase::kOpen) return;
  // The probe repaired a loss that nothing else showed.
  c.sender.congestion.OnLoss(c.event);
  reduced_ = true;
  c.sender.congestion.SetWindow(
      std::min(c.sender.congestion.cwnd_bytes, c.sender.congestion.ssthresh_bytes));
}

void LossDetection::Advance(Context& c) {
  RecoveryState& state = c.state;
  if (c.ack.ece) state.marked = true;
  // All that was sent again came twice: nothing was lost (RFC 3708).
  if (state.can_undo && state.first_resend_ns != 0 && state.undo_resent_bytes == 0) {
    c.Undo(&reordering_seen_, &reduced_);
  }
  switch (state.phase) {
    case RecoveryPhase::kTimeout:
      AdvanceTimeout(c);
      break;
    case RecoveryPhase::kRecovery:
      AdvanceRecovery(c);
      break;
    case RecoveryPhase::kReducing:
      if (c.recovered()) {
        c.sender.congestion.SetWindow(c.sender.congestion.ssthresh_bytes);
        state.phase = RecoveryPhase::kOpen;
      }
      break;
    case RecoveryPhase::kOpen:
      break;
  }
  if (c.queue.in_flight_bytes() == 0) return;
  c.found_loss = DetectLosses(c.sender, c.ack.now_ns);
  if (c.found_loss && state.phase <= RecoveryPhase::kReducing) {
    EnterRecovery(c.sender, c.ack.now_ns);
    c.outcome.recovery_began = true;
  }
}

void LossDetection::AdvanceRecovery(Context& c) {
  RecoveryState& state = c.state;
  if (c.ShownByTimestamp()) {
    c.Undo(&reordering_seen_, &reduced_);
    return;
  }
  if (c.recovered()) {
    c.sender.congestion.SetWindow(c.sender.congestion.ssthresh_bytes);
    state.phase = RecoveryPhase::kOpen;
    state.duplicates = 0;
    state.resend_head = false;
    state.undo_until = c.queue.next();
    if (reorder_persist_ > 0 && --reorder_persist_ == 0) reorder_mult_ = 1;
    return;
  }
  // A partial acknowledgement: what follows it is lost, too (RFC 6582, 3.2, step 3).
  if (!sack_ && c.advanced && (c.queue.chunk(0).flags & SendQueue::kEverResent) == 0) {
    state.resend_head |= c.queue.MarkFirstLost();
  }
}

// RFC 5682, 2.1 and 3.1: acknowledgements of what was sent once, before the timeout, mean that it
// was not lost.
void LossDetection::AdvanceTimeout(Context& c) {
  RecoveryState& state = c.state;
  if (c.ShownByTimestamp()) {
    c.Undo(&reordering_seen_, &reduced_);
    return;
  }
  const bool recovered = c.recovered();
  if (state.spurious_check) {
    const bool second = state.prefer_new;
    if (c.delivery.original && state.can_undo && (second || (sack_ && !recovered))) {
      c.Undo(&reordering_seen_, &reduced_);
      return;
    }
    if (second) {
      if (c.delivery.sacked_bytes > 0 || c.duplicate || c.advanced) {
        state.spurious_check = state.prefer_new = false;
      }
    } else if (c.advanced && !recovered) {
      // Step 2b: two new segments will tell.
      state.recovery_point = c.queue.next();
      state.prefer_new = c.queue.unsent_bytes() > 0;
      state.spurious_check = state.prefer_new;
      return;
    } else if (c.duplicate) {
      state.spurious_check = false;  // step 2a
    }
  }
  if (!recovered) return;
  state.phase = RecoveryPhase::kOpen;
  state.spurious_check = state.prefer_new = false;
  state.duplicates = 0;
  state.undo_until = c.queue.next();
  if (reorder_persist_ > 0 && --reorder_persist_ == 0) reorder_mult_ = 1;
}

// RFC 3168, 6.1.2.
void LossDetection::AnswerEcn(Context& c) {
  RecoveryState& state = c.state;
  if (!c.ack.ece) return;
  state.marked = true;  // of a recovery that has just begun, too
  if (state.phase != RecoveryPhase::kOpen) return;
  if (state.ecn_answered && c.queue.una() <= state.ecn_until) return;
  c.sender.congestion.OnEcn(c.event);
  c.outcome.ecn_reduced = true;
  reduced_ = true;
  state.can_undo = false;
  state.ecn_answered = true;
  state.ecn_until = c.queue.next();
  if (c.queue.in_flight_bytes() == 0) {
    c.sender.congestion.SetWindow(c.sender.congestion.ssthresh_bytes);
    return;
  }
  BeginReduction(c.sender);
  state.phase = RecoveryPhase::kReducing;
  state.recovery_point = c.queue.next();
}

void LossDetection::MoveWindow(Context& c) {
  RecoveryState& state = c.state;
  const uint32_t delivered = sack_ ? c.delivery.delivered_bytes : c.reno_delivered;
  const auto reduces = [](RecoveryPhase phase) {
    return phase == RecoveryPhase::kReducing || phase == RecoveryPhase::kRecovery;
  };
  if (reduces(state.phase) && (delivered > 0 || state.resend_head)) {
    ReduceInProportion(c.sender, delivered, c.advanced && !c.found_loss);
  }
  if (!c.advanced || c.outcome.undone) return;
  // After a timeout an acknowledgement may jump over what left the network before (RFC 3465, 2.3).
  uint32_t acked = c.delivery.acked_bytes;
  if (c.phase_before == RecoveryPhase::kTimeout) acked = std::min(acked, delivered);
  const AckSample sample{.now_ns = c.ack.now_ns,
                         .acked_bytes = acked,
                         .ecn_bytes = c.ack.ece ? c.delivery.acked_bytes : 0,
                         .rtt_ns = c.delivery.latest_sent_ns == 0 || c.delivery.resent
                                       ? 0
                                       : c.ack.now_ns - c.delivery.latest_sent_ns,
                         .srtt_ns = c.sender.rtt.srtt_ns(),
                         .mss = c.sender.mss,
                         .cwnd_limited = state.phase == RecoveryPhase::kTimeout ||
                                         (state.was_limited && c.una_before < state.limited_until),
                         .una = c.queue.una(),
                         .next = c.queue.next()};
  // What ends a reduction does not grow the window that it has led to.
  if (reduces(state.phase) || reduces(c.phase_before) || c.outcome.ecn_reduced) {
    c.sender.congestion.algorithm->OnAckInRecovery(c.sender.congestion, sample);
  } else {
    c.sender.congestion.OnAck(sample);
  }
}

// Sequence numbers mean something for half of their circle only.
void LossDetection::ForgetPast(Context& c) {
  RecoveryState& state = c.state;
  const Seq una = c.queue.una();
  if (state.was_limited && una >= state.limited_until) state.was_limited = false;
  if (state.resent_lately && una > state.resent_until) state.resent_lately = false;
  if (state.ecn_answered && una > state.ecn_until) state.ecn_answered = false;
  if (state.phase != RecoveryPhase::kOpen) return;
  if (una > state.recovery_point) state.recovery_point = una - 1;
  if (state.can_undo && una > state.undo_until) state.can_undo = false;
}

void LossDetection::ArmAfterAck(Context& c) {
  RecoveryState& state = c.state;
  const int64_t now_ns = c.ack.now_ns;
  if (c.queue.in_flight_bytes() == 0) {
    state.rto_ns = state.probe_ns = state.reorder_ns = kNever;  // RFC 6298, 5.2
    const bool waits =
        (state.can_undo && state.undo_resent_bytes > 0) || (state.probing && state.probe_resent);
    state.forget_ns = waits ? now_ns + rto_ns(c.sender) : kNever;
    return;
  }
  if (c.advanced) {
    state.rto_ns = now_ns + rto_ns(c.sender);  // RFC 6298, 5.3
    // The peer should have acknowledged what it says to have: it may have dropped it.
    if (c.queue.first_is_sacked()) {
      state.rto_ns =
          std::min(state.rto_ns, now_ns + std::max(c.sender.rtt.srtt_ns() / 2, kRenegingNsMin));
    }
  }
  if (c.advanced || c.delivery.delivered_bytes > 0 || state.phase != RecoveryPhase::kOpen) {
    ArmProbe(c.sender, now_ns);
  }
}

}  // namespace weft::tcp
