// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/byte_queue.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace weft::linux_transport {

using Chunk = ChunkPool::Chunk;
static_assert(sizeof(Chunk) == 65536);

ChunkPool::~ChunkPool() {
  while (free_ != nullptr) delete std::exchange(free_, free_->next);
}

// The one given last is the one that is still in the cache.
Chunk* ChunkPool::Take() {
  Chunk* chunk = free_;
  if (chunk == nullptr) {
    chunk = new Chunk;  // not value-initialised: pages are touched as they are used
    chunk->touched = 0;
  } else {
    free_ = chunk->next;
    --free_count_;
  }
  chunk->next = nullptr;
  chunk->begin = chunk->end = 0;
  return chunk;
}

void ChunkPool::Give(Chunk* chunk) {
  if (free_count_ >= (chunk->touched <= kSmallBytes ? kSmallKept : kKept)) {
    delete chunk;
    return;
  }
  chunk->next = std::exchange(free_, chunk);
  ++free_count_;
}

void ByteQueue::PopChunk() {
  pool_.Give(std::exchange(head_, head_->next));
  if (head_ == nullptr) tail_ = nullptr;
  --chunks_;
}

void ByteQueue::Clear() {
  while (head_ != nullptr) PopChunk();
  size_ = 0;
}

absl::Span<uint8_t> ByteQueue::Room(size_t wanted) {
  wanted = std::min(wanted, Chunk::kBytes);
  if ((tail_ == nullptr || tail_->room() < wanted) && chunks_ < kChunks) {
    Chunk* chunk = pool_.Take();
    (tail_ != nullptr ? tail_->next : head_) = chunk;
    tail_ = chunk;
    ++chunks_;
  }
  return {tail_->bytes + tail_->end, tail_->room()};
}

void ByteQueue::Commit(size_t n) {
  if (tail_ == nullptr) return;
  n = std::min(n, tail_->room());
  tail_->end += static_cast<uint32_t>(n);
  tail_->touched = std::max(tail_->touched, tail_->end);
  size_ += n;
  if (size_ == 0) Clear();
}

absl::Span<const uint8_t> ByteQueue::Front() const {
  if (head_ == nullptr) return {};
  return {head_->bytes + head_->begin, head_->size()};
}

size_t ByteQueue::Pieces(iovec (&pieces)[kChunks]) const {
  size_t n = 0;
  for (Chunk* chunk = head_; chunk != nullptr; chunk = chunk->next) {
    pieces[n++] = {chunk->bytes + chunk->begin, chunk->size()};
  }
  return n;
}

void ByteQueue::Consume(size_t n) {
  assert(n <= size_);
  size_ -= n;
  while (head_ != nullptr) {
    const size_t from_head = std::min(n, head_->size());
    head_->begin += static_cast<uint32_t>(from_head);
    n -= from_head;
    if (head_->size() > 0) return;
    PopChunk();
  }
}

}  // namespace weft::linux_transport
