// SPDX-License-Identifier: Apache-2.0
//
// Writing, sending and memory; what acknowledgements do is in scoreboard.cc.
#include "weft/tcp/send_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

namespace weft::tcp {
namespace {

uint8_t* Payload(SendQueue::Chunk& chunk) {
  return chunk.buffer.data() - chunk.buffer.headroom() + chunk.offset;
}

}  // namespace

void SendQueue::Clear() {
  if (ring_ == nullptr) return;
  Ring* ring = std::exchange(ring_, nullptr);
  const uint32_t end = ring->end + (ring->reserved ? 1 : 0);
  for (uint32_t i = ring->head; i != end; ++i) {
    ring->chunks[i & (ring->capacity - 1)].buffer.Reset();
  }
  BlockPool* memory = ring->memory;
  if (ring->capacity > Ring::kFirstChunks) {
    memory->Give(ring->chunks, ring->capacity * sizeof(Chunk));
  }
  memory->Give(ring, sizeof(Ring));
  una_ = next_ = end_;
}

void SendQueue::ReleaseIfEmpty() {
  if (ring_ == nullptr || !empty() || ring_->reserved) return;
  if (ring_->recovery.forget_ns == RecoveryState::kNever) Clear();
}

bool SendQueue::Prepare(BlockPool& memory) {
  if (ring_ == nullptr) {
    void* block = memory.Take(sizeof(Ring));
    if (block == nullptr) return false;
    ring_ = new (block)
        Ring{.memory = &memory, .chunks = nullptr, .sent_ns = 0, .capacity = Ring::kFirstChunks};
    ring_->chunks = ring_->first_chunks;
    ring_->recovery.forward = una_;
    ring_->recovery.recovery_point = una_ - 1;
    return true;
  }
  return end_and_reserved() - ring_->head < ring_->capacity || Grow();
}

// Twice the capacity. Indices, and the links that are their low bits, stay what they are.
bool SendQueue::Grow() {
  const uint32_t before = ring_->capacity;
  const uint32_t after = before * 2;
  if (after > kChunksMax) return false;
  void* block = ring_->memory->Take(after * sizeof(Chunk));
  if (block == nullptr) return false;
  auto* chunks = static_cast<Chunk*>(block);
  for (uint32_t i = 0; i < after; ++i) new (&chunks[i]) Chunk;
  for (uint32_t i = ring_->head; i != end_and_reserved(); ++i) {
    chunks[i & (after - 1)] = std::move(At(i));
  }
  if (before > Ring::kFirstChunks) ring_->memory->Give(ring_->chunks, before * sizeof(Chunk));
  ring_->chunks = chunks;
  ring_->capacity = after;
  return true;
}

absl::Span<uint8_t> SendQueue::Reserve(size_t wanted, size_t chunk_bytes_max, BufferPool& buffers,
                                       BlockPool& memory, size_t spare) {
  wanted = std::min(wanted, kBytesMax - bytes());
  if (wanted == 0) return {};
  chunk_bytes_max = std::min(chunk_bytes_max, kChunkBytesMax);
  if (ring_ != nullptr && !ring_->reserved && ring_->end != ring_->sent) {
    Chunk& last = At(ring_->end - 1);
    Buffer& buffer = last.buffer;
    const bool ends_here = buffer.headroom() == last.offset && buffer.size() == last.bytes;
    if (last.bytes < chunk_bytes_max && !buffer.is_shared() && ends_here && buffer.tailroom() > 0) {
      const size_t room = std::min({wanted, chunk_bytes_max - last.bytes, buffer.tailroom()});
      return {buffer.data() + buffer.size(), room};
    }
  }
  if (ring_ == nullptr || !ring_->reserved) {
    if (!empty() && spare > 0 && buffers.available() <= spare) return {};
    if (!Prepare(memory)) return {};
    Buffer buffer = buffers.Allocate();
    if (!buffer) {
      ReleaseIfEmpty();
      return {};
    }
    Chunk& fresh = At(ring_->end);
    fresh = Chunk();
    fresh.offset = static_cast<uint32_t>(buffer.headroom());
    fresh.buffer = std::move(buffer);
    ring_->reserved = true;
  }
  Buffer& buffer = At(ring_->end).buffer;
  return {buffer.data(), std::min({wanted, chunk_bytes_max, buffer.tailroom()})};
}

void SendQueue::Commit(size_t n) {
  if (ring_ == nullptr) return;
  if (ring_->reserved) {
    ring_->reserved = false;
    Chunk& fresh = At(ring_->end);
    if (n == 0) {
      fresh.buffer.Reset();
      ReleaseIfEmpty();
      return;
    }
    fresh.seq = end_;
    ++ring_->end;
  }
  if (n == 0) return;
  assert(ring_->end != ring_->sent);
  Chunk& last = At(ring_->end - 1);
  last.buffer.Append(n);
  last.bytes = static_cast<uint16_t>(last.bytes + n);
  end_ += static_cast<uint32_t>(n);
}

bool SendQueue::Append(Buffer&& buffer, BlockPool& memory) {
  const size_t size = buffer.size();
  const size_t pieces = (size + kChunkBytesMax - 1) / kChunkBytesMax;
  if (size == 0 || pieces > kChunksMax - chunks() || size > kBytesMax - bytes()) return false;
  if (ring_ != nullptr && ring_->reserved) Commit(0);
  if (!Prepare(memory)) return false;
  while (ring_->capacity - chunks() < pieces) {
    if (!Grow()) {
      ReleaseIfEmpty();
      return false;
    }
  }
  const size_t headroom = buffer.headroom();
  for (size_t at = 0; at < size; at += kChunkBytesMax) {
    Chunk& chunk = At(ring_->end++);
    chunk = Chunk();
    chunk.seq = end_;
    chunk.offset = static_cast<uint32_t>(headroom + at);
    chunk.bytes = static_cast<uint16_t>(std::min(size - at, kChunkBytesMax));
    chunk.buffer = at + kChunkBytesMax < size ? buffer.Share() : std::move(buffer);
    end_ += chunk.bytes;
  }
  return true;
}

uint32_t SendQueue::next_chunk_bytes() const {
  return ring_ == nullptr || ring_->sent == ring_->end ? 0 : At(ring_->sent).bytes;
}

// Cuts the first `bytes` of the first unsent chunk off, so that headers can be put in front of both
// parts: one of them goes to a buffer of its own, the shorter one if it can.
bool SendQueue::CutUnsent(uint32_t bytes, BufferPool& buffers) {
  Buffer fresh = buffers.Allocate();
  if (!fresh || !InsertAfter(ring_->sent)) return false;
  Chunk& chunk = At(ring_->sent);
  Chunk& rest = At(ring_->sent + 1);
  const uint32_t behind = chunk.bytes - bytes;
  const bool keeps_front =
      behind < bytes && behind <= fresh.tailroom() && !chunk.buffer.is_shared();
  if (!keeps_front) bytes = std::min(bytes, static_cast<uint32_t>(fresh.tailroom()));
  rest.seq = chunk.seq + bytes;
  rest.bytes = static_cast<uint16_t>(chunk.bytes - bytes);
  if (keeps_front) {
    std::memcpy(fresh.Append(behind), Payload(chunk) + bytes, behind);
    rest.offset = static_cast<uint32_t>(fresh.headroom());
    rest.buffer = std::move(fresh);
    chunk.buffer.SetData(chunk.offset, bytes);
  } else {
    std::memcpy(fresh.Append(bytes), Payload(chunk), bytes);
    rest.offset = chunk.offset + bytes;
    rest.buffer = std::move(chunk.buffer);
    if (!rest.buffer.is_shared()) rest.buffer.SetData(rest.offset, rest.bytes);
    chunk.offset = static_cast<uint32_t>(fresh.headroom());
    chunk.buffer = std::move(fresh);
  }
  chunk.bytes = static_cast<uint16_t>(bytes);
  return true;
}

SendQueue::Piece SendQueue::SendNext(size_t bytes_max, int64_t now_ns, BufferPool& buffers,
                                     size_t headroom) {
  assert(bytes_max > 0);
  if (next_chunk_bytes() == 0) return {};
  bool cut = false;
  if (MustCopy(At(ring_->sent), headroom)) bytes_max = std::min(bytes_max, buffers.payload_bytes());
  if (At(ring_->sent).bytes > bytes_max) {
    if (!CutUnsent(static_cast<uint32_t>(bytes_max), buffers)) return {.starved = true};
    cut = true;
  }
  Piece piece = Give(ring_->sent, buffers, headroom);
  if (!piece.buffer) return piece;
  piece.copied |= cut;
  Chunk& chunk = At(ring_->sent);
  chunk.sent_ns = TimeOfSending(now_ns);
  LinkLatest(ring_->sent);
  ++ring_->sent;
  next_ = chunk.end();
  return piece;
}

// A handle to a chunk's bytes that may be sent: the chunk's own buffer, if nobody else has it.
SendQueue::Piece SendQueue::Give(uint32_t index, BufferPool& buffers, size_t headroom) {
  Chunk& chunk = At(index);
  Piece piece{.seq = chunk.seq, .bytes = chunk.bytes};
  if (!MustCopy(chunk, headroom)) {
    chunk.buffer.SetData(chunk.offset, chunk.bytes);
    chunk.buffer.offload() = {};
    piece.buffer = chunk.buffer.Share();
    return piece;
  }
  Buffer copy = buffers.Allocate();
  if (!copy || copy.tailroom() < chunk.bytes || copy.headroom() < headroom) {
    return {.starved = true};
  }
  std::memcpy(copy.Append(chunk.bytes), Payload(chunk), chunk.bytes);
  // The copy is kept: next time the device has let go of it, and what it was cut from is free.
  chunk.offset = static_cast<uint32_t>(copy.headroom());
  piece.buffer = copy.Share();
  piece.copied = true;
  chunk.buffer = std::move(copy);
  return piece;
}

SendQueue::Piece SendQueue::Resend(uint32_t index, size_t bytes_max, int64_t now_ns,
                                   BufferPool& buffers, size_t headroom) {
  assert(bytes_max > 0);
  if (MustCopy(At(index), headroom)) bytes_max = std::min(bytes_max, buffers.payload_bytes());
  if (At(index).bytes > bytes_max && !Split(index, static_cast<uint32_t>(bytes_max))) {
    return {.starved = true};
  }
  Piece piece = Give(index, buffers, headroom);
  if (!piece.buffer) return piece;
  piece.resent = true;
  Chunk& chunk = At(index);
  if (!chunk.sacked()) {
    // A chunk on the way that is sent again (a probe) counts once, as what was sent again.
    if (!chunk.lost()) MarkLost(chunk);
    if ((chunk.flags & kResent) == 0) ring_->resent_bytes += chunk.bytes;
    chunk.flags |= kResent;
    if ((chunk.flags & kInSentOrder) != 0) Unlink(chunk);
    LinkLatest(index);
  }
  chunk.flags |= kEverResent;
  chunk.sent_ns = TimeOfSending(now_ns);
  return piece;
}

SendQueue::Piece SendQueue::ResendLost(size_t bytes_max, int64_t now_ns, BufferPool& buffers,
                                       size_t headroom) {
  if (FirstLost() == nullptr) return {};
  return Resend(ring_->lost_hint, bytes_max, now_ns, buffers, headroom);
}

SendQueue::Piece SendQueue::ResendFirst(size_t bytes_max, int64_t now_ns, BufferPool& buffers,
                                        size_t headroom) {
  if (sent_chunks() == 0) return {};
  return Resend(ring_->head, bytes_max, now_ns, buffers, headroom);
}

SendQueue::Piece SendQueue::ResendLast(size_t bytes_max, int64_t now_ns, BufferPool& buffers,
                                       size_t headroom) {
  if (sent_chunks() == 0) return {};
  uint32_t index = ring_->sent - 1;
  if (At(index).bytes > bytes_max) {
    if (!Split(index, At(index).bytes - static_cast<uint32_t>(bytes_max))) return {.starved = true};
    ++index;
  }
  return Resend(index, bytes_max, now_ns, buffers, headroom);
}

// Makes room for a chunk behind `index`: those behind it move up. Rare: pieces that are cut.
bool SendQueue::InsertAfter(uint32_t index) {
  if (end_and_reserved() - ring_->head == ring_->capacity && !Grow()) return false;
  for (uint32_t i = end_and_reserved(); i != index + 1; --i) {
    At(i) = std::move(At(i - 1));
    Moved(i - 1, i);
  }
  At(index + 1) = Chunk();
  ++ring_->end;
  if (index < ring_->sent) ++ring_->sent;
  if (static_cast<int32_t>(ring_->lost_hint - index) > 0) ++ring_->lost_hint;
  return true;
}

// Cuts a sent chunk in two that share its buffer.
bool SendQueue::Split(uint32_t index, uint32_t bytes) {
  const uint32_t sent = ring_->sent;
  if (!InsertAfter(index)) return false;
  assert(index < sent && ring_->sent == sent + 1);
  static_cast<void>(sent);
  Chunk& chunk = At(index);
  Chunk& rest = At(index + 1);
  rest.buffer = chunk.buffer.Share();
  rest.sent_ns = chunk.sent_ns;
  rest.seq = chunk.seq + bytes;
  rest.offset = chunk.offset + bytes;
  rest.bytes = static_cast<uint16_t>(chunk.bytes - bytes);
  rest.flags = static_cast<uint8_t>(chunk.flags & ~kInSentOrder);
  chunk.bytes = static_cast<uint16_t>(bytes);
  if (rest.sacked()) ++ring_->sacked_chunks;
  if ((chunk.flags & kInSentOrder) != 0) LinkBehind(index, index + 1);
  return true;
}

}  // namespace weft::tcp
