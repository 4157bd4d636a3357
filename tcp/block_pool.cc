// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/block_pool.h"

#include <cassert>
#include <cstdlib>

namespace weft::tcp {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

BlockPool::~BlockPool() {
  assert(taken_bytes_ == 0);
  for (int i = ClassOf(kSmallBytesMax) + 1; i < kClasses; ++i) {
    while (Free* block = free_[i]) {
      free_[i] = block->next;
      std::free(block);
    }
  }
  while (Free* page = pages_) {
    pages_ = page->next;
    std::free(page);
  }
}

// Makes blocks of a small class from a fresh page, whose first one links it.
bool BlockPool::Cut(int block_class, size_t block_bytes) {
  auto* page = static_cast<std::byte*>(std::aligned_alloc(kAlignment, kPageBytes));
  if (page == nullptr) return false;
  auto* link = reinterpret_cast<Free*>(page);
  link->next = pages_;
  pages_ = link;
  for (size_t at = kPageBytes - block_bytes; at >= block_bytes; at -= block_bytes) {
    auto* block = reinterpret_cast<Free*>(page + at);
    block->next = free_[block_class];
    free_[block_class] = block;
    cached_bytes_ += block_bytes;
  }
  return true;
}

void* BlockPool::Take(size_t bytes) {
  if (bytes == 0 || bytes > kBlockBytesMax) {
    ++refused_;
    return nullptr;
  }
  const size_t block_bytes = BlockBytes(bytes);
  if (block_bytes > options_.bytes_max - taken_bytes_) {
    ++refused_;
    return nullptr;
  }
  const int block_class = ClassOf(block_bytes);
  if (free_[block_class] == nullptr) {
    if (block_bytes > kSmallBytesMax) {
      void* block = std::aligned_alloc(kAlignment, block_bytes);
      if (block == nullptr) {
        ++refused_;
        return nullptr;
      }
      taken_bytes_ += block_bytes;
      return block;
    }
    if (!Cut(block_class, block_bytes)) {
      ++refused_;
      return nullptr;
    }
  }
  Free* block = free_[block_class];
  free_[block_class] = block->next;
  cached_bytes_ -= block_bytes;
  taken_bytes_ += block_bytes;
  return block;
}

void BlockPool::Give(void* block, size_t bytes) {
  const size_t block_bytes = BlockBytes(bytes);
  assert(block != nullptr && block_bytes <= taken_bytes_);
  taken_bytes_ -= block_bytes;
  if (block_bytes > kSmallBytesMax && cached_bytes_ + block_bytes > options_.cached_bytes_max) {
    std::free(block);
    return;
  }
  auto* free = static_cast<Free*>(block);
  free->next = free_[ClassOf(block_bytes)];
  free_[ClassOf(block_bytes)] = free;
  cached_bytes_ += block_bytes;
}

}  // namespace weft::tcp
