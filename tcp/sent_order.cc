// SPDX-License-Identifier: Apache-2.0
//
// SendQueue's list of chunks on the way, in order of sending (RFC 8985, 6.2 recommends one). Links
// are the low bits of indices, so they hold when the ring grows.
#include "weft/tcp/send_queue.h"

namespace weft::tcp {

void SendQueue::LinkLatest(uint32_t index) {
  Chunk& chunk = At(index);
  const auto link = static_cast<uint16_t>(index);
  if (ring_->in_sent_order++ == 0) {
    ring_->earliest = link;
  } else {
    At(ring_->latest).later = link;
    chunk.earlier = ring_->latest;
  }
  ring_->latest = link;
  chunk.flags |= kInSentOrder;
}

void SendQueue::LinkBehind(uint32_t before, uint32_t index) {
  const auto link = static_cast<uint16_t>(index);
  if (ring_->latest == static_cast<uint16_t>(before)) {
    LinkLatest(index);
    return;
  }
  Chunk& chunk = At(index);
  chunk.earlier = static_cast<uint16_t>(before);
  chunk.later = At(before).later;
  At(chunk.later).earlier = link;
  At(before).later = link;
  chunk.flags |= kInSentOrder;
  ++ring_->in_sent_order;
}

// Where it belongs by its time, searched from `from`, or from the first one.
void SendQueue::LinkByTime(uint32_t index, const Chunk* from) {
  Chunk& chunk = At(index);
  const auto link = static_cast<uint16_t>(index);
  if (ring_->in_sent_order == 0 || At(ring_->latest).SentBefore(chunk.sent_ns, chunk.end())) {
    LinkLatest(index);
    return;
  }
  uint16_t later = from == nullptr ? ring_->earliest : from->later;
  while (At(later).SentBefore(chunk.sent_ns, chunk.end())) later = At(later).later;
  chunk.later = later;
  chunk.earlier = At(later).earlier;
  if (ring_->earliest == later) {
    ring_->earliest = link;
  } else {
    At(chunk.earlier).later = link;
  }
  At(later).earlier = link;
  chunk.flags |= kInSentOrder;
  ++ring_->in_sent_order;
}

void SendQueue::Unlink(Chunk& chunk) {
  if ((chunk.flags & kInSentOrder) == 0) return;
  chunk.flags &= static_cast<uint8_t>(~kInSentOrder);
  --ring_->in_sent_order;
  const bool first = &At(ring_->earliest) == &chunk;
  const bool last = &At(ring_->latest) == &chunk;
  if (first) {
    ring_->earliest = chunk.later;
  } else {
    At(chunk.earlier).later = chunk.later;
  }
  if (last) {
    ring_->latest = chunk.earlier;
  } else {
    At(chunk.later).earlier = chunk.earlier;
  }
}

// A chunk has another index: its neighbours and the ends learn it.
void SendQueue::Moved(uint32_t from, uint32_t to) {
  Chunk& chunk = At(to);
  if ((chunk.flags & kInSentOrder) == 0) return;
  const auto old_link = static_cast<uint16_t>(from);
  const auto link = static_cast<uint16_t>(to);
  if (ring_->earliest == old_link) {
    ring_->earliest = link;
  } else {
    At(chunk.earlier).later = link;
  }
  if (ring_->latest == old_link) {
    ring_->latest = link;
  } else {
    At(chunk.later).earlier = link;
  }
}

}  // namespace weft::tcp
