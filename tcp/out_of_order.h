// SPDX-License-Identifier: Apache-2.0
//
// OutOfOrder: what a connection has received beyond gaps, as ranges in the order of their sequence
// numbers. Part of ReceiveQueue, apart as most connections have none.
#ifndef WEFT_TCP_OUT_OF_ORDER_H_
#define WEFT_TCP_OUT_OF_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

// Buffers in order, linked through their own bookkeeping: BufferChain in 16 bytes, whose last
// buffer has room for more.
class BufferList {
 public:
  // Larger pieces are not copied: moving them costs more than the buffer they would save.
  static constexpr size_t kCopyBytesMax = 512;

  BufferList() = default;
  BufferList(BufferList&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)), last_(std::exchange(other.last_, nullptr)) {}
  BufferList& operator=(BufferList&& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    return *this;
  }
  ~BufferList() {
    while (first_ != nullptr) PopFront();
  }

  bool empty() const { return first_ == nullptr; }
  absl::Span<const uint8_t> front() const {
    if (first_ == nullptr) return {};
    return {first_->memory() + first_->offset, first_->size};
  }

  void Append(Buffer buffer) {
    weft::internal::BufferSlot* slot = buffer.ReleaseSlot();
    slot->next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = slot;
    last_ = slot;
  }
  void Prepend(Buffer buffer) {
    weft::internal::BufferSlot* slot = buffer.ReleaseSlot();
    slot->next = first_;
    first_ = slot;
    if (last_ == nullptr) last_ = slot;
  }
  // True if `buffer` was short enough and there was room behind the last one: it is copied there.
  bool AppendCopy(const Buffer& buffer) {
    if (last_ == nullptr || buffer.size() > kCopyBytesMax) return false;
    if (last_->capacity - last_->offset - last_->size < buffer.size()) return false;
    std::memcpy(last_->memory() + last_->offset + last_->size, buffer.data(), buffer.size());
    last_->size += static_cast<uint32_t>(buffer.size());
    return true;
  }
  void Splice(BufferList other) {
    if (other.first_ == nullptr) return;
    (last_ == nullptr ? first_ : last_->next) = other.first_;
    last_ = std::exchange(other.last_, nullptr);
    other.first_ = nullptr;
  }
  // Must not be empty.
  Buffer PopFront() {
    weft::internal::BufferSlot* slot = first_;
    first_ = slot->next;
    if (first_ == nullptr) last_ = nullptr;
    return Buffer::FromSlot(slot);
  }
  // At most the size of the first.
  void TrimFront(size_t n) {
    first_->offset += static_cast<uint32_t>(n);
    first_->size -= static_cast<uint32_t>(n);
  }

 private:
  weft::internal::BufferSlot* first_ = nullptr;
  weft::internal::BufferSlot* last_ = nullptr;
};

// One thread.
class OutOfOrder {
 public:
  // Of all ranges together: short pieces of which each takes a buffer are refused beyond it.
  static constexpr uint32_t kBuffersFree = 64;
  static constexpr uint32_t kBytesPerBuffer = 256;

  struct Range {
    SeqRange seq;
    uint32_t buffers = 0;
    uint32_t changed = 0;  // when, in changes of all of them
    BufferList list;
  };

  enum class Result {
    kKept,
    kCopied,     // kept, without a buffer of its own
    kDuplicate,  // all of it was here
    kDropped,    // no room for it
  };

  bool empty() const { return ranges_.empty() && !has_fin_; }
  uint32_t buffers() const { return buffers_; }
  uint32_t bytes() const { return bytes_; }
  absl::Span<const Range> ranges() const { return ranges_; }

  // `data`, not empty, at `begin`, beyond all that is in order. What is here already is noted in
  // `duplicate`, if anything is.
  Result Add(Seq begin, Buffer data, uint32_t ranges_max, SeqRange* duplicate);

  // The peer's FIN, which will be next when everything before it is here. One that was noted before
  // holds: others are forged.
  void NoteFin(Seq fin) {
    if (has_fin_) return;
    has_fin_ = true;
    fin_ = fin;
  }
  // Data has come from behind it: it was none of the peer's.
  void ForgetFinBefore(Seq next) { has_fin_ = has_fin_ && fin_ >= next; }
  bool HasFinAt(Seq next) const { return has_fin_ && fin_ == next; }

  // What begins up to `end`, the end of data in order that has just been extended: ranges that are
  // covered by it go away. Returns where the data must end so as not to cover part of a range.
  Seq MakeWay(Seq begin, Seq end, SeqRange* duplicate);
  // The range that begins at `next`, if there is one; it is not here any more.
  bool TakeAt(Seq next, Range* range);

  // The up to blocks.size() ranges that changed last, the last first.
  size_t MostRecent(absl::Span<SeqRange> blocks) const;

  // Drops everything and keeps the memory of the list.
  void Clear();

 private:
  size_t FindEndingFrom(Seq seq) const;
  void EraseCovered(size_t first, size_t last);
  Result Extend(size_t left, Buffer data, SeqRange seq);
  Result AddRange(size_t place, Buffer data, SeqRange seq, uint32_t ranges_max);

  std::vector<Range> ranges_;
  uint32_t bytes_ = 0;
  uint32_t buffers_ = 0;
  uint32_t changes_ = 0;
  bool has_fin_ = false;
  Seq fin_;
};

// Those that are not in use, for the next connection that needs one.
class OutOfOrderPool {
 public:
  std::unique_ptr<OutOfOrder> Take() {
    if (free_.empty()) return std::make_unique<OutOfOrder>();
    std::unique_ptr<OutOfOrder> taken = std::move(free_.back());
    free_.pop_back();
    return taken;
  }
  void Give(std::unique_ptr<OutOfOrder> given) {
    given->Clear();
    if (free_.size() < kKept) free_.push_back(std::move(given));
  }

 private:
  static constexpr size_t kKept = 64;
  std::vector<std::unique_ptr<OutOfOrder>> free_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_OUT_OF_ORDER_H_
