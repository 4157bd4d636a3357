// SPDX-License-Identifier: Apache-2.0
//
// A bounded queue from one producer to one consumer: two threads, or two processes that share
// memory.
//
// Between threads, a ring owns its memory:
//
//   weft::SpscRing<Request> ring(1024);
//   ring.producer().TryPush(request);   // one thread
//   ring.consumer().TryPop(&request);   // another
//
// Between processes, each makes its own view over zero-filled memory of SpscRingBytes<T>(capacity)
// bytes that both have mapped:
//
//   weft::SpscProducer<Request> producer(memory, 1024);   // one process
//   weft::SpscConsumer<Request> consumer(memory, 1024);   // another
//
// A view trusts nothing that its peer can write. Its capacity and its own index are private, so
// that it never touches memory outside the ring; an index of the peer's that cannot be true latches
// corrupt(), after which nothing goes in or out. A slot's contents are the peer's word: a pop
// copies them once, and what Front() points to may change at any time if the peer is hostile, so
// copy first and check the copy.
//
// Each side's index lies on a pair of cache lines of its own (processors fetch lines in pairs),
// each keeps a copy of the other's index and looks again only when the copy says that it cannot go
// on (Lamport 1983; Giacomoni et al., "FastForward", PPoPP 2008), and a burst publishes its index
// once.

#ifndef WEFT_CORE_SPSC_RING_H_
#define WEFT_CORE_SPSC_RING_H_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "absl/types/span.h"

namespace weft {

// Alignment of a ring's memory, in bytes.
inline constexpr size_t kSpscRingAlignment = 128;

namespace spsc_internal {

// How many slots have ever been pushed and popped. At one a nanosecond they overflow in 500 years.
struct Indices {
  alignas(kSpscRingAlignment) std::atomic<uint64_t> pushed;
  alignas(kSpscRingAlignment) std::atomic<uint64_t> popped;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// What both sides know: where the ring is and how large.
template <typename T>
class View {
  static_assert(std::is_trivially_copyable_v<T>, "slots are copied as bytes");
  static_assert(alignof(T) <= kSpscRingAlignment);

 public:
  View(void* memory, size_t capacity)
      : indices_(static_cast<Indices*>(memory)),
        slots_(reinterpret_cast<T*>(indices_ + 1)),
        capacity_(capacity) {
    assert(std::has_single_bit(capacity));
    assert(reinterpret_cast<uintptr_t>(memory) % kSpscRingAlignment == 0);
  }

  size_t capacity() const { return capacity_; }

  // Whether the peer was caught writing an index that cannot be true.
  bool corrupt() const { return corrupt_; }

 protected:
  T* Slot(uint64_t index) const { return &slots_[index & (capacity_ - 1)]; }

  // Judges how many slots the peer says are this side's to use: no fewer than the `known` ones left
  // from the last look, and no more than there are. Returns 0 once the ring is corrupt.
  uint64_t Check(uint64_t usable, uint64_t known) {
    if (corrupt_) return 0;
    if (usable - known > capacity_ - known) [[unlikely]] {
      corrupt_ = true;
      return 0;
    }
    return usable;
  }

  Indices* indices_;
  T* slots_;
  uint64_t capacity_;
  bool corrupt_ = false;
};

}  // namespace spsc_internal

// Bytes of a ring of `capacity` slots.
template <typename T>
constexpr size_t SpscRingBytes(size_t capacity) {
  return sizeof(spsc_internal::Indices) + capacity * sizeof(T);
}

// The side that pushes. One thread; may be moved, not copied.
template <typename T>
class SpscProducer : public spsc_internal::View<T> {
 public:
  // A ring of `capacity` slots, a power of two, in SpscRingBytes<T>(capacity) bytes at `memory`,
  // which must be zero before either side starts, aligned to kSpscRingAlignment, and outlive the
  // view.
  SpscProducer(void* memory, size_t capacity) : spsc_internal::View<T>(memory, capacity) {}
  SpscProducer(SpscProducer&&) = default;
  SpscProducer& operator=(SpscProducer&&) = default;

  // False when the ring is full or corrupt.
  bool TryPush(const T& item) {
    if (Free() == 0 && Refresh() == 0) return false;
    std::memcpy(this->Slot(pushed_), &item, sizeof(T));
    Publish(1);
    return true;
  }

