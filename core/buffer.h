// SPDX-License-Identifier: Apache-2.0
//
// Packet buffers: fixed-size slots of memory that a device may be told about once, handed from
// owner to owner without a copy.
//
//   BufferPool pool({.count = 1024, .bytes = 2048});
//   Buffer packet = pool.Allocate();            // null when the pool is empty
//   std::memcpy(packet.Append(5), "hello", 5);  // payload, behind the headroom
//   StoreBig16(packet.Prepend(2), 5);           // a lower layer's header, in front of it
//
// A slot is a cache line of bookkeeping followed directly by its memory:
//
//   | BufferSlot | headroom ...  data ...  tailroom |
//                ^memory()       ^data()  ^data()+size()
#ifndef WEFT_CORE_BUFFER_H_
#define WEFT_CORE_BUFFER_H_

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/types/span.h"

namespace weft {

class BufferPool;

namespace internal {

class BufferPoolCore;

struct alignas(64) BufferSlot {
  BufferPoolCore* pool;
  BufferSlot* next;   // in a free list or in a BufferChain
  uint32_t offset;    // of data from memory()
  uint32_t size;      // of data
  uint32_t capacity;  // of memory()
  uint8_t* memory() { return reinterpret_cast<uint8_t*>(this + 1); }
};
static_assert(sizeof(BufferSlot) == 64);

// An address that differs between threads that live at the same time.
inline const void* ThreadToken() {
  static thread_local const char token = 0;
  return &token;
}

}  // namespace internal

// A move-only handle to one slot; null after a move and when default-made. Destroying it returns
// the slot to its pool, from any thread. Use by one thread at a time.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Reset();
      slot_ = std::exchange(other.slot_, nullptr);
    }
    return *this;
  }
  ~Buffer() { Reset(); }

  explicit operator bool() const { return slot_ != nullptr; }
  void Reset() {
    if (slot_ != nullptr) Return(std::exchange(slot_, nullptr));
  }

  uint8_t* data() { return slot_->memory() + slot_->offset; }
  const uint8_t* data() const { return slot_->memory() + slot_->offset; }
  size_t size() const { return slot_->size; }
  bool empty() const { return slot_->size == 0; }
  absl::Span<uint8_t> bytes() { return {data(), size()}; }
  absl::Span<const uint8_t> bytes() const { return {data(), size()}; }

  size_t headroom() const { return slot_->offset; }
  size_t tailroom() const { return slot_->capacity - slot_->offset - slot_->size; }

  // Grows the data by `n` bytes at its front or end and returns where they begin. The new bytes
  // hold what the slot held before. `n` must fit the room that is left.
  uint8_t* Prepend(size_t n) {
    assert(n <= headroom());
    slot_->offset -= static_cast<uint32_t>(n);
    slot_->size += static_cast<uint32_t>(n);
    return data();
  }
  uint8_t* Append(size_t n) {
    assert(n <= tailroom());
    uint8_t* end = data() + size();
    slot_->size += static_cast<uint32_t>(n);
    return end;
  }

  // Drops `n` bytes from the front or end. `n` must not exceed size().
  void TrimFront(size_t n) {
    assert(n <= size());
    slot_->offset += static_cast<uint32_t>(n);
    slot_->size -= static_cast<uint32_t>(n);
  }
  void TrimBack(size_t n) {
    assert(n <= size());
    slot_->size -= static_cast<uint32_t>(n);
  }

 private:
  friend class BufferChain;
  friend class BufferPool;
  explicit Buffer(internal::BufferSlot* slot) : slot_(slot) {}
  static inline void Return(internal::BufferSlot* slot);

  internal::BufferSlot* slot_ = nullptr;
};
static_assert(sizeof(Buffer) == sizeof(void*));

struct BufferPoolOptions {
  size_t count = 4096;    // slots; the hard limit of buffers in flight
  size_t bytes = 2048;    // memory of a slot, headroom included; rounded up to a multiple of 64
  size_t headroom = 128;  // reserved in front of the data when a buffer is allocated
};

// A fixed number of slots in one stretch of memory, touched only as far as it was ever used.
//
// Threads: one thread, the owner (at first the one that made the pool), allocates and, as a rule,
// frees: both are a few instructions on a free list of its own. Other threads may free; their slots
// come back through a lock-free list that the owner takes over whole when its own list runs empty.
//
// Lifetime: buffers may outlive the pool; the memory goes with the last of them.
class BufferPool {
 public:
  explicit BufferPool(const BufferPoolOptions& options);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // An empty buffer with the headroom reserved; null when all slots are in use.
  inline Buffer Allocate();

  // Makes the calling thread the owner. The former owner must have stopped using the pool.
  void BindToThisThread();

  // Largest data that fits behind the headroom of a fresh buffer.
  size_t payload_bytes() const;
  size_t count() const;
  // Slots the owner could allocate now, those that other threads have returned included. Owner
  // only.
  size_t available() const;

  // The memory to register with a device: all slots, bookkeeping included.
  absl::Span<uint8_t> region() const;

 private:
  internal::BufferPoolCore* core_;
};

namespace internal {

class BufferPoolCore {
 public:
  explicit BufferPoolCore(const BufferPoolOptions& options);
  ~BufferPoolCore();

  BufferSlot* Allocate() {
    BufferSlot* slot = free_;
    if (slot == nullptr) [[unlikely]] {
      slot = Refill();
      if (slot == nullptr) return nullptr;
    }
    free_ = slot->next;
    --free_count_;
    slot->offset = headroom_;
    slot->size = 0;
    return slot;
  }

  void Return(BufferSlot* slot) {
    if (owner_.load(std::memory_order_relaxed) == ThreadToken()) [[likely]] {
      slot->next = free_;
      free_ = slot;
      ++free_count_;
    } else {
      ReturnFromElsewhere(slot);
    }
  }

  // Gives the memory up: deleted at once, or by the return of the last buffer.
  void Orphan();

 private:
  friend class weft::BufferPool;
  BufferSlot* Refill();
  void TakeReturned();
  void ReturnFromElsewhere(BufferSlot* slot);
  BufferSlot* SlotAt(size_t index) const {
    return reinterpret_cast<BufferSlot*>(memory_ + index * stride_);
  }

  // The owner's.
  BufferSlot* free_ = nullptr;
  size_t free_count_ = 0;  // length of free_
  size_t used_slots_ = 0;  // slots below this index have been allocated at least once
  std::atomic<const void*> owner_;
  size_t count_;
  size_t stride_;
  uint32_t headroom_;
  uint8_t* memory_;
  size_t memory_bytes_;

  // Everyone's.
  alignas(128) std::atomic<BufferSlot*> returned_{nullptr};
  std::atomic<int64_t> orphans_{0};  // buffers out after Orphan(), less those returned since
};

}  // namespace internal

inline void Buffer::Return(internal::BufferSlot* slot) { slot->pool->Return(slot); }

inline Buffer BufferPool::Allocate() { return Buffer(core_->Allocate()); }

}  // namespace weft

#endif  // WEFT_CORE_BUFFER_H_
