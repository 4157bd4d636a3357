// SPDX-License-Identifier: Apache-2.0
//
// What is sent, and when: lost data, new data as far as the congestion window, the peer's window
// and the rules against small segments let it (RFC 9293, 3.7.4 and 3.8.6.2), the FIN,
// acknowledgements.
#include <algorithm>
#include <utility>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {
namespace {

constexpr int64_t kRetryWithoutBuffersNs = 10'000'000;

}  // namespace

void EngineCore::Touch(Tcb& tcb) {
  if (tcb.in_output) return;
  tcb.in_output = true;
  tcb.next_output = Tcb::kNone;
  tcb.previous_output = last_output_;
  if (last_output_ == Tcb::kNone) {
    first_output_ = tcb.index;
  } else {
    slab_.At(last_output_)->next_output = tcb.index;
  }
  last_output_ = tcb.index;
}

void EngineCore::Untouch(Tcb& tcb) {
  if (!tcb.in_output) return;
  tcb.in_output = false;
  if (tcb.previous_output == Tcb::kNone) {
    first_output_ = tcb.next_output;
  } else {
    slab_.At(tcb.previous_output)->next_output = tcb.next_output;
  }
  if (tcb.next_output == Tcb::kNone) {
    last_output_ = tcb.previous_output;
  } else {
    slab_.At(tcb.next_output)->previous_output = tcb.previous_output;
  }
}

void EngineCore::Flush(int64_t now_ns) {
  now_ns_ = now_ns;
  FeedStarving();
  if (!searches_.empty()) [[unlikely]]
    SearchSome();
  while (first_output_ != Tcb::kNone) {
    Tcb& tcb = *slab_.At(first_output_);
    if (!OutboxHasRoom()) {
      ++stats_.outbox_full;
      return;
    }
    Untouch(tcb);
    const Sending result = Output(tcb);
    if (result == Sending::kDone) continue;
    Touch(tcb);
    if (result == Sending::kMore) continue;
    if (OutboxHasRoom()) {
      // No buffers. Somebody gives some back, or a timer looks again.
      ++stats_.no_buffers;
      tcb.ack_at = Tick::AtLeast(now_ns_ + kRetryWithoutBuffersNs);
      Arm(tcb);
      return;
    }
  }
}

void EngineCore::Sent(size_t n, int64_t now_ns) {
  outbox_begin_ += std::min(n, outbox_.size() - outbox_begin_);
  if (outbox_begin_ == outbox_.size()) {
    outbox_.clear();
    outbox_begin_ = 0;
  }
  if (first_output_ != Tcb::kNone) Flush(now_ns);
}

EngineCore::Sending EngineCore::Output(Tcb& tcb) {
  if (tcb.syn_due) {
    if (!SendSyn(tcb)) return Sending::kBlocked;
    tcb.syn_due = false;
    Arm(tcb);
  }
  if (!tcb.synchronized()) return Sending::kDone;
  // Selective acknowledgements do not fit a full segment.
  if (tcb.ack_now && tcb.receive.has_sack() && tcb.sack && !SendAck(tcb)) {
    return Sending::kBlocked;
  }
  const Sending result = OutputData(tcb);
  NoteLimit(tcb);
  if (tcb.ack_now && !SendAck(tcb)) return Sending::kBlocked;
  UpdateRetransmit(tcb);
  Arm(tcb);
  return result;
}