  // Pushes as many as there is room for, from the front, and returns how many that was.
  size_t Push(absl::Span<const T> items) {
    uint64_t free = Free();
    if (free < items.size()) free = Refresh();
    const size_t n = std::min<size_t>(free, items.size());
    if (n == 0) return 0;
    const size_t before_wrap = std::min(n, this->capacity_ - (pushed_ & (this->capacity_ - 1)));
    std::memcpy(this->Slot(pushed_), items.data(), before_wrap * sizeof(T));
    std::memcpy(this->slots_, items.data() + before_wrap, (n - before_wrap) * sizeof(T));
    Publish(n);
    return n;
  }

 private:
  uint64_t Free() const { return free_end_ - pushed_; }

  uint64_t Refresh() {
    const uint64_t popped = this->indices_->popped.load(std::memory_order_acquire);
    const uint64_t free = this->Check(popped + this->capacity_ - pushed_, Free());
    free_end_ = pushed_ + free;
    return free;
  }

  void Publish(size_t n) {
    pushed_ += n;
    this->indices_->pushed.store(pushed_, std::memory_order_release);
  }

  uint64_t pushed_ = 0;
  uint64_t free_end_ =
      this->capacity_;  // Where `pushed_` meets what was not popped at the last look.
};

// The side that pops. One thread; may be moved, not copied.
template <typename T>
class SpscConsumer : public spsc_internal::View<T> {
 public:
  // As SpscProducer's.
  SpscConsumer(void* memory, size_t capacity) : spsc_internal::View<T>(memory, capacity) {}
  SpscConsumer(SpscConsumer&&) = default;
  SpscConsumer& operator=(SpscConsumer&&) = default;

  // False when the ring is empty or corrupt.
  bool TryPop(T* item) {
    const T* const front = Front();
    if (front == nullptr) return false;
    std::memcpy(item, front, sizeof(T));
    PopFront();
    return true;
  }

  // Pops up to items.size() of them and returns how many that was.
  size_t Pop(absl::Span<T> items) {
    uint64_t filled = Filled();
    if (filled < items.size()) filled = Refresh();
    const size_t n = std::min<size_t>(filled, items.size());
    if (n == 0) return 0;
    const size_t before_wrap = std::min(n, this->capacity_ - (popped_ & (this->capacity_ - 1)));
    std::memcpy(items.data(), this->Slot(popped_), before_wrap * sizeof(T));
    std::memcpy(items.data() + before_wrap, this->slots_, (n - before_wrap) * sizeof(T));
    Publish(n);
    return n;
  }

  // The next item where it lies, until PopFront(); null when the ring is empty or corrupt.
  const T* Front() {
    if (Filled() == 0 && Refresh() == 0) return nullptr;
    return this->Slot(popped_);
  }

  // Gives the slot of the last Front(), which must not have been null, back to the producer.
  void PopFront() {
    assert(Filled() > 0);
    Publish(1);
  }

 private:
  uint64_t Filled() const { return filled_end_ - popped_; }

  uint64_t Refresh() {
    const uint64_t pushed = this->indices_->pushed.load(std::memory_order_acquire);
    const uint64_t filled = this->Check(pushed - popped_, Filled());
    filled_end_ = popped_ + filled;
    return filled;
  }

  void Publish(size_t n) {
    popped_ += n;
    this->indices_->popped.store(popped_, std::memory_order_release);
  }

  uint64_t popped_ = 0;
  uint64_t filled_end_ = 0;  // Where `popped_` meets what was not pushed at the last look.
};

// A ring between two threads of a process. Making and destroying it is not for either of them
// alone.
template <typename T>
class SpscRing {
 public:
  // `capacity` slots, a power of two.
  explicit SpscRing(size_t capacity)
      : memory_(Allocate(capacity)),
        producer_(memory_.get(), capacity),
        consumer_(memory_.get(), capacity) {}

  SpscProducer<T>& producer() { return producer_; }
  SpscConsumer<T>& consumer() { return consumer_; }

 private:
  static constexpr std::align_val_t kAlignment{kSpscRingAlignment};
  struct Free {
    void operator()(void* memory) const { ::operator delete(memory, kAlignment); }
  };

  static void* Allocate(size_t capacity) {
    const size_t bytes = SpscRingBytes<T>(capacity);
    return std::memset(::operator new(bytes, kAlignment), 0, bytes);
  }

  std::unique_ptr<void, Free> memory_;
  alignas(kSpscRingAlignment) SpscProducer<T> producer_;
  alignas(kSpscRingAlignment) SpscConsumer<T> consumer_;
};

}  // namespace weft

#endif  // WEFT_CORE_SPSC_RING_H_
