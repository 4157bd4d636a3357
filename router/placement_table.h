// SPDX-License-Identifier: Apache-2.0
//
// The requests that a router knows, by their keys: a hash table of bounded size, all of whose
// memory is taken when it is made.
//
//   PlacementTable table(/*capacity=*/1024, /*seed=*/secret);
//   Placement* placement = table.Insert(key);  // null: it is full
//   if (Placement* known = table.Find(key)) table.Erase(*known);
//
// Clients choose keys, so where a key lies depends on the seed: who does not know it cannot aim at
// one chain. (Multiply-shift hashing: Dietzfelbinger et al., "A Reliable Randomized Algorithm for
// the Closest-Pair Problem", J. Algorithms 1997.) One thread.
#ifndef WEFT_ROUTER_PLACEMENT_TABLE_H_
#define WEFT_ROUTER_PLACEMENT_TABLE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "weft/core/prng.h"
#include "weft/router/index_list.h"

namespace weft::router {

// What is known of a request. A cache line.
struct alignas(64) Placement {
  enum class State : uint8_t {
    kFree,
    kNew,      // of the burst at hand
    kQueued,   // waits
    kPlaced,   // at a server
    kDone,     // was; remembered
    kRefused,  // remembered, so that a copy of it is refused, too
  };

  uint64_t key = 0;
  uint64_t request_id = 0;    // with its sequence; 0: original format
  uint64_t client = 0;        // its incarnation
  int64_t since_ns = 0;       // when it came, or went to its server
  uint32_t previous = 0;      // in a list of the dispatcher
  uint32_t next = 0;          // likewise
  uint32_t chain = kNoIndex;  // the next one in the table's chain, or free
  uint32_t server = 0;        // kPlaced, kDone
  uint32_t epoch = 0;         // of the server when it was placed
  uint32_t ticket = 0;        // kQueued; kRefused: the Fate
  State state = State::kFree;
};
static_assert(sizeof(Placement) == 64);

class PlacementTable {
 public:
  // `capacity`: 1 to 2^31.
  PlacementTable(size_t capacity, uint64_t seed)
      : placements_(std::max<size_t>(capacity, 1)),
        heads_(std::bit_ceil(std::max<size_t>(placements_.size(), 2)), kNoIndex),
        shift_(64 - std::countr_zero(heads_.size())),
        multiplier_(Prng(seed).Next() | 1) {}
  PlacementTable(const PlacementTable&) = delete;
  PlacementTable& operator=(const PlacementTable&) = delete;

  size_t size() const { return size_; }
  size_t capacity() const { return placements_.size(); }

  // Null when it is not there. Placements stay where they are until they are erased.
  Placement* Find(uint64_t key) {
    for (uint32_t i = heads_[Bucket(key)]; i != kNoIndex; i = placements_[i].chain) {
      if (placements_[i].key == key) return &placements_[i];
    }
    return nullptr;
  }

  // A placement for `key`, which is not there; null when the table is full. What it held before is
  // still in it, but for `key`.
  Placement* Insert(uint64_t key) {
    uint32_t index = free_;
    if (index != kNoIndex) {
      free_ = placements_[index].chain;
    } else if (used_ < placements_.size()) {
      index = static_cast<uint32_t>(used_++);
    } else {
      return nullptr;
    }
    Placement& placement = placements_[index];
    uint32_t& head = heads_[Bucket(key)];
    placement.key = key;
    placement.chain = head;
    head = index;
    ++size_;
    return &placement;
  }

  void Erase(Placement& placement) {
    const uint32_t index = IndexOf(placement);
    uint32_t* link = &heads_[Bucket(placement.key)];
    while (*link != index) link = &placements_[*link].chain;
    *link = placement.chain;
    placement.state = Placement::State::kFree;
    placement.chain = free_;
    free_ = index;
    --size_;
  }

  // Has the processor fetch what Find() will look at, in two steps some work apart.
  void PrefetchHead(uint64_t key) const { __builtin_prefetch(&heads_[Bucket(key)]); }
  void PrefetchPlacement(uint64_t key) const {
    const uint32_t head = heads_[Bucket(key)];
    if (head != kNoIndex) __builtin_prefetch(&placements_[head]);
  }

  uint32_t IndexOf(const Placement& placement) const {
    return static_cast<uint32_t>(&placement - placements_.data());
  }
  Placement& operator[](uint32_t index) { return placements_[index]; }
  const Placement& operator[](uint32_t index) const { return placements_[index]; }
  Placement* placements() { return placements_.data(); }

 private:
  size_t Bucket(uint64_t key) const { return (key * multiplier_) >> shift_; }

  std::vector<Placement> placements_;
  std::vector<uint32_t> heads_;
  const int shift_;
  const uint64_t multiplier_;
  uint32_t free_ = kNoIndex;
  size_t used_ = 0;  // placements below this index have been used at least once
  size_t size_ = 0;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_PLACEMENT_TABLE_H_
