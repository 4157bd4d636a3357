// SPDX-License-Identifier: Apache-2.0
//
// What acknowledgements do to a SendQueue (RFC 2018, RFC 2883, RFC 6675).
#include <algorithm>
#include <cassert>

#include "weft/tcp/send_queue.h"

namespace weft::tcp {
namespace {

// A SACK block may cut a chunk that was sent as several segments, but not into crumbs: a peer could
// have a chunk for each byte made.
constexpr uint32_t kSplitBytesMin = 256;

constexpr uint32_t kBlockBytesMax = 1 << 30;  // a window (RFC 7323, 2.2)

bool Within(SeqRange inner, SeqRange outer) {
  return inner.begin >= outer.begin && inner.end <= outer.end;
}

}  // namespace

uint32_t SendQueue::IndexOf(const Chunk& chunk) const {
  const auto place = static_cast<uint32_t>(&chunk - ring_->chunks);
  return ring_->head + ((place - ring_->head) & (ring_->capacity - 1));
}

// The sent chunk that holds `seq`, una() <= seq < next().
uint32_t SendQueue::Find(Seq seq) const {
  uint32_t low = 0;
  uint32_t high = sent_chunks();
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    if (At(ring_->head + middle).seq <= seq) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return ring_->head + low;
}

// The first `bytes` of a chunk have arrived.
void SendQueue::Deliver(const Chunk& chunk, uint32_t bytes, Delivery& delivery) const {
  const Seq end = chunk.seq + bytes;
  if (delivery.delivered_bytes == 0 || end > delivery.highest) delivery.highest = end;
  delivery.delivered_bytes += bytes;
  if (bytes == chunk.bytes) ++delivery.delivered_chunks;
  const bool once = (chunk.flags & kEverResent) == 0;
  if (once) {
    if (delivery.earliest_sent_ns == 0 || chunk.sent_ns < delivery.earliest_sent_ns) {
      delivery.earliest_sent_ns = chunk.sent_ns;
    }
    delivery.latest_sent_ns = std::max(delivery.latest_sent_ns, chunk.sent_ns);
    delivery.original |= end <= delivery.recovery_point;
    delivery.reordered |= end < delivery.forward;
  } else {
    delivery.resent = true;
    // Sooner than can be: it is of an earlier sending.
    if (chunk.sent_ns > delivery.ambiguous_after_ns) return;
  }
  if (chunk.sent_ns > delivery.rack_sent_ns ||
      (chunk.sent_ns == delivery.rack_sent_ns && end > delivery.rack_end)) {
    delivery.rack_sent_ns = chunk.sent_ns;
    delivery.rack_end = end;
  }
}

// Takes `bytes` of a chunk out of the counts.
void SendQueue::Discount(const Chunk& chunk, uint32_t bytes) {
  if (chunk.sacked()) {
    ring_->sacked_bytes -= bytes;
  } else if (chunk.lost()) {
    ring_->lost_bytes -= bytes;
    if ((chunk.flags & kResent) != 0) ring_->resent_bytes -= bytes;
  }
}

void SendQueue::Acknowledge(Seq ack, Delivery& delivery) {
  ack = Min(ack, next_);
  if (ring_ == nullptr || ack <= una_) return;
  delivery.acked_bytes = static_cast<uint32_t>(ack - una_);
  una_ = ack;
  while (ring_->head != ring_->sent) {
    Chunk& chunk = At(ring_->head);
    if (chunk.seq >= ack) break;
    const uint32_t bytes = std::min<uint32_t>(chunk.bytes, static_cast<uint32_t>(ack - chunk.seq));
    if (!chunk.sacked()) Deliver(chunk, bytes, delivery);
    Discount(chunk, bytes);
    if (bytes < chunk.bytes) {
      chunk.seq = ack;
      chunk.offset += bytes;
      chunk.bytes = static_cast<uint16_t>(chunk.bytes - bytes);
      break;
    }
    if (chunk.sacked()) --ring_->sacked_chunks;
    Unlink(chunk);
    chunk.buffer.Reset();
    chunk.flags = 0;
    ++ring_->head;
  }
  if (static_cast<int32_t>(ring_->lost_hint - ring_->head) < 0) ring_->lost_hint = ring_->head;
  for (SeqRange& known : ring_->known) {
    if (!known.empty() && known.end <= ack) known = {};
  }
}

void SendQueue::ApplySacks(Seq ack, absl::Span<const SeqRange> blocks, Delivery& delivery) {
  if (ring_ == nullptr) return;
  blocks = blocks.first(std::min(blocks.size(), kSackBlocksMax));
  for (size_t i = 0; i < blocks.size(); ++i) {
    const SeqRange block = blocks[i];
    if (block.end <= block.begin || block.bytes() > kBlockBytesMax || block.end > next_) {
      ++delivery.bad_blocks;
      continue;
    }
    // RFC 2883, 4: the first block, if it is below the acknowledgement or within the second one,
    // names what the peer received twice.
    if (i == 0 && (block.end <= ack || (blocks.size() > 1 && Within(block, blocks[1])))) {
      delivery.duplicate = block;
      delivery.duplicate_bytes = block.bytes();
      continue;
    }
    if (block.end <= una_) {
      ++delivery.old_blocks;
      continue;
    }
    // What begins at or before the acknowledgement would be part of it.
    if (block.begin <= Max(ack, una_)) {
      ++delivery.bad_blocks;
      continue;
    }
    SackBlock(block, delivery);
  }
}

// What is known of the block from before is stepped over: one that grows at its end, as they do,
// costs as much as it grew.
void SendQueue::SackBlock(SeqRange block, Delivery& delivery) {
  Seq at = block.begin;
  while (at < block.end) {
    Seq stop = block.end;
    bool known = false;
    for (const SeqRange& range : ring_->known) {
      if (range.empty()) continue;
      if (InRange(at, range.begin, range.end)) {
        known = true;
        at = range.end;
        break;
      }
      if (range.begin > at) stop = Min(stop, range.begin);
    }
    if (known) continue;
    SackUnknown(at, stop, block, delivery);
    at = stop;
  }
  Remember(block);
}

// Marks chunks that begin before `stop`, from the one that holds `at` on, and lie within `block`.
void SendQueue::SackUnknown(Seq at, Seq stop, SeqRange block, Delivery& delivery) {
  for (uint32_t i = Find(at); i != ring_->sent; ++i) {
    if (At(i).seq >= stop) return;
    if (At(i).sacked()) continue;
    if (At(i).seq < block.begin) {
      const auto before = static_cast<uint32_t>(block.begin - At(i).seq);
      if (before >= kSplitBytesMin && At(i).bytes - before >= kSplitBytesMin) Split(i, before);
      continue;
    }
    if (At(i).end() > block.end) {
      const auto within = static_cast<uint32_t>(block.end - At(i).seq);
      if (within < kSplitBytesMin || At(i).bytes - within < kSplitBytesMin || !Split(i, within)) {
        return;
      }
    }
    Chunk& chunk = At(i);
    Deliver(chunk, chunk.bytes, delivery);
    delivery.sacked_bytes += chunk.bytes;
    Discount(chunk, chunk.bytes);
    Unlink(chunk);
    chunk.flags = static_cast<uint8_t>((chunk.flags & ~(kLost | kResent)) | kSacked);
    ring_->sacked_bytes += chunk.bytes;
    ++ring_->sacked_chunks;
  }
}

void SendQueue::Remember(SeqRange block) {
  SeqRange* const known = ring_->known;
  size_t kept = 0;
  for (size_t i = 0; i < kSackBlocksMax; ++i) {
    if (!known[i].empty() && !Within(known[i], block)) known[kept++] = known[i];
  }
  // The one that was named longest ago makes room.
  kept = std::min(kept, kSackBlocksMax - 1);
  for (size_t i = kept; i > 0; --i) known[i] = known[i - 1];
  known[0] = block;
  for (size_t i = kept + 1; i < kSackBlocksMax; ++i) known[i] = {};
}

bool SendQueue::first_is_sacked() const { return sent_chunks() > 0 && At(ring_->head).sacked(); }

void SendQueue::ForgetSacks() {
  for (uint32_t i = 0; i < sent_chunks(); ++i) {
    Chunk& chunk = At(ring_->head + i);
    if (!chunk.sacked()) continue;
    Discount(chunk, chunk.bytes);
    --ring_->sacked_chunks;
    chunk.flags &= static_cast<uint8_t>(~kSacked);
    MarkLost(chunk);
  }
  if (ring_ == nullptr) return;
  for (SeqRange& known : ring_->known) known = {};
}

void SendQueue::MarkLost(Chunk& chunk) {
  assert(!chunk.sacked());
  if ((chunk.flags & kResent) != 0) {
    ring_->resent_bytes -= chunk.bytes;
  } else if (!chunk.lost()) {
    ring_->lost_bytes += chunk.bytes;
  }
  chunk.flags = static_cast<uint8_t>((chunk.flags & ~kResent) | kLost);
  Unlink(chunk);
  const uint32_t index = IndexOf(chunk);
  if (static_cast<int32_t>(index - ring_->lost_hint) < 0) ring_->lost_hint = index;
}

void SendQueue::MarkAllLost() {
  MarkLostInSentOrder([](const Chunk&) { return true; });
}

bool SendQueue::MarkFirstLost() {
  if (sent_chunks() == 0 || !At(ring_->head).on_the_way()) return false;
  MarkLost(At(ring_->head));
  return true;
}

void SendQueue::MarkLostBefore(Seq end) {
  if (ring_ == nullptr) return;
  uint16_t link = ring_->earliest;
  for (uint32_t left = ring_->in_sent_order; left > 0; --left) {
    Chunk& chunk = At(link);
    link = chunk.later;
    const bool once = (chunk.flags & kEverResent) == 0;
    if (once && chunk.seq >= end) return;
    if (once && chunk.end() <= end) MarkLost(chunk);
  }
}

Seq SendQueue::LostBelow(uint32_t chunks, uint32_t bytes) const {
  if (sacked_chunks() == 0) return una_;
  uint32_t chunks_above = 0;
  uint32_t bytes_above = 0;
  for (uint32_t i = ring_->sent; i != ring_->head; --i) {
    const Chunk& chunk = At(i - 1);
    if (!chunk.sacked()) continue;
    ++chunks_above;
    bytes_above += chunk.bytes;
    if (chunks_above >= chunks || bytes_above > bytes) return chunk.seq;
  }
  return una_;
}

void SendQueue::UnmarkLost() {
  uint16_t after = 0;  // what was put back last
  bool any = false;
  for (uint32_t i = 0; i < sent_chunks(); ++i) {
    const uint32_t index = ring_->head + i;
    Chunk& chunk = At(index);
    if (chunk.sacked() || !chunk.lost() || (chunk.flags & kResent) != 0) continue;
    ring_->lost_bytes -= chunk.bytes;
    chunk.flags &= static_cast<uint8_t>(~kLost);
    if (any && At(after).sent_ns > chunk.sent_ns) any = false;
    LinkByTime(index, any ? &At(after) : nullptr);
    after = static_cast<uint16_t>(index);
    any = true;
  }
}

const SendQueue::Chunk* SendQueue::FirstLost() const {
  if (ring_ == nullptr || ring_->lost_bytes == ring_->resent_bytes) return nullptr;
  for (; ring_->lost_hint != ring_->sent; ++ring_->lost_hint) {
    const Chunk& chunk = At(ring_->lost_hint);
    if (chunk.lost() && (chunk.flags & kResent) == 0) return &chunk;
  }
  assert(false);
  return nullptr;
}

}  // namespace weft::tcp
