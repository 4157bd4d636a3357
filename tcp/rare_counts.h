// SPDX-License-Identifier: Apache-2.0
//
// What is counted of the few connections that meet losses, reordering or full windows: beside them,
// so that the others do not pay for it. Part of the engine.
//
//   ++pool.Get(&tcb.rare).retransmissions;
//   if (const RareCounts* rare = pool.Find(tcb.rare)) ...
#ifndef WEFT_TCP_RARE_COUNTS_H_
#define WEFT_TCP_RARE_COUNTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace weft::tcp {

struct RareCounts {
  uint64_t retransmitted_bytes = 0;
  uint32_t retransmissions = 0;  // segments, the FIN included
  uint32_t out_of_order = 0;     // segments received
  uint32_t delivered_ce = 0;     // segments whose acknowledgement had an ECN echo
  uint32_t dsack_duplicates = 0;
  uint32_t reordering_seen = 0;
  uint32_t receive_window_limited = 0;  // time, in the engine's units
  uint32_t send_buffer_limited = 0;
  uint32_t next_free = 0;
};

// One thread. As many as there are connections at most; memory is kept until the end.
class RareCountsPool {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Those of `*index`, which is given a place if it is kNone.
  RareCounts& Get(uint32_t* index) {
    if (*index == kNone) *index = Take();
    return At(*index);
  }
  // Null for kNone.
  const RareCounts* Find(uint32_t index) const { return index == kNone ? nullptr : &At(index); }
  void Give(uint32_t index) {
    if (index == kNone) return;
    At(index).next_free = free_;
    free_ = index;
  }

 private:
  static constexpr uint32_t kBlock = 64;

  RareCounts& At(uint32_t index) const { return blocks_[index / kBlock][index % kBlock]; }
  uint32_t Take() {
    if (free_ == kNone) {
      const auto base = static_cast<uint32_t>(blocks_.size() * kBlock);
      blocks_.push_back(std::make_unique<RareCounts[]>(kBlock));
      for (uint32_t i = kBlock; i > 0; --i) Give(base + i - 1);
    }
    const uint32_t index = free_;
    free_ = At(index).next_free;
    At(index) = RareCounts();
    return index;
  }

  std::vector<std::unique_ptr<RareCounts[]>> blocks_;
  uint32_t free_ = kNone;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_RARE_COUNTS_H_
