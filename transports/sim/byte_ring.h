// SPDX-License-Identifier: Apache-2.0
//
// A bounded queue of bytes within one thread: half of a stream.
#ifndef WEFT_TRANSPORTS_SIM_BYTE_RING_H_
#define WEFT_TRANSPORTS_SIM_BYTE_RING_H_

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "absl/types/span.h"

namespace weft::sim {

class ByteRing {
 public:
  static constexpr size_t kCapacity = 64 * 1024;

  size_t size() const { return size_; }
  size_t room() const { return kCapacity - size_; }

  // What can be written or read in one piece; empty when full or empty.
  absl::Span<uint8_t> WritablePiece() {
    // The memory is made when it is first needed, and left as it is: most streams use little of it.
    if (memory_ == nullptr) memory_ = std::make_unique_for_overwrite<uint8_t[]>(kCapacity);
    const size_t end = (begin_ + size_) % kCapacity;
    return {memory_.get() + end, std::min(room(), kCapacity - end)};
  }
  absl::Span<const uint8_t> ReadablePiece() const {
    return {memory_.get() + begin_, std::min(size_, kCapacity - begin_)};
  }

  // Adds what was written to the front of WritablePiece().
  void Commit(size_t n) {
    assert(n <= room());
    size_ += n;
  }
  // Adds a copy of `bytes`, which must fit.
  void Write(absl::Span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const absl::Span<uint8_t> piece = WritablePiece();
      const size_t n = std::min(piece.size(), bytes.size());
      std::memcpy(piece.data(), bytes.data(), n);
      Commit(n);
      bytes.remove_prefix(n);
    }
  }
  // Copies `to.size()` bytes that begin `offset` bytes behind the oldest; they must be there.
  void Peek(size_t offset, absl::Span<uint8_t> to) const {
    assert(offset + to.size() <= size_);
    const size_t from = (begin_ + offset) % kCapacity;
    const size_t first = std::min(to.size(), kCapacity - from);
    if (first > 0) std::memcpy(to.data(), memory_.get() + from, first);
    if (to.size() > first) std::memcpy(to.data() + first, memory_.get(), to.size() - first);
  }
  // Drops the `n` oldest bytes, which must be there.
  void Consume(size_t n) {
    assert(n <= size_);
    begin_ = (begin_ + n) % kCapacity;
    size_ -= n;
  }
  // Empties the ring and gives its memory back.
  void Release() { *this = ByteRing(); }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t begin_ = 0;
  size_t size_ = 0;
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_BYTE_RING_H_
