// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/reassembly.h"

#include <cassert>
#include <utility>

namespace weft::rpc {

Reassembly::Result Reassembly::Add(const Header& header, Buffer payload) {
  const size_t index = header.first ? 0 : header.packet_order;
  // The first packet and the last one both tell the length.
  size_t total = total_;
  if (header.first) {
    total = header.packet_order;
  } else if (header.last) {
    total = size_t{header.packet_order} + 1;
  }
  if (index >= packets_max_ || total > packets_max_) return Result::kTooLong;
  if (total != total_ && total_ != 0) return Result::kContradiction;
  if (total != 0 && (index >= total || packets_.size() > total)) return Result::kContradiction;
  // The packet at the end says so, and no other does.
  if (total != 0 && !header.first && header.last != (index + 1 == total))
    return Result::kContradiction;
  if (index < packets_.size() && packets_[index]) return Result::kDuplicate;

  total_ = total;
  if (index >= packets_.size()) packets_.resize(index + 1);
  packets_[index] = std::move(payload);
  ++held_;
  return held_ == total_ ? Result::kComplete : Result::kIncomplete;
}

BufferChain Reassembly::Take() {
  assert(held_ == total_ && held_ == packets_.size());
  BufferChain message;
  for (Buffer& packet : packets_) message.Append(std::move(packet));
  Reset();
  return message;
}

void Reassembly::Reset() {
  packets_.clear();
  held_ = 0;
  total_ = 0;
}

}  // namespace weft::rpc
