// SPDX-License-Identifier: Apache-2.0
//
// How the bytes of a stream get across: sending, acknowledging, sending again.

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "weft/transports/sim/stream.h"

namespace weft::sim {

uint32_t Stream::Window() const {
  return static_cast<uint32_t>(discard_ ? ByteRing::kCapacity : received_bytes_.room());
}

// Sends a segment with `n` bytes that begin at number `seq`.
void Stream::Transmit(uint32_t flags, uint64_t seq, size_t n) {
  uint8_t bytes[Segment::kHeaderBytes + Segment::kMaxPayloadBytes];
  const absl::Span<uint8_t> whole(bytes, Segment::kHeaderBytes + n);
  if (n > 0) unacked_bytes_.Peek(seq - una_, whole.subspan(Segment::kHeaderBytes));
  Segment segment;
  segment.from = id_;
  segment.to = peer_id_;
  segment.seq = seq;
  segment.ack = received_;
  segment.window = Window();
  segment.flags = flags;
  SealSegment(segment, whole);
  advertised_ = received_ + segment.window;
  // The first segment goes where all of this node's do; the others to the queue that accepted it.
  const uint64_t flow = peer_id_ == 0 ? local_ : peer_id_ & 0xff;
  network_->Send(local_, peer_, Channel::kStreams, static_cast<uint32_t>(id_ & 0xff),
                 static_cast<uint32_t>(flow), whole);
}

// As Transmit(), for what is due: moves next_ on.
void Stream::SendFrom(uint64_t seq, size_t n, bool fin) {
  Transmit(Segment::kAck | (fin ? Segment::kFin : 0), seq, n);
  next_ = seq + n + (fin ? 1 : 0);
  if (next_ <= highest_) return;
  highest_ = next_;
  if (timed_ == 0) {
    timed_ = next_;
    timed_since_ns_ = network_->NowNs();
  }
}

// Sends what the windows allow.
void Stream::Pump() {
  const uint64_t window_end = std::min(limit_, una_ + congestion_window_);
  while (next_ < end_ && next_ < window_end) {
    const uint64_t n = std::min({kSegmentBytes, end_ - next_, window_end - next_});
    // A window that opens byte by byte is not worth packets while others are on their way.
    if (n < kSegmentBytes && n < end_ - next_ && next_ > una_) break;
    SendFrom(next_, n, fin_wanted_ && next_ + n == end_);
  }
  if (fin_wanted_ && next_ == end_) SendFrom(end_, 0, /*fin=*/true);
  UpdateTimer();
}

// The timer runs while the other side owes an answer: to a connect, to data, or that it has room.
void Stream::UpdateTimer() {
  const bool waiting = state_ == State::kConnecting || una_ < highest_ || next_ < end_;
  if (waiting && !waiting_) progress_ns_ = network_->NowNs();
  waiting_ = waiting;
  if (!waiting) return StopTimer();
  if (!timer_running_) StartTimer(rto_ns_);
}

void Stream::OnRetransmissionTimer() {
  if (network_->NowNs() - progress_ns_ >= kGiveUpNs) {
    SendControl(Segment::kReset);
    return End(ETIMEDOUT);
  }
  rto_ns_ = std::min(2 * rto_ns_, std::max(base_rto_ns_, kMaxBackoffNs));
  timed_ = 0;
  if (state_ == State::kConnecting) {
    SendControl(Segment::kSyn);
  } else if (una_ < highest_) {
    slow_start_limit_ = std::max((highest_ - una_) / 2, 2 * kSegmentBytes);
    congestion_window_ = kSegmentBytes;
    duplicate_acks_ = 0;
    recover_ = 0;
    next_ = una_;  // everything, as far as acknowledgements do not tell better
    Pump();
  } else {
    SendControl(Segment::kAck | Segment::kProbe);
  }
  UpdateTimer();
}

void Stream::RetransmitOldest() {
  const uint64_t n = std::min(kSegmentBytes, std::min(end_, highest_) - una_);
  const bool fin = highest_ > end_ && una_ + n == end_;
  Transmit(Segment::kAck | (fin ? Segment::kFin : 0), una_, n);
  timed_ = 0;  // its acknowledgement may be that of either copy
}

void Stream::OnAck(const Segment& segment) {
  if (state_ != State::kOpen || segment.ack > highest_) return;
  const uint64_t limit = segment.ack + segment.window;
  const bool wider = limit > limit_;
  limit_ = std::max(limit_, limit);
  if (segment.ack > una_) {
    OnProgress(segment.ack);
  } else if (una_ == highest_) {
    progress_ns_ = network_->NowNs();  // a side without room that says so is alive
  } else if (segment.ack == una_ && segment.payload.empty() && !wider && ++duplicate_acks_ == 3 &&
             recover_ == 0) {
    slow_start_limit_ = std::max((highest_ - una_) / 2, 2 * kSegmentBytes);
    congestion_window_ = slow_start_limit_;
    recover_ = highest_;
    RetransmitOldest();
  }
  Pump();
}

// `ack` acknowledges something new.
void Stream::OnProgress(uint64_t ack) {
  congestion_window_ += congestion_window_ < slow_start_limit_
                            ? std::min(ack - una_, kSegmentBytes)
                            : kSegmentBytes * kSegmentBytes / congestion_window_;
  congestion_window_ = std::min<uint64_t>(congestion_window_, ByteRing::kCapacity);
  unacked_bytes_.Consume(std::min(ack, end_) - una_);
  una_ = ack;
  next_ = std::max(next_, una_);
  duplicate_acks_ = 0;
  if (timed_ != 0 && ack >= timed_) SampleRtt();
  rto_ns_ = base_rto_ns_;
  progress_ns_ = network_->NowNs();
  StopTimer();
  if (una_ < recover_) {
    RetransmitOldest();  // one more was lost
  } else {
    recover_ = 0;
  }
  if (want_writable_ && unacked_bytes_.room() > 0) {
    want_writable_ = false;
    Raise(Kind::kWritable);
  }
}

// RFC 6298, section 2.
void Stream::SampleRtt() {
  const int64_t rtt_ns = std::max<int64_t>(network_->NowNs() - timed_since_ns_, 1);
  timed_ = 0;
  if (smoothed_rtt_ns_ == 0) {
    smoothed_rtt_ns_ = rtt_ns;
    rtt_variation_ns_ = rtt_ns / 2;
  } else {
    rtt_variation_ns_ += (std::abs(smoothed_rtt_ns_ - rtt_ns) - rtt_variation_ns_) / 4;
    smoothed_rtt_ns_ += (rtt_ns - smoothed_rtt_ns_) / 8;
  }
  base_rto_ns_ = smoothed_rtt_ns_ + std::max(4 * rtt_variation_ns_, kMinRtoNs);
}

void Stream::OnData(const Segment& segment) {
  const bool fin = segment.Has(Segment::kFin);
  if (segment.seq <= received_) {
    Take(segment.seq, segment.payload, fin);
    while (!early_.empty() && early_.begin()->first <= received_) {
      const auto next = early_.extract(early_.begin());
      Take(next.key(), next.mapped().bytes, next.mapped().fin);
    }
  } else if (!discard_ && segment.end() <= advertised_ + 1 && early_.size() < kMaxEarly) {
    early_.try_emplace(segment.seq, Early{{segment.payload.begin(), segment.payload.end()}, fin});
  }
  SendControl(Segment::kAck);
}

// What begins no later than what is missing.
void Stream::Take(uint64_t seq, absl::Span<const uint8_t> bytes, bool fin) {
  if (remote_fin_) return;
  const uint64_t end = seq + bytes.size();
  if (end > received_) {
    absl::Span<const uint8_t> fresh = bytes.subspan(received_ - seq);
    if (!discard_) {
      fresh = fresh.subspan(0, received_bytes_.room());
      received_bytes_.Write(fresh);
      if (!fresh.empty()) Raise(Kind::kReadable);
    }
    received_ += fresh.size();
  }
  if (fin && received_ == end) {
    ++received_;
    remote_fin_ = true;
    if (!discard_) Raise(Kind::kRemoteClosed);
  }
}

}  // namespace weft::sim
