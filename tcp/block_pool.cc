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
  for (Page*& first : pages_) {
    while (Page* page = first) {
      first = page->next;
      std::free(page);
    }
  }
  for (Free*& first : free_) {
    while (Free* block = first) {
      first = block->next;
      std::free(block);
    }
  }
}

void BlockPool::Link(Page* page, int block_class) {
  page->previous = nullptr;
  page->next = pages_[block_class];
  if (page->next != nullptr) page->next->previous = page;
  pages_[block_class] = page;
}

void BlockPool::Unlink(Page* page, int block_class) {
  (page->previous == nullptr ? pages_[block_class] : page->previous->next) = page->next;
  if (page->next != nullptr) page->next->previous = page->previous;
}

// Aligned to its size, so that blocks find their page.
bool BlockPool::AddPage(size_t block_bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kPageBytes));
  if (memory == nullptr) return false;
  auto* page = reinterpret_cast<Page*>(memory);
  *page = {};
  for (size_t at = kPageBytes - block_bytes; at >= block_bytes; at -= block_bytes) {
    auto* block = reinterpret_cast<Free*>(memory + at);
    block->next = page->free;
    page->free = block;
  }
  cached_bytes_ += BlocksOfPage(block_bytes) * block_bytes;
  Link(page, ClassOf(block_bytes));
  return true;
}

void* BlockPool::TakeSmall(size_t block_bytes) {
  const int block_class = ClassOf(block_bytes);
  if (pages_[block_class] == nullptr && !AddPage(block_bytes)) return nullptr;
  Page* page = pages_[block_class];
  Free* block = page->free;
  page->free = block->next;
  ++page->used;
  if (page->free == nullptr) Unlink(page, block_class);
  cached_bytes_ -= block_bytes;
  return block;
}

void BlockPool::GiveSmall(void* block, size_t block_bytes) {
  auto* page = reinterpret_cast<Page*>(reinterpret_cast<uintptr_t>(block) & ~(kPageBytes - 1));
  const int block_class = ClassOf(block_bytes);
  if (page->free == nullptr) Link(page, block_class);
  auto* free = static_cast<Free*>(block);
  free->next = page->free;
  page->free = free;
  cached_bytes_ += block_bytes;
  if (--page->used > 0 || cached_bytes_ <= options_.cached_bytes_max) return;
  Unlink(page, block_class);
  cached_bytes_ -= BlocksOfPage(block_bytes) * block_bytes;
  std::free(page);
}

void* BlockPool::Take(size_t bytes) {
  const size_t block_bytes = BlockBytes(bytes);
  if (bytes == 0 || bytes > kBlockBytesMax || block_bytes > options_.bytes_max - taken_bytes_) {
    ++refused_;
    return nullptr;
  }
  void* block = nullptr;
  if (block_bytes <= kSmallBytesMax) {
    block = TakeSmall(block_bytes);
  } else if (Free*& first = free_[ClassOf(block_bytes)]; first != nullptr) {
    block = first;
    first = first->next;
    cached_bytes_ -= block_bytes;
  } else {
    block = std::aligned_alloc(kAlignment, block_bytes);
  }
  if (block == nullptr) {
    ++refused_;
    return nullptr;
  }
  taken_bytes_ += block_bytes;
  return block;
}

void BlockPool::Give(void* block, size_t bytes) {
  const size_t block_bytes = BlockBytes(bytes);
  assert(block != nullptr && block_bytes <= taken_bytes_);
  taken_bytes_ -= block_bytes;
  if (block_bytes <= kSmallBytesMax) {
    GiveSmall(block, block_bytes);
    return;
  }
  if (cached_bytes_ + block_bytes > options_.cached_bytes_max) {
    std::free(block);
    return;
  }
  auto* free = static_cast<Free*>(block);
  free->next = free_[ClassOf(block_bytes)];
  free_[ClassOf(block_bytes)] = free;
  cached_bytes_ += block_bytes;
}

}  // namespace weft::tcp
