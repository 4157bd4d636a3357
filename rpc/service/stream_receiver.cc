// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/stream_receiver.h"

#include <array>
#include <bit>
#include <utility>

namespace weft::rpc {

StreamReceiver::StreamReceiver(size_t window)
    : window_(window), mask_(std::bit_ceil(window) - 1), slots_(mask_ + 1) {}

StreamReceiver::Taken StreamReceiver::Check(uint64_t sequence) const {
  if (sequence < next_) return Taken::kDuplicate;
  if (sequence - next_ >= window_ || sequence >= end_at_) return Taken::kBeyond;
  return slot(sequence).here ? Taken::kDuplicate : Taken::kYes;
}

void StreamReceiver::Put(uint64_t sequence, BufferChain bytes, bool last) {
  Batch& batch = slot(sequence);
  batch.here = true;
  batch.size = bytes.size();
  batch.bytes = std::move(bytes);
  ++batches_;
  bytes_held_ += batch.size;
  if (last) end_at_ = sequence + 1;
}

StreamReceiver::Result StreamReceiver::NextBatch() {
  if (fragmented_) return Result::kMessage;
  while (!IsEnd()) {
    Batch& batch = current();
    if (!batch.here) return Result::kWait;
    if (batch.size == 0) {
      Consume();
      continue;
    }
    if (batch.copy == nullptr && batch.bytes.pieces() > 1) {
      if (!BeginFragmented(batch)) return Result::kMalformed;
      if (fragmented_) return Result::kMessage;
    }
    at_ = batch.copy != nullptr ? batch.copy.get() : batch.bytes.front().data();
    end_ = at_ + batch.size;
    return Next();
  }
  return Result::kEnd;
}

bool StreamReceiver::BeginFragmented(Batch& batch) {
  std::array<uint8_t, kLengthBytesMax> first;
  const size_t got = batch.bytes.CopyTo(absl::MakeSpan(first));
  const size_t taken = ReadLength(absl::MakeSpan(first).first(got), &length_);
  if (taken == 0 || length_ > batch.size - taken) return false;
  if (length_ == batch.size - taken) {
    batch.bytes.TrimFront(taken);
    fragmented_ = true;
  } else {
    CopyBytes(batch);  // several messages: written when the length of packets was not known yet
  }
  return true;
}

void StreamReceiver::CopyBytes(Batch& batch) {
  batch.copy = std::make_unique_for_overwrite<uint8_t[]>(batch.size);
  batch.bytes.CopyTo({batch.copy.get(), batch.size});
  batch.bytes.Clear();
}

void StreamReceiver::CopyOut(uint64_t sequence) {
  if (sequence < next_ || sequence - next_ >= window_) return;
  Batch& batch = slot(sequence);
  const bool being_read = sequence == next_ && (at_ != end_ || fragmented_);
  if (batch.here && batch.copy == nullptr && !being_read) CopyBytes(batch);
}

bool StreamReceiver::TakeWhole(BufferChain* out) {
  Batch& batch = current();
  if (batch.copy != nullptr || head_ + length_ != batch.size) return false;
  batch.bytes.TrimFront(head_);
  *out = std::move(batch.bytes);
  return true;
}

void StreamReceiver::TellObserver() {
  if (observer_ == nullptr) return;
  observer_->OnMessagesIn(messages_ - told_messages_, message_bytes_ - told_bytes_);
  told_messages_ = messages_;
  told_bytes_ = message_bytes_;
}

void StreamReceiver::Consume() {
  TellObserver();
  Batch& batch = current();
  bytes_held_ -= batch.size;
  --batches_;
  batch.here = false;
  batch.bytes.Clear();
  batch.copy.reset();
  at_ = end_ = nullptr;
  fragmented_ = false;
  OnConsumed(next_++);
}

void StreamReceiver::Reset() {
  TellObserver();
  observer_ = nullptr;
  for (Batch& batch : slots_) batch = Batch();
  next_ = messages_ = message_bytes_ = told_messages_ = told_bytes_ = 0;
  end_at_ = UINT64_MAX;
  stopped_ = fragmented_ = false;
  at_ = end_ = nullptr;
  batches_ = bytes_held_ = 0;
}

}  // namespace weft::rpc
