// SPDX-License-Identifier: Apache-2.0
//
// TcbSlab: where an engine's connections lie, in blocks that never move, with a generation for each
// place, so that a StreamId of one that is gone means none.
#ifndef WEFT_TCP_TCB_SLAB_H_
#define WEFT_TCP_TCB_SLAB_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "weft/tcp/tcb.h"
#include "weft/transports/stream_port.h"

namespace weft::tcp {

// One thread. Blocks are kept until the end.
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
    if (free_ == kNone) AddBlock();
    const uint32_t index = free_;
    Place& place = PlaceAt(index);
    free_ = place.next_free();
    place.used = true;
    ++size_;
    return *new (place.memory) Tcb(core, on_timer, index, ++place.generation);
  }
  void Destroy(Tcb& tcb) {
    const uint32_t index = tcb.index;
    Place& place = PlaceAt(index);
    tcb.~Tcb();
    place.used = false;
    place.set_next_free(free_);
    free_ = index;
    --size_;
  }

  // Null for a place that is free.
  Tcb* At(uint32_t index) const {
    Place& place = PlaceAt(index);
    return place.used ? place.tcb() : nullptr;
  }
  // Null for one that is gone.
  Tcb* Find(StreamId stream) const {
    const auto index = static_cast<uint32_t>(stream.value);
    if (index >= places()) return nullptr;
    Place& place = PlaceAt(index);
    return place.used && place.generation == stream.value >> 32 ? place.tcb() : nullptr;
  }
  static StreamId IdOf(const Tcb& tcb) { return {uint64_t{tcb.generation} << 32 | tcb.index}; }

  static constexpr size_t BytesOfPlace() { return sizeof(Place); }

 private:
  static constexpr size_t kBlock = 64;

  struct Place {
    Tcb* tcb() { return std::launder(reinterpret_cast<Tcb*>(memory)); }
    alignas(Tcb) unsigned char memory[sizeof(Tcb)];
    uint32_t generation = 0;  // of the one that is or was here; the first is 1
    bool used = false;

    // In the memory that nobody uses.
    uint32_t next_free() const {
      uint32_t next;
      std::memcpy(&next, memory, sizeof(next));
      return next;
    }
    void set_next_free(uint32_t next) { std::memcpy(memory, &next, sizeof(next)); }
  };

  static_assert(sizeof(Place) <= 504, "there may be millions of them");

  Place& PlaceAt(uint32_t index) const { return blocks_[index / kBlock][index % kBlock]; }
  void AddBlock() {
    const uint32_t base = places();
    blocks_.push_back(std::unique_ptr<Place[]>(new Place[kBlock]));
    for (uint32_t i = kBlock; i > 0; --i) {
      PlaceAt(base + i - 1).set_next_free(free_);
      free_ = base + i - 1;
    }
  }

  std::vector<std::unique_ptr<Place[]>> blocks_;
  uint32_t free_ = kNone;
  size_t size_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TCB_SLAB_H_
