// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/reassembly.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

namespace weft::rpc {

Reassembly::Result Reassembly::Add(const Header& header, Buffer payload) {
  const size_t index = header.first ? 0 : header.packet_order;
  // The first packet and the last one both tell the length.
  size_t total = 0;
  if (header.first) {
    total = header.packet_order;
  } else if (header.last) {
    total = size_t{header.packet_order} + 1;
  }
  return Add(index, total, header.last, std::move(payload));
}

Reassembly::Result Reassembly::Add(size_t index, size_t total, bool last, Buffer payload) {
  if (total == 0) total = total_;
  if (index >= packets_max_ || total > packets_max_) return Result::kTooLong;
  if (total != total_ && total_ != 0) return Result::kContradiction;
  if (total != 0 && (index >= total || end_ > total)) return Result::kContradiction;
  // The packet at the end says so, and no other does.
  if (total != 0 && index != 0 && last != (index + 1 == total)) return Result::kContradiction;
  if (index < cumulative()) return Result::kDuplicate;

  if (index == cumulative()) {
    chain_.Append(std::move(payload));
    for (; early_count_ > 0 && early(cumulative()); --early_count_) {
      chain_.Append(std::move(early(cumulative())));
    }
  } else {
    MakeRoom(index);
    if (early(index)) return Result::kDuplicate;
    early(index) = std::move(payload);
    ++early_count_;
  }
  total_ = total;
  end_ = std::max(end_, index + 1);
  return complete() ? Result::kComplete : Result::kIncomplete;
}

// Makes the ring large enough for all from the first missing packet up to `index`.
void Reassembly::MakeRoom(size_t index) {
  constexpr size_t kSmallestRing = 16;
  const size_t needed = index - cumulative() + 1;
  if (needed <= early_.size()) return;
  std::vector<Buffer> ring(std::max(kSmallestRing, std::bit_ceil(needed)));
  if (early_count_ > 0) {
    for (size_t i = cumulative() + 1; i < end_; ++i)
      ring[i & (ring.size() - 1)] = std::move(early(i));
  }
  early_ = std::move(ring);
}

Progress Reassembly::FillProgress(size_t granted, uint8_t* bitmap) const {
  const size_t edge = std::min(granted, total_ != 0 ? total_ : kExtendedPacketsMax);
  Progress progress = {.granted = static_cast<uint16_t>(edge)};
  if (early_count_ == 0) return progress;
  const size_t first = cumulative() + 1;
  const size_t bits = std::min(end_ - first, Progress::kBitsMax);
  const size_t bytes = (bits + 7) / 8;
  std::memset(bitmap, 0, bytes);
  for (size_t i = 0; i < bits; ++i) {
    if (early(first + i)) bitmap[i / 8] |= 0x80 >> (i % 8);
  }
  progress.bits = static_cast<uint16_t>(bits);
  progress.bitmap = {bitmap, bytes};
  return progress;
}

BufferChain Reassembly::Take() {
  assert(complete());
  BufferChain message = std::move(chain_);
  Reset();
  return message;
}

void Reassembly::Reset() {
  chain_.Clear();
  if (early_count_ > 0) {
    for (Buffer& packet : early_) packet.Reset();
  }
  if (early_.size() > kKeptPackets) early_ = std::vector<Buffer>();
  early_count_ = 0;
  end_ = 0;
  total_ = 0;
}

}  // namespace weft::rpc