EngineCore::Sending EngineCore::OutputData(Tcb& tcb) {
  if (tcb.send.empty() && !tcb.write_closed) return Sending::kDone;
  RaiseMtu(tcb);
  const Sender sender = SenderOf(tcb);
  tcb.loss.BeforeFirst(sender, now_ns_);
  const size_t headroom = world_.headroom + netstack::kTcpHeaderBytesMax;
  for (int sent = 0;; ++sent) {
    const LossDetection::Next next = tcb.loss.NextToSend(sender);
    if (next == LossDetection::Next::kNothing) break;
    if (!OutboxHasRoom()) return Sending::kBlocked;
    if (sent >= kSegmentsATurn && first_output_ != Tcb::kNone) return Sending::kMore;
    const uint32_t chunks_before = tcb.send.chunks();
    SendQueue::Piece piece;
    if (next == LossDetection::Next::kResend) {
      piece = tcb.send.ResendLost(ResendBytes(tcb), now_ns_, *world_.pool, headroom);
    } else {
      const uint32_t bytes = NextNewBytes(tcb);
      if (bytes == 0) {
        if (tcb.loss.CannotSendNew(sender)) continue;
        break;
      }
      if (tcb.send.in_flight_bytes() == 0) tcb.progress = Tick::AtMost(now_ns_);
      piece = tcb.send.SendNext(bytes, now_ns_, *world_.pool, headroom);
    }
    Hold(static_cast<int64_t>(tcb.send.chunks()) - chunks_before);
    if (!piece.buffer) {
      if (piece.starved) return Sending::kBlocked;
      break;
    }
    SendPiece(tcb, std::move(piece));
  }
  if (FinIsDue(tcb)) {
    if (!OutboxHasRoom() || !SendFin(tcb)) return Sending::kBlocked;
    tcb.progress = Tick::AtMost(now_ns_);
  }
  return Sending::kDone;
}

// Nothing is unsent any more, and the FIN has not been sent. It needs no window: it is one number,
// and peers take it at the edge.
bool EngineCore::FinIsDue(const Tcb& tcb) const {
  return tcb.write_closed && !tcb.fin_sent && tcb.synchronized() && tcb.send.unsent_bytes() == 0;
}

void EngineCore::SendPiece(Tcb& tcb, SendQueue::Piece piece) {
  if (piece.copied) ++stats_.copied_buffers;
  if (piece.resent) {
    ++stats_.retransmissions;
    stats_.retransmitted_bytes += piece.bytes;
    RareCounts& rare = Rare(tcb);
    ++rare.retransmissions;
    rare.retransmitted_bytes += piece.bytes;
  } else {
    stats_.bytes_sent += piece.bytes;
  }
  tcb.loss.OnSent(SenderOf(tcb), piece, now_ns_);
  SendData(tcb, std::move(piece.buffer), piece.seq, piece.bytes, piece.resent);
}

// Large pieces save work, and so they are as large as the device cuts them; but no more than a
// quarter of the window goes at once, so that acknowledgements come evenly.
uint32_t EngineCore::ChunkBytes(const Tcb& tcb) const {
  const uint32_t largest = LargestSegment(tcb);
  if (largest == tcb.mss) return largest;
  const uint32_t part = std::min(tcb.congestion.cwnd_bytes, tcb.snd_wnd_max) / 4;
  return std::clamp<uint32_t>(part - part % tcb.mss, tcb.mss, largest);
}

uint32_t EngineCore::ResendBytes(Tcb& tcb) {
  const uint32_t largest = LargestSegment(tcb);
  if (largest == tcb.mss) return largest;
  const uint32_t budget = tcb.loss.budget_bytes(SenderOf(tcb));
  return std::clamp<uint32_t>(budget - budget % tcb.mss, tcb.mss, largest);
}

// How much of the unsent data may go as one segment now; 0: it has to wait. The congestion window
// has room for a segment, or for what is left of it.
uint32_t EngineCore::NextNewBytes(Tcb& tcb) {
  const uint32_t unsent = tcb.send.unsent_bytes();
  const int32_t usable = tcb.window_edge() - tcb.send.next();
  if (unsent == 0 || usable <= 0) return 0;
  const uint32_t mss = tcb.mss;
  const uint32_t chunk = tcb.send.next_chunk_bytes();
  const uint32_t piece = chunk <= mss ? chunk : std::min(LargestSegment(tcb), chunk);
  uint32_t n = std::min(piece, static_cast<uint32_t>(usable));
  if (n > mss) n = std::min(n, std::max(tcb.loss.budget_bytes(SenderOf(tcb)), mss));
  if (n == piece && n >= mss && n < unsent) return n;
  const uint32_t full = n < mss ? 0 : n - n % mss;
  if (n == unsent) {
    // All that there is, and its end no full segment. Corked that waits for more; by Nagle's
    // algorithm (RFC 9293, 3.7.4) for an acknowledgement; not for the end, which has been said.
    if (full == n || tcb.write_closed) return n;
    if (tcb.cork) return full;
    return tcb.no_delay || tcb.send.in_flight_bytes() == 0 ? n : full;
  }
  if (full > 0) {
    // A window ends within a piece that is to be cut: the rest would have to be copied. What is in
    // flight brings an acknowledgement at once (RFC 9293, 3.8.6.3), and with it more room.
    const bool wait =
        tcb.send.in_flight_bytes() >= 2 * mss && tcb.loss.phase(tcb.send) == RecoveryPhase::kOpen;
    return wait ? 0 : full;
  }
  // The window ends within the segment (RFC 9293, 3.8.6.2.1): only if it is half of the largest
  // that the peer has ever had, or else windows become silly. A timer helps if nothing else comes.
  // A piece that is short by itself counts as what could be sent if all lay together.
  const uint32_t possible = std::min(unsent, static_cast<uint32_t>(usable));
  return possible >= std::min<uint32_t>(tcb.mss, unsent) || possible >= tcb.snd_wnd_max / 2 ? n : 0;
}

