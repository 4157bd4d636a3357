// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/packet_queue.h"

#include <algorithm>
#include <cstddef>

namespace weft::rpc {
namespace {

// Two messages of the greatest length that the original R2P2 sends.
constexpr ptrdiff_t kBlockedPacketsMax = 512;

}  // namespace

bool PacketQueue::MakeRoom() {
  if (packets_.size() < capacity_) {
    packets_.emplace_back();
    return true;
  }
  if (begin_ == 0) return false;
  std::move(packets_.begin() + begin_, packets_.begin() + end_, packets_.begin());
  end_ -= begin_;
  begin_ = 0;
  return true;
}

void PacketQueue::Withdraw(const Payload& payload) {
  const auto first = packets_.begin() + static_cast<ptrdiff_t>(begin_);
  const auto last = packets_.begin() + static_cast<ptrdiff_t>(end_);
  payload.ForEachPiece([&](absl::Span<const uint8_t> piece) {
    for (auto packet = first; packet != last; ++packet) {
      const uint8_t* const tail = packet->tail.data();
      if (packet->tail.empty() || tail < piece.data() || tail >= piece.data() + piece.size()) {
        continue;
      }
      packet->buffer.Reset();
      packet->tail = {};
    }
  });
  const auto end = std::remove_if(first, last, [](const Datagram& d) { return !d.buffer; });
  end_ = static_cast<size_t>(end - packets_.begin());
  if (empty()) {
    begin_ = end_ = 0;
    ++epoch_;
  }
}

void PacketQueue::SetBlockedAside() {
  const Peer blocked = packets_[begin_].peer;
  const auto first = packets_.begin() + begin_;
  const auto last = packets_.begin() + end_;
  const auto to_others = [&blocked](const Datagram& packet) { return packet.peer != blocked; };
  if (std::none_of(first, last, to_others)) return;
  const auto aside = std::stable_partition(first, last, to_others);
  for (auto excess = last - aside; excess > kBlockedPacketsMax; --excess) {
    packets_[--end_].buffer.Reset();
    ++*dropped_;
  }
}

}  // namespace weft::rpc
