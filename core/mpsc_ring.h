// SPDX-License-Identifier: Apache-2.0
//
// A bounded queue from any number of threads to one, without locks.
//
//   MpscRing<Line, 1024> ring;
//   bool taken = ring.TryPush([&](Line& line) { line = ...; });   // any thread; false: it is full
//   while (Line* line = ring.Front()) {                           // one thread
//     Write(*line);
//     ring.PopFront();
//   }
//
// Each slot counts its turns, by which producers and consumer hand it over (Vyukov, "Bounded MPMC
// queue", 2010, for one consumer). A producer that is interrupted within TryPush() holds up what
// others push after it, though not those others.
#ifndef WEFT_CORE_MPSC_RING_H_
#define WEFT_CORE_MPSC_RING_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace weft {

// All zeros when it is new, so that one with static storage takes memory only as it is used.
template <typename T, size_t kCapacity>
class MpscRing {
  static_assert(std::has_single_bit(kCapacity));

 public:
  MpscRing() = default;
  MpscRing(const MpscRing&) = delete;
  MpscRing& operator=(const MpscRing&) = delete;

  // Calls `fill(T&)` with a slot, whose former content is still there, unless all are taken.
  template <typename Fill>
  bool TryPush(Fill fill) {
    uint64_t index = pushed_.load(std::memory_order_relaxed);
    while (true) {
      Slot& slot = slots_[index % kCapacity];
      const uint64_t turn = slot.turn.load(std::memory_order_acquire);
      const uint64_t free = FreeTurn(index);
      if (turn == free) {
        if (!pushed_.compare_exchange_weak(index, index + 1, std::memory_order_relaxed)) continue;
        fill(slot.item);
        slot.turn.store(free + 1, std::memory_order_release);
        return true;
      }
      if (turn < free) return false;  // not popped since the last time round
      index = pushed_.load(std::memory_order_relaxed);
    }
  }

  // Slots that producers have taken so far, which may not be filled yet. Any thread.
  uint64_t pushed() const { return pushed_.load(std::memory_order_acquire); }

  // The oldest item, the caller's until PopFront(); null if there is none. The consumer's thread.
  T* Front() {
    Slot& slot = slots_[popped_ % kCapacity];
    const bool filled = slot.turn.load(std::memory_order_acquire) == FreeTurn(popped_) + 1;
    return filled ? &slot.item : nullptr;
  }
  void PopFront() {
    slots_[popped_ % kCapacity].turn.store(FreeTurn(popped_) + 2, std::memory_order_release);
    ++popped_;
  }

 private:
  struct Slot {
    std::atomic<uint64_t> turn{0};  // even: free; odd: filled
    T item;
  };

  static constexpr uint64_t FreeTurn(uint64_t index) { return index / kCapacity * 2; }

  alignas(64) std::atomic<uint64_t> pushed_{0};
  alignas(64) uint64_t popped_ = 0;
  alignas(64) Slot slots_[kCapacity] = {};
};

}  // namespace weft

#endif  // WEFT_CORE_MPSC_RING_H_