// As Linux has it (tcp_chrono_start()): the peer's window only counts where the congestion window
// has room, and this side's buffer where both have.
void EngineCore::NoteLimit(Tcb& tcb) {
  RecoveryState* const state = tcb.send.recovery();
  if (state == nullptr || (tcb.send.empty() && state->limit == SendLimit::kIdle)) return;
  SendLimit limit = SendLimit::kIdle;
  if (!tcb.send.empty()) {
    limit = SendLimit::kNetwork;
    const Sender sender = SenderOf(tcb);
    const uint32_t unsent = tcb.send.unsent_bytes();
    const uint32_t wanted = std::min<uint32_t>(unsent == 0 ? tcb.mss : unsent, tcb.mss);
    if (tcb.loss.budget_bytes(sender) >= wanted) {
      const uint32_t full = tcb.send_limit_bytes - tcb.send_limit_bytes / 4;
      if (unsent > 0) {
        const int32_t usable = tcb.window_edge() - tcb.send.next();
        if (usable < static_cast<int32_t>(wanted)) limit = SendLimit::kReceiveWindow;
      } else if (tcb.wants_room && tcb.send.bytes() >= full) {
        limit = SendLimit::kSendBuffer;
      }
      if (unsent < tcb.mss) tcb.loss.NoteUserLimited(sender);
    }
  }
  if (limit == state->limit) return;
  AddTime(tcb, state->limit, state->limit_since);
  state->limit = limit;
  state->limit_since = LimitTime(now_ns_);
}

// All was acknowledged, or is given up; before it, things stood as said.
void EngineCore::NoteIdle(Tcb& tcb, SendLimit was, uint32_t since) {
  AddTime(tcb, was, since);
  if (RecoveryState* const state = tcb.send.recovery()) state->limit = SendLimit::kIdle;
}

// Whole units between two readings of a clock of them: what is lost in one is won in another.
void EngineCore::AddTime(Tcb& tcb, SendLimit limit, uint32_t since) {
  if (limit == SendLimit::kIdle) return;
  const uint32_t time = LimitTime(now_ns_) - since;
  tcb.busy += time;
  if (time == 0) return;
  if (limit == SendLimit::kReceiveWindow) Rare(tcb).receive_window_limited += time;
  if (limit == SendLimit::kSendBuffer) Rare(tcb).send_buffer_limited += time;
}

// A probe for a lost tail (RFC 8985, 7.3): something new if there is, else the last once more.
bool EngineCore::SendTailProbe(Tcb& tcb) {
  if (!OutboxHasRoom()) return false;
  const size_t headroom = world_.headroom + netstack::kTcpHeaderBytesMax;
  const uint32_t chunks_before = tcb.send.chunks();
  const uint32_t bytes = std::min<uint32_t>(NextNewBytes(tcb), tcb.mss);
  SendQueue::Piece piece = bytes > 0
                               ? tcb.send.SendNext(bytes, now_ns_, *world_.pool, headroom)
                               : tcb.send.ResendLast(tcb.mss, now_ns_, *world_.pool, headroom);
  Hold(static_cast<int64_t>(tcb.send.chunks()) - chunks_before);
  if (!piece.buffer) return false;
  ++stats_.tail_loss_probes;
  SendPiece(tcb, std::move(piece));
  return true;
}

}  // namespace weft::tcp
