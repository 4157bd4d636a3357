// SPDX-License-Identifier: Apache-2.0
//
// The life of a stream: opening, closing, failing, and what the application sees of it.

#include "weft/transports/sim/stream.h"

#include <algorithm>
#include <bit>
#include <cerrno>

namespace weft::sim {

void Stream::Connect() {
  SendControl(Segment::kSyn);
  UpdateTimer();
}

void Stream::Accept(const Segment& syn) {
  state_ = State::kOpen;
  peer_id_ = syn.from;
  limit_ = syn.window;
  SendControl(Segment::kSyn | Segment::kAck);
  Raise(Kind::kAccepted);
}

void Stream::OnSegment(const Segment& segment) {
  if (state_ == State::kGone) return;
  if (state_ != State::kConnecting && segment.from != peer_id_) return;
  if (segment.Has(Segment::kReset)) return OnReset();
  if (!segment.Has(Segment::kAck)) return;
  if (state_ == State::kConnecting) {
    // Any segment will do: that of the acceptance may have been lost, or overtaken by data.
    state_ = State::kOpen;
    peer_id_ = segment.from;
    rto_ns_ = base_rto_ns_;
    StopTimer();
    Raise(Kind::kConnected);
  }
  OnAck(segment);
  if (!segment.payload.empty() || segment.Has(Segment::kFin)) {
    OnData(segment);
  } else if (segment.Has(Segment::kProbe)) {
    SendControl(Segment::kAck);
  }
  MaybeFinish();
}

void Stream::OnReset() {
  if (state_ == State::kLingering) {
    state_ = State::kGone;  // in good order as far as the application is concerned
    StopTimer();
    owner_->OnStreamReady(*this);
  } else if (state_ != State::kGone) {
    End(state_ == State::kConnecting ? ECONNREFUSED : ECONNRESET);
  }
}

void Stream::CloseWrite() {
  if (!usable() || fin_wanted_) return;
  fin_wanted_ = true;
  if (state_ == State::kOpen) Pump();
}

void Stream::Close() {
  if (!usable()) return;
  if (state_ == State::kConnecting) {
    SendControl(Segment::kReset);
    return End(0);
  }
  Discard();
  CloseWrite();
  SendControl(Segment::kAck);  // a sender that the window stopped must be able to come to its end
  MaybeFinish();
}

void Stream::Abort() {
  if (!usable()) return;
  SendControl(Segment::kReset);
  Discard();
  End(ECONNABORTED);
}

// In good order: everything is sent and acknowledged, and there is nothing left to read.
void Stream::MaybeFinish() {
  if (state_ != State::kOpen || !fin_wanted_ || una_ <= end_) return;
  if (!discard_ && !(remote_fin_ && received_bytes_.size() == 0)) return;
  state_ = State::kLingering;
  discard_ = true;
  unacked_bytes_.Release();
  received_bytes_.Release();
  StopTimer();
  StartTimer(kLingerNs);
  Raise(Kind::kClosed);
}

// At once, whatever there was to send. What has arrived can still be read.
void Stream::End(int error) {
  state_ = State::kGone;
  error_ = error;
  unacked_bytes_.Release();
  early_.clear();
  StopTimer();
  pending_ &= ~Bit(Kind::kWritable);
  Raise(Kind::kClosed);
}

// The application wants to hear nothing more but the end.
void Stream::Discard() {
  discard_ = true;
  received_bytes_.Release();
  early_.clear();
  pending_ = 0;
}

void Stream::Raise(Kind kind) {
  pending_ |= Bit(kind);
  owner_->OnStreamReady(*this);
}

StreamEvent Stream::TakeEvent() {
  const auto kind = static_cast<Kind>(std::countr_zero(pending_));
  pending_ &= pending_ - 1;
  return {kind, StreamId{id_}, kind == Kind::kClosed ? error_ : 0};
}

void Stream::StartTimer(int64_t delay_ns) {
  timer_running_ = true;
  timer_ = network_->events().At(network_->NowNs() + delay_ns, [this] { OnTimer(); });
}

void Stream::StopTimer() {
  if (timer_running_) network_->events().Cancel(timer_);
  timer_running_ = false;
}

void Stream::OnTimer() {
  timer_running_ = false;
  if (state_ != State::kLingering) return OnRetransmissionTimer();
  if (!remote_fin_) SendControl(Segment::kReset);
  state_ = State::kGone;
  owner_->OnStreamReady(*this);
}

absl::Span<uint8_t> Stream::Reserve(size_t wanted) {
  if (state_ != State::kOpen || fin_wanted_ || wanted == 0) return {};
  const absl::Span<uint8_t> piece = unacked_bytes_.WritablePiece().subspan(0, wanted);
  want_writable_ = piece.size() < wanted;
  if (!want_writable_) pending_ &= ~Bit(Kind::kWritable);
  return piece;
}

void Stream::Commit(size_t n) {
  if (state_ != State::kOpen || fin_wanted_) return;
  unacked_bytes_.Commit(n);
  end_ += n;
  // Where the ring's memory ends, less was given than there is.
  if (want_writable_ && unacked_bytes_.room() > 0) Raise(Kind::kWritable);
  Pump();
}

void Stream::Consume(size_t n) {
  received_bytes_.Consume(std::min(n, received_bytes_.ReadablePiece().size()));
  // The sender hears of the room once that is worth a packet: half of the window, or a segment if
  // it is about to stop.
  const uint64_t edge = received_ + Window();
  const uint64_t gain = edge - std::min(edge, advertised_);
  const bool stopping = advertised_ < received_ + kSegmentBytes;
  if (usable() && !remote_fin_ && gain >= (stopping ? kSegmentBytes : ByteRing::kCapacity / 2)) {
    SendControl(Segment::kAck);
  }
  MaybeFinish();
}

}  // namespace weft::sim
