// SPDX-License-Identifier: Apache-2.0
//
// MemoryRegions: what a RemoteMemory knows of the memory that it was given, for those who implement
// one.
#ifndef WEFT_TRANSPORTS_MEMORY_REGIONS_H_
#define WEFT_TRANSPORTS_MEMORY_REGIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/remote_memory.h"

namespace weft {

// One thread.
class MemoryRegions {
 public:
  static constexpr size_t kMaxRegions = 4096;

  // Buffers of `pool`, which outlives this, are local memory of operations as well.
  explicit MemoryRegions(const BufferPool& pool) : pool_(pool.region()) {}

  bool full() const { return regions_.size() >= kMaxRegions; }
  // Under a number that was never given before. Not when full().
  MemoryRegion Add(absl::Span<uint8_t> bytes) {
    regions_.push_back({++last_id_, bytes});
    return regions_.back();
  }
  // False if there is none such.
  bool Remove(uint32_t id) {
    return std::erase_if(regions_, [&](const MemoryRegion& r) { return r.id == id; }) > 0;
  }
  // Null if there is none such. Valid until Contains() or a change.
  const MemoryRegion* Find(uint32_t id) const {
    const auto it = std::find_if(regions_.begin(), regions_.end(),
                                 [&](const MemoryRegion& r) { return r.id == id; });
    return it == regions_.end() ? nullptr : &*it;
  }
  absl::Span<const MemoryRegion> all() const { return regions_; }

  // Whether `local` may be the local memory of an operation. A few ns for what is used often.
  bool Contains(absl::Span<const uint8_t> local) {
    for (size_t i = 0; i < regions_.size(); ++i) {
      if (!Within(local, regions_[i].bytes)) continue;
      // What is asked for often moves to the front.
      if (i > 0) std::swap(regions_[i], regions_[i / 2]);
      return true;
    }
    return Within(local, pool_);
  }

 private:
  static bool Within(absl::Span<const uint8_t> part, absl::Span<const uint8_t> whole) {
    const auto begin = reinterpret_cast<uintptr_t>(part.data());
    const auto whole_begin = reinterpret_cast<uintptr_t>(whole.data());
    return part.size() <= whole.size() && begin >= whole_begin &&
           begin - whole_begin <= whole.size() - part.size();
  }

  const absl::Span<const uint8_t> pool_;
  std::vector<MemoryRegion> regions_;
  uint32_t last_id_ = 0;
};

// Whether [offset, offset + bytes) lies within [0, size), whatever the numbers.
constexpr bool RangeFits(uint64_t offset, uint64_t bytes, uint64_t size) {
  return bytes <= size && offset <= size - bytes;
}

// What is wrong with an operation before anybody else is asked: kOk or kInvalidArgument.
inline absl::StatusCode CheckOperation(const MemoryOperation& operation, size_t max_operation_bytes,
                                       MemoryRegions& regions) {
  switch (operation.kind) {
    case MemoryOperation::Kind::kRead:
    case MemoryOperation::Kind::kWrite:
      if (!operation.local.empty() && operation.local.size() <= max_operation_bytes &&
          regions.Contains(operation.local)) {
        return absl::StatusCode::kOk;
      }
      break;
    case MemoryOperation::Kind::kCompareSwap:
    case MemoryOperation::Kind::kFetchAdd:
      if (operation.offset % 8 == 0) return absl::StatusCode::kOk;
      break;
  }
  return absl::StatusCode::kInvalidArgument;
}

}  // namespace weft

#endif  // WEFT_TRANSPORTS_MEMORY_REGIONS_H_
