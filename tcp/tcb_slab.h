// SPDX-License-Identifier: Apache-2.0
//
// TcbSlab: where an engine's connections lie, in blocks that never move, with a generation for each
// place, so that a StreamId of one that is gone means none.
#ifndef WEFT_TCP_TCB_SLAB_H_
#define WEFT_TCP_TCB_SLAB_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "absl/base/config.h"
#include "weft/tcp/tcb.h"
#include "weft/transports/stream_port.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace weft::tcp {

// One thread. Blocks that are empty are given back, but for some.
class TcbSlab {
 public:
  static constexpr uint32_t kNone = Tcb::kNone;

  TcbSlab() = default;
  TcbSlab(const TcbSlab&) = delete;
  TcbSlab& operator=(const TcbSlab&) = delete;
  ~TcbSlab() {
    for (uint32_t index = 0; index < places(); ++index) {
      if (Tcb* tcb = At(index)) tcb->~Tcb();
    }
  }

  size_t size() const { return size_; }
  // Indices are below it.
  uint32_t places() const { return static_cast<uint32_t>(blocks_.size() * kBlock); }

  Tcb& Make(EngineCore* core, Timer::Callback on_timer) {
    if (first_ == kNone) TakeBlock();
    Block& block = blocks_[first_];
    const uint32_t index = first_ * kBlock + block.free;
    Place& place = block.places[block.free];
    block.free = place.next_free();
    if (block.used++ == 0) --empty_;
    if (block.used == kBlock) Unlink(first_);
    ++place.generation;
    ++size_;
    place.Unpoison();
    return *new (place.memory) Tcb(core, on_timer, index);
  }
  void Destroy(Tcb& tcb) {
    const uint32_t index = tcb.index;
    const uint32_t number = index / kBlock;
    Block& block = blocks_[number];
    Place& place = block.places[index % kBlock];
    tcb.~Tcb();
    ++place.generation;
    place.set_next_free(block.free);
    place.Poison();
    block.free = index % kBlock;
    --size_;
    if (block.used-- == kBlock) LinkFirst(number);
    if (block.used == 0 && ++empty_ > kEmptyMax) GiveBack(number);
  }

  // Null for a place that is free.
  Tcb* At(uint32_t index) const {
    const Block& block = blocks_[index / kBlock];
    if (block.places == nullptr) return nullptr;
    Place& place = block.places[index % kBlock];
    return place.used() ? place.tcb() : nullptr;
  }
  // Null for one that is gone.
  Tcb* Find(StreamId stream) const {
    const auto index = static_cast<uint32_t>(stream.value);
    if (index / kBlock >= blocks_.size()) return nullptr;
    const Block& block = blocks_[index / kBlock];
    if (block.places == nullptr) return nullptr;
    Place& place = block.places[index % kBlock];
    return place.generation == stream.value >> 32 && place.used() ? place.tcb() : nullptr;
  }
  static StreamId IdOf(const Tcb& tcb) {
    const auto* place = reinterpret_cast<const Place*>(&tcb);
    return {uint64_t{place->generation} << 32 | tcb.index};
  }

  static constexpr size_t BytesOfPlace() { return sizeof(Place); }

 private:
  static constexpr uint32_t kBlock = 64;
  static constexpr size_t kEmptyMax = 64;  // blocks that are kept, 2 MB

  struct Place {
    Tcb* tcb() { return std::launder(reinterpret_cast<Tcb*>(memory)); }
    alignas(Tcb) unsigned char memory[sizeof(Tcb)];  // first, so that a Tcb is where its place is
    uint32_t generation;                             // odd while it is used; the first one is 1

    bool used() const { return generation % 2 != 0; }

    // In the memory that nobody uses.
    uint32_t next_free() const {
      uint32_t next;
      std::memcpy(&next, memory, sizeof(next));
      return next;
    }
    void set_next_free(uint32_t next) { std::memcpy(memory, &next, sizeof(next)); }

    // So that AddressSanitizer sees who uses a Tcb that is gone.
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
    static constexpr size_t kKept = 8;  // next_free(), and what a shadow byte stands for
    void Poison() { ASAN_POISON_MEMORY_REGION(memory + kKept, sizeof(memory) - kKept); }
    void Unpoison() { ASAN_UNPOISON_MEMORY_REGION(memory, sizeof(memory)); }
#else
    void Poison() {}
    void Unpoison() {}
#endif
  };
  static_assert(sizeof(Place) <= 504, "there may be millions of them");

  struct Block {
    std::unique_ptr<Place[]> places;  // null: given back
    uint32_t free = kNone;            // linked within the block
    uint32_t used = 0;
    uint32_t generation = 0;    // of the next places: none that they had
    uint32_t previous = kNone;  // of the blocks with free places
    uint32_t next = kNone;      // the same; of one that was given back: the next of these
  };

  void LinkFirst(uint32_t number) {
    blocks_[number].previous = kNone;
    blocks_[number].next = first_;
    if (first_ != kNone) blocks_[first_].previous = number;
    first_ = number;
  }
  void Unlink(uint32_t number) {
    const Block& block = blocks_[number];
    (block.previous == kNone ? first_ : blocks_[block.previous].next) = block.next;
    if (block.next != kNone) blocks_[block.next].previous = block.previous;
  }

  void TakeBlock() {
    uint32_t number = gone_;
    if (number == kNone) {
      number = static_cast<uint32_t>(blocks_.size());
      blocks_.emplace_back();
    } else {
      gone_ = blocks_[number].next;
    }
    Block& block = blocks_[number];
    block.places.reset(new Place[kBlock]);
    for (uint32_t i = 0; i < kBlock; ++i) {
      block.places[i].generation = block.generation;
      block.places[i].set_next_free(i + 1 < kBlock ? i + 1 : kNone);
    }
    block.free = 0;
    ++empty_;
    LinkFirst(number);
  }
  void GiveBack(uint32_t number) {
    Unlink(number);
    Block& block = blocks_[number];
    for (uint32_t i = 0; i < kBlock; ++i) {
      block.generation = std::max(block.generation, block.places[i].generation);
    }
    block.places.reset();
    block.next = gone_;
    gone_ = number;
    --empty_;
  }

  std::vector<Block> blocks_;
  uint32_t first_ = kNone;  // of the blocks with free places
  uint32_t gone_ = kNone;   // of those that were given back
  size_t empty_ = 0;
  size_t size_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TCB_SLAB_H_
