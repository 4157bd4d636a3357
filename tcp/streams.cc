// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing (RFC 9293, 3.10.2 and 3.10.3).
#include <algorithm>
#include <utility>

#include "weft/tcp/engine_core.h"

namespace weft::tcp {

absl::Span<const uint8_t> EngineCore::ReadView(StreamId stream) const {
  const Tcb* tcb = Find(stream);
  return tcb == nullptr ? absl::Span<const uint8_t>() : tcb->receive.View();
}

void EngineCore::Consume(StreamId stream, size_t n, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || n == 0) return;
  Hold(-static_cast<int64_t>(tcb->receive.Consume(n)));
  if (tcb->is(State::kClosed)) {
    if (tcb->receive.bytes() == 0) Raise(*tcb, Tcb::kClosed);
    return;
  }
  if (tcb->fin_received) return;  // the peer needs no window any more
  if (!tcb->fixed_receive_buffer && held_ < held_max_ / 2) {
    const auto sent_ticks = static_cast<uint32_t>(tcb->rtt.srtt_ns() / Tick::kNs);
    tcb->receive.Tune(Tick::AtMost(now_ns), std::max({sent_ticks, tcb->receive_rtt_ticks, 1u}),
                      tcb->receive_mss, options_.receive_buffer_bytes_max);
  }
  if (tcb->receive.WindowUpdateDue(tcb->receive_mss, tcb->receive_scale)) {
    tcb->ack_now = true;
    Touch(*tcb);
  }
}

absl::Span<uint8_t> EngineCore::Reserve(StreamId stream, size_t wanted) {
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || wanted == 0 || !tcb->can_write()) return {};
  const uint32_t held = tcb->send.bytes();
  if (held >= tcb->send_limit_bytes) {
    tcb->wants_room = true;
    return {};
  }
  const size_t room = std::min<size_t>(wanted, tcb->send_limit_bytes - held);
  absl::Span<uint8_t> span;
  if (MaySendMore(*tcb)) {
    span = tcb->send.Reserve(room, ChunkBytes(*tcb), *world_.pool, blocks_, spare_);
  }
  tcb->wants_room = span.size() < wanted;
  if (span.empty()) NoteStarving(*tcb);
  return span;
}

void EngineCore::Commit(StreamId stream, size_t n, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || tcb->is(State::kClosed)) return;
  // Behind the end that was said, nothing may follow.
  if (!tcb->can_write()) n = 0;
  const uint32_t chunks_before = tcb->send.chunks();
  tcb->send.Commit(n);
  Hold(static_cast<int64_t>(tcb->send.chunks()) - chunks_before);
  if (n > 0) Touch(*tcb);
}

bool EngineCore::SendBuffer(StreamId stream, Buffer* buffer, int64_t now_ns) {
  now_ns_ = now_ns;
  Tcb* tcb = Find(stream);
  if (tcb == nullptr || !tcb->can_write()) return false;
  if (buffer->empty()) {
    buffer->Reset();
    return true;
  }
  if (tcb->send.bytes() >= tcb->send_limit_bytes || !MaySendMore(*tcb)) {
    tcb->wants_room = true;
    if (!MaySendMore(*tcb)) NoteStarving(*tcb);
    return false;
  }
  const uint32_t chunks_before = tcb->send.chunks();
  if (!tcb->send.Append(std::move(*buffer), blocks_)) {
    tcb->wants_room = true;
    if (tcb->send.empty()) NoteStarving(*tcb);  // no acknowledgement will tell it
    return false;
  }
  Hold(static_cast<int64_t>(tcb->send.chunks()) - chunks_before);
  Touch(*tcb);
  return true;
}

}  // namespace weft::tcp
