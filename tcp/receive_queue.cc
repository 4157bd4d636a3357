// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/receive_queue.h"

#include <algorithm>

namespace weft::tcp {
namespace {

constexpr uint32_t kFieldMax = 0xffff;

}  // namespace

void ReceiveQueue::Start(Seq next, uint32_t limit_bytes) {
  next_ = next;
  edge_ = next;
  limit_bytes_ = limit_bytes;
}

ReceiveQueue::Added ReceiveQueue::Add(Seq begin, Buffer data, bool fin, const Room& room) {
  Added added;
  const uint32_t before = buffers();
  Trim(&begin, &data, &fin, &added);
  const bool has_data = data && !data.empty();
  if (begin == next_) {
    if (has_data) AddInOrder(std::move(data), room, &added);
    if (beyond_ != nullptr) beyond_->ForgetFinBefore(next_);
    // The FIN counts as a byte (RFC 9293, 3.4), but only once what precedes it was taken.
    const bool complete = fin && !added.dropped && !has_gaps();
    if (complete || (beyond_ != nullptr && beyond_->HasFinAt(next_))) {
      next_ += 1;
      edge_ = Max(edge_, next_);
      added.fin = true;
      if (beyond_ != nullptr) beyond_->Clear();
    }
  } else if (has_data || fin) {
    AddBeyond(begin, std::move(data), fin, room, &added);
  }
  if (beyond_ != nullptr && beyond_->empty()) ReleaseBeyond(room.pool);
  added.buffers = static_cast<int32_t>(buffers() - before);
  return added;
}

// Cuts off what was received before and what the peer was not allowed to send (RFC 9293, 3.10.7.4,
// "first, check sequence number").
void ReceiveQueue::Trim(Seq* begin, Buffer* data, bool* fin, Added* added) {
  const auto size = *data ? static_cast<uint32_t>(data->size()) : 0;
  const Seq end = *begin + size;
  if (*begin < next_) {
    const Seq known = Min(next_, end);
    if (size > 0) NoteDuplicate(*begin, known);
    if (end < next_ || (end == next_ && !*fin)) {
      added->duplicate = true;
      data->Reset();
      *begin = next_;
      *fin = false;
      return;
    }
    if (size > 0) data->TrimFront(static_cast<size_t>(known - *begin));
    *begin = next_;
  }
  if (end > edge_) {
    const auto beyond = std::min<uint32_t>(static_cast<uint32_t>(end - edge_),
                                           *data ? static_cast<uint32_t>(data->size()) : 0);
    if (beyond > 0) {
      data->TrimBack(beyond);
      *fin = false;
      added->dropped = data->empty();
    }
  }
}

void ReceiveQueue::AddInOrder(Buffer data, const Room& room, Added* added) {
  Seq end = next_ + static_cast<uint32_t>(data.size());
  const bool had_gaps = has_gaps();
  if (had_gaps) {
    SeqRange duplicate;
    const Seq cut = beyond_->MakeWay(next_, end, &duplicate);
    if (!duplicate.empty()) NoteDuplicate(duplicate.begin, duplicate.end);
    if (cut != end) {
      data.TrimBack(static_cast<size_t>(end - cut));
      end = cut;
    }
  }
  if (in_order_.AppendCopy(data)) {
    added->coalesced = true;
  } else if (room.in_order || in_order_.empty()) {
    // The first buffer is always taken, so that every reader gets on however short memory is.
    in_order_.Append(std::move(data));
    ++buffers_;
  } else {
    added->dropped = true;
    return;
  }
  added->bytes = static_cast<uint32_t>(end - next_);
  next_ = end;
  for (OutOfOrder::Range range; had_gaps && beyond_->TakeAt(next_, &range);) {
    added->bytes += range.seq.bytes();
    next_ = range.seq.end;
    buffers_ += range.buffers;
    in_order_.Splice(std::move(range.list));
  }
  bytes_ += added->bytes;
  added->filled = had_gaps;
}

void ReceiveQueue::AddBeyond(Seq begin, Buffer data, bool fin, const Room& room, Added* added) {
  if (!room.out_of_order) {
    added->dropped = true;
    return;
  }
  if (beyond_ == nullptr) {
    beyond_ = room.pool != nullptr ? room.pool->Take() : std::make_unique<OutOfOrder>();
  }
  const Seq end = begin + (data ? static_cast<uint32_t>(data.size()) : 0);
  if (data && !data.empty()) {
    SeqRange duplicate;
    const OutOfOrder::Result result =
        beyond_->Add(begin, std::move(data), room.ranges_max, &duplicate);
    if (!duplicate.empty()) NoteDuplicate(duplicate.begin, duplicate.end);
    added->out_of_order =
        result == OutOfOrder::Result::kKept || result == OutOfOrder::Result::kCopied;
    added->coalesced = result == OutOfOrder::Result::kCopied;
    added->duplicate = result == OutOfOrder::Result::kDuplicate;
    added->dropped = result == OutOfOrder::Result::kDropped;
  } else {
    added->out_of_order = true;
  }
  if (fin && !added->dropped) beyond_->NoteFin(end);
}

absl::Span<const uint8_t> ReceiveQueue::View() const { return in_order_.front(); }

uint32_t ReceiveQueue::Consume(size_t n) {
  n = std::min<size_t>(n, bytes_);
  bytes_ -= static_cast<uint32_t>(n);
  consumed_ += static_cast<uint32_t>(n);
  const uint32_t before = buffers_;
  while (n > 0) {
    const size_t front = in_order_.front().size();
    if (n < front) {
      in_order_.TrimFront(n);
      break;
    }
    in_order_.PopFront();
    --buffers_;
    n -= front;
  }
  return before - buffers_;
}

uint16_t ReceiveQueue::Advertise(uint32_t mss, uint8_t scale) {
  const uint32_t free = limit_bytes_ > bytes_ ? limit_bytes_ - bytes_ : 0;
  const uint32_t promised = window();
  uint32_t now = promised;
  if (free > promised && free - promised >= std::min(limit_bytes_ / 2, mss)) now = free;
  // Rounding down takes back a little of what was promised, which is still accepted (RFC 7323,
  // 2.4); up it goes only where there is room, or else many short segments would move the edge.
  const uint32_t unit = 1u << scale;
  const uint32_t up = (now + unit - 1) & ~(unit - 1);
  const uint32_t field = std::min(kFieldMax, (up <= free ? up : now) >> scale);
  edge_ = Max(edge_, next_ + (field << scale));
  return static_cast<uint16_t>(field);
}

bool ReceiveQueue::WindowUpdateDue(uint32_t mss, uint8_t scale) const {
  // More than the field can say is of no use to the peer.
  const uint32_t most = std::min(limit_bytes_, kFieldMax << scale);
  const uint32_t free = limit_bytes_ > bytes_ ? std::min(limit_bytes_ - bytes_, most) : 0;
  const uint32_t promised = window();
  // A peer that still has half of the window hears of the rest with the next acknowledgement.
  if (free <= promised || promised > most / 2) return false;
  return free - promised >= std::min(most / 2, 2 * mss);
}

void ReceiveQueue::Tune(Tick now, uint32_t round_trip_ticks, uint32_t mss, uint32_t limit_max) {
  if (static_cast<uint32_t>(now - tuned_) < round_trip_ticks) return;
  const bool same_trip = static_cast<uint32_t>(now - tuned_) < 4 * round_trip_ticks;
  // Of a reader that was idle in between nothing is learnt.
  if (same_trip) {
    constexpr uint32_t kSegmentsMore = 16;  // so that the first round trips double it, too
    const uint64_t wanted = 2 * uint64_t{consumed_} + uint64_t{kSegmentsMore} * mss;
    if (wanted > limit_bytes_) {
      limit_bytes_ = static_cast<uint32_t>(
          std::min<uint64_t>(std::max<uint64_t>(limit_max, limit_bytes_), wanted));
    }
  }
  tuned_ = now;
  consumed_ = 0;
}

size_t ReceiveQueue::ReportSack(absl::Span<SeqRange> blocks) {
  size_t count = 0;
  if (duplicate_begin_ != duplicate_end_ && !blocks.empty()) {
    blocks[count++] = {duplicate_begin_, duplicate_end_};
    duplicate_begin_ = duplicate_end_;
  }
  if (beyond_ != nullptr) count += beyond_->MostRecent(blocks.subspan(count));
  return count;
}

uint32_t ReceiveQueue::Prune(OutOfOrderPool* pool) {
  if (beyond_ == nullptr) return 0;
  const uint32_t before = buffers();
  ReleaseBeyond(pool);
  return before - buffers();
}

uint32_t ReceiveQueue::Clear(OutOfOrderPool* pool) {
  const uint32_t before = buffers();
  while (!in_order_.empty()) in_order_.PopFront();
  ReleaseBeyond(pool);
  bytes_ = 0;
  buffers_ = 0;
  return before;
}

void ReceiveQueue::ReleaseBeyond(OutOfOrderPool* pool) {
  if (beyond_ == nullptr) return;
  if (pool != nullptr) pool->Give(std::move(beyond_));
  beyond_.reset();
}

}  // namespace weft::tcp
