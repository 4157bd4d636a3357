// SPDX-License-Identifier: Apache-2.0
//
// Bytes on their way through a stream: a queue of large chunks that takes memory only while it
// holds something.
#ifndef WEFT_TRANSPORTS_LINUX_BYTE_QUEUE_H_
#define WEFT_TRANSPORTS_LINUX_BYTE_QUEUE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace weft::linux_transport {

// Chunks that are free, kept for the next queue that needs one. Use by one thread.
class ChunkPool {
 public:
  struct Chunk {
    static constexpr size_t kBytes = 65536 - 24;
    Chunk* next;
    uint32_t begin;  // of what is in use of `bytes`
    uint32_t end;
    uint32_t touched;  // highest end ever: as much of the memory is really there
    uint8_t bytes[kBytes];

    size_t size() const { return end - begin; }
    size_t room() const { return kBytes - end; }
  };

  ChunkPool() = default;
  ~ChunkPool();
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  Chunk* Take();
  void Give(Chunk* chunk);

 private:
  // Beyond these a chunk goes back to the heap. Many short messages leave many chunks of a few
  // pages behind, a few long ones some that are filled.
  static constexpr size_t kKept = 32;
  static constexpr size_t kSmallKept = 1024;
  static constexpr size_t kSmallBytes = 8192;

  Chunk* free_ = nullptr;
  size_t free_count_ = 0;
};

// First in, first out; at most kChunks chunks. `pool` must outlive it.
class ByteQueue {
 public:
  static constexpr size_t kChunks = 4;

  explicit ByteQueue(ChunkPool& pool) : pool_(pool) {}
  ~ByteQueue() { Clear(); }
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void Clear();

  // Room in one piece behind the data: at least `wanted` bytes, as far as a chunk holds them,
  // unless the queue is full, when it is what is left. Commit() makes the first `n` bytes of it
  // data.
  absl::Span<uint8_t> Room(size_t wanted);
  void Commit(size_t n);
  // Whether Room() can give a whole chunk, or has an empty one.
  bool HasRoom() const { return chunks_ < kChunks; }

  // The oldest bytes, as far as they lie in one piece, and all of them as pieces.
  absl::Span<const uint8_t> Front() const;
  size_t Pieces(iovec (&pieces)[kChunks]) const;
  // `n` is at most size().
  void Consume(size_t n);

 private:
  void PopChunk();

  ChunkPool& pool_;
  ChunkPool::Chunk* head_ = nullptr;
  ChunkPool::Chunk* tail_ = nullptr;
  size_t chunks_ = 0;
  size_t size_ = 0;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_BYTE_QUEUE_H_
