// SPDX-License-Identifier: Apache-2.0
//
// BlockPool: memory of an engine's connections that they need only while they have something to do:
// send queues, what is known of a recovery. Blocks of 256 bytes times a power of two; freed ones
// wait in lists, one a size, so that in steady state nothing is asked of the system. Those of up to
// 4096 bytes are cut from pages of 64 KiB, which go back when all of their blocks are free.
//
//   BlockPool memory({.bytes_max = 256 << 20});
//   void* block = memory.Take(1000);  // 1024 bytes; null at the limit
//   memory.Give(block, 1000);
#ifndef WEFT_TCP_BLOCK_POOL_H_
#define WEFT_TCP_BLOCK_POOL_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace weft::tcp {

struct BlockPoolOptions {
  size_t bytes_max = size_t{1} << 30;  // taken at once; beyond that Take() gives null
  // Freed blocks that are kept; what is beyond goes back to the system.
  size_t cached_bytes_max = 16 << 20;
};

// One thread. All blocks have come back when it is destroyed.
class BlockPool {
 public:
  static constexpr size_t kBlockBytesMin = 256;
  static constexpr size_t kBlockBytesMax = 4 << 20;

  explicit BlockPool(const BlockPoolOptions& options = {}) : options_(options) {}
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // What a block for `bytes` holds: the next power of two, at least kBlockBytesMin.
  static constexpr size_t BlockBytes(size_t bytes) {
    return bytes <= kBlockBytesMin ? kBlockBytesMin : std::bit_ceil(bytes);
  }

  // A block aligned to 64 bytes, not cleared. Null for 0 bytes, more than kBlockBytesMax, and at
  // the limit, which counts in refused().
  void* Take(size_t bytes);

  // Gives back a block that was taken for as many bytes, or for as many by BlockBytes().
  void Give(void* block, size_t bytes);

  size_t taken_bytes() const { return taken_bytes_; }    // held by users, as blocks
  size_t cached_bytes() const { return cached_bytes_; }  // waiting
  uint64_t refused() const { return refused_; }

 private:
  struct Free {
    Free* next;
  };
  // At the beginning of each page, in the place of its first block.
  struct Page {
    Page* previous;  // of the pages with free blocks of this size
    Page* next;
    Free* free;
    size_t used;
  };
  static constexpr size_t kPageBytes = 64 << 10;
  static constexpr size_t kSmallBytesMax = 4096;
  static constexpr int ClassOf(size_t block_bytes) {
    return std::countr_zero(block_bytes / kBlockBytesMin);
  }
  static constexpr int kClasses = std::bit_width(kBlockBytesMax / kBlockBytesMin);
  static constexpr int kSmallClasses = std::bit_width(kSmallBytesMax / kBlockBytesMin);

  void* TakeSmall(size_t block_bytes);
  void GiveSmall(void* block, size_t block_bytes);
  bool AddPage(size_t block_bytes);
  void Link(Page* page, int block_class);
  void Unlink(Page* page, int block_class);
  static size_t BlocksOfPage(size_t block_bytes) { return kPageBytes / block_bytes - 1; }

  BlockPoolOptions options_;
  Page* pages_[kSmallClasses] = {};  // with free blocks; full ones are not linked
  Free* free_[kClasses] = {};        // of larger blocks
  size_t taken_bytes_ = 0;
  size_t cached_bytes_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_BLOCK_POOL_H_
