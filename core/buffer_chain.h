// SPDX-License-Identifier: Apache-2.0
//
// A message that lies in several buffers, in order. Move-only, owns its buffers, allocates nothing:
// the buffers are linked through their own bookkeeping.
//
//   for (absl::Span<const uint8_t> piece : chain) Parse(piece);
//   std::string all = chain.ToString();
//
// Use by one thread at a time.
#ifndef WEFT_CORE_BUFFER_CHAIN_H_
#define WEFT_CORE_BUFFER_CHAIN_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "absl/types/span.h"
#include "weft/core/buffer.h"

namespace weft {

class BufferChain {
 public:
  BufferChain() = default;
  explicit BufferChain(Buffer buffer) { Append(std::move(buffer)); }
  BufferChain(BufferChain&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)),
        tail_(std::exchange(other.tail_, nullptr)),
        pieces_(std::exchange(other.pieces_, 0)),
        size_(std::exchange(other.size_, 0)) {}
  BufferChain& operator=(BufferChain&& other) noexcept {
    if (this != &other) {
      Clear();
      head_ = std::exchange(other.head_, nullptr);
      tail_ = std::exchange(other.tail_, nullptr);
      pieces_ = std::exchange(other.pieces_, 0);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~BufferChain() { Clear(); }

  // Bytes in all pieces.
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  size_t pieces() const { return pieces_; }

  // `buffer` must not be null; an empty one is a piece of its own.
  void Append(Buffer buffer) {
    internal::BufferSlot* slot = std::exchange(buffer.slot_, nullptr);
    slot->next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = slot;
    tail_ = slot;
    ++pieces_;
    size_ += slot->size;
  }

  // As Append(), at the front.
  void Prepend(Buffer buffer) {
    internal::BufferSlot* slot = std::exchange(buffer.slot_, nullptr);
    slot->next = head_;
    head_ = slot;
    if (tail_ == nullptr) tail_ = slot;
    ++pieces_;
    size_ += slot->size;
  }

  // Drops the first `n` bytes, or all if there are fewer, and pieces that have none left.
  void TrimFront(size_t n) {
    while (head_ != nullptr && n >= head_->size) {
      n -= head_->size;
      PopFront();
    }
    if (head_ == nullptr || n == 0) return;
    head_->offset += static_cast<uint32_t>(n);
    head_->size -= static_cast<uint32_t>(n);
    size_ -= n;
  }

  // The first piece; null when there is none.
  Buffer PopFront() {
    internal::BufferSlot* slot = head_;
    if (slot == nullptr) return Buffer();
    head_ = slot->next;
    if (head_ == nullptr) tail_ = nullptr;
    --pieces_;
    size_ -= slot->size;
    return Buffer(slot);
  }

  void Clear() {
    while (head_ != nullptr) PopFront();
  }

  // The bytes of the first piece; empty when there is none. All of them when pieces() is 1.
  absl::Span<const uint8_t> front() const { return View(head_); }

  // Copies the first bytes, as many as there are and fit, and returns their number.
  size_t CopyTo(absl::Span<uint8_t> out) const {
    size_t copied = 0;
    for (absl::Span<const uint8_t> piece : *this) {
      const size_t n = piece.size() < out.size() - copied ? piece.size() : out.size() - copied;
      if (n > 0) std::memcpy(out.data() + copied, piece.data(), n);
      copied += n;
    }
    return copied;
  }

  std::string ToString() const {
    std::string text(size_, '\0');
    CopyTo({reinterpret_cast<uint8_t*>(text.data()), text.size()});
    return text;
  }

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = absl::Span<const uint8_t>;
    using difference_type = ptrdiff_t;
    using pointer = const value_type*;
    using reference = value_type;

    explicit Iterator(internal::BufferSlot* slot) : slot_(slot) {}
    value_type operator*() const { return View(slot_); }
    Iterator& operator++() {
      slot_ = slot_->next;
      return *this;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    internal::BufferSlot* slot_;
  };
  Iterator begin() const { return Iterator(head_); }
  Iterator end() const { return Iterator(nullptr); }

 private:
  static absl::Span<const uint8_t> View(internal::BufferSlot* slot) {
    if (slot == nullptr) return {};
    return {slot->memory() + slot->offset, slot->size};
  }

  internal::BufferSlot* head_ = nullptr;
  internal::BufferSlot* tail_ = nullptr;
  size_t pieces_ = 0;
  size_t size_ = 0;
};

}  // namespace weft

#endif  // WEFT_CORE_BUFFER_CHAIN_H_
