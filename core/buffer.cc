// SPDX-License-Identifier: Apache-2.0
#include "weft/core/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace weft {
namespace internal {
namespace {

// Marks the list of returned slots of a pool that is gone. Never dereferenced.
BufferSlot* const kOrphaned = reinterpret_cast<BufferSlot*>(uintptr_t{1});

size_t RoundUp(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

bool DropShare(BufferSlot* slot) {
  if (slot->shares.fetch_sub(1, std::memory_order_acq_rel) != 0) return false;
  // The others went between the caller's look and this.
  slot->shares.store(0, std::memory_order_relaxed);
  return true;
}

BufferPoolCore::BufferPoolCore(const BufferPoolOptions& options)
    : owner_(ThreadToken()),
      count_(options.count),
      stride_(sizeof(BufferSlot) + RoundUp(options.bytes, 64)),
      headroom_(static_cast<uint32_t>(options.headroom)),
      memory_bytes_(RoundUp(count_ * stride_, 4096)) {
  assert(options.count > 0 && options.headroom <= options.bytes && options.bytes <= (1u << 31));
  // Pages appear when they are first touched, so a large pool costs a small program nothing.
  void* memory = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<uint8_t*>(memory);
}

BufferPoolCore::BufferPoolCore(size_t headroom, void (*release)(void* context), void* context)
    : owner_(ThreadToken()),
      count_(0),
      stride_(sizeof(BufferSlot) + headroom),
      headroom_(static_cast<uint32_t>(headroom)),
      release_(release),
      release_context_(context) {}

BufferPoolCore::~BufferPoolCore() {
  if (release_ != nullptr) {
    release_(release_context_);
  } else {
    munmap(memory_, memory_bytes_);
  }
}

void BufferPoolCore::Adopt(void* memory, size_t capacity) {
  assert(release_ != nullptr && capacity >= headroom_);
  assert(reinterpret_cast<uintptr_t>(memory) % alignof(BufferSlot) == 0);
  auto* slot = new (memory) BufferSlot{};
  slot->pool = this;
  slot->capacity = static_cast<uint32_t>(capacity);
  slot->next = free_;
  free_ = slot;
  ++free_count_;
  ++used_slots_;
  // The least of them decides what fits every buffer.
  const size_t stride = sizeof(BufferSlot) + capacity;
  stride_ = count_++ == 0 ? stride : std::min(stride_, stride);
}

void BufferPoolCore::TakeReturned() {
  if (returned_.load(std::memory_order_relaxed) == nullptr) return;
  BufferSlot* slot = returned_.exchange(nullptr, std::memory_order_acquire);
  while (slot != nullptr) {
    BufferSlot* const next = slot->next;
    slot->next = free_;
    free_ = slot;
    ++free_count_;
    slot = next;
  }
}

BufferSlot* BufferPoolCore::Refill() {
  // What others returned comes first: it is warmer than memory never touched.
  TakeReturned();
  if (free_ == nullptr && used_slots_ < count_) {
    BufferSlot* slot = new (SlotAt(used_slots_++)) BufferSlot{};
    slot->pool = this;
    slot->capacity = static_cast<uint32_t>(stride_ - sizeof(BufferSlot));
    free_ = slot;
    ++free_count_;
  }
  return free_;
}

void BufferPoolCore::ReturnFromElsewhere(BufferSlot* slot) {
  BufferSlot* head = returned_.load(std::memory_order_relaxed);
  do {
    if (head == kOrphaned) {
      if (orphans_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
      return;
    }
    slot->next = head;
  } while (!returned_.compare_exchange_weak(head, slot, std::memory_order_release,
                                            std::memory_order_relaxed));
}

void BufferPoolCore::Orphan() {
  // From here on every return, of any thread, takes the path that counts.
  owner_.store(nullptr, std::memory_order_relaxed);
  BufferSlot* slot = returned_.exchange(kOrphaned, std::memory_order_acquire);
  size_t idle = free_count_;
  for (; slot != nullptr; slot = slot->next) ++idle;
  const int64_t out = static_cast<int64_t>(used_slots_ - idle);
  // Returns that came between the two lines above have made the count negative already.
  if (orphans_.fetch_add(out, std::memory_order_acq_rel) + out == 0) delete this;
}

}  // namespace internal

BufferPool::BufferPool(const BufferPoolOptions& options)
    : core_(new internal::BufferPoolCore(options)) {}

BufferPool::BufferPool(size_t headroom, void (*release)(void* context), void* context)
    : core_(new internal::BufferPoolCore(headroom, release, context)) {}

BufferPool::~BufferPool() {
  if (core_ != nullptr) core_->Orphan();
}

void BufferPool::Adopt(void* memory, size_t capacity) { core_->Adopt(memory, capacity); }

void BufferPool::BindToThisThread() {
  core_->owner_.store(internal::ThreadToken(), std::memory_order_relaxed);
}

bool BufferPool::BelongsToThisThread() const {
  return core_->owner_.load(std::memory_order_relaxed) == internal::ThreadToken();
}

size_t BufferPool::payload_bytes() const {
  return core_->stride_ - sizeof(internal::BufferSlot) - core_->headroom_;
}

size_t BufferPool::count() const { return core_->count_; }

size_t BufferPool::available() const {
  core_->TakeReturned();
  return core_->free_count_ + core_->count_ - core_->used_slots_;
}

size_t BufferPool::stride() const { return core_->stride_; }

absl::Span<uint8_t> BufferPool::region() const { return {core_->memory_, core_->memory_bytes_}; }

Buffer CopyOf(BufferPool& pool, const Buffer& original) {
  Buffer copy = pool.Allocate();
  const size_t size = original.size();
  if (!copy || copy.tailroom() < size) return Buffer();
  if (size > 0) std::memcpy(copy.Append(size), original.data(), size);
  copy.offload() = original.offload();
  return copy;
}

}  // namespace weft
