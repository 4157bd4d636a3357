// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/out_of_order.h"

#include <algorithm>

namespace weft::tcp {

// The first range that ends at `seq` or behind it.
size_t OutOfOrder::FindEndingFrom(Seq seq) const {
  // Most data belongs to the last range.
  if (!ranges_.empty() && ranges_.back().seq.begin <= seq) {
    return ranges_.back().seq.end >= seq ? ranges_.size() - 1 : ranges_.size();
  }
  const auto found = std::partition_point(ranges_.begin(), ranges_.end(),
                                          [&](const Range& range) { return range.seq.end < seq; });
  return static_cast<size_t>(found - ranges_.begin());
}

// Ranges from `first` up to `last`, without it.
void OutOfOrder::EraseCovered(size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    bytes_ -= ranges_[i].seq.bytes();
    buffers_ -= ranges_[i].buffers;
  }
  ranges_.erase(ranges_.begin() + static_cast<ptrdiff_t>(first),
                ranges_.begin() + static_cast<ptrdiff_t>(last));
}

OutOfOrder::Result OutOfOrder::Add(Seq begin, Buffer data, uint32_t ranges_max,
                                   SeqRange* duplicate) {
  SeqRange seq = {begin, begin + static_cast<uint32_t>(data.size())};
  size_t place = FindEndingFrom(seq.begin);
  const bool extends = place < ranges_.size() && ranges_[place].seq.begin <= seq.begin;
  size_t right = place;
  if (extends) {
    Range& left = ranges_[place];
    if (left.seq.end >= seq.end) {
      *duplicate = seq;
      left.changed = ++changes_;
      return Result::kDuplicate;
    }
    if (left.seq.end > seq.begin) *duplicate = {seq.begin, left.seq.end};
    data.TrimFront(static_cast<size_t>(left.seq.end - seq.begin));
    seq.begin = left.seq.end;
    right = place + 1;
  }
  // What the data covers wholly goes: the data replaces it.
  size_t covered = right;
  while (covered < ranges_.size() && ranges_[covered].seq.end <= seq.end) {
    *duplicate = ranges_[covered].seq;
    ++covered;
  }
  if (covered > right) EraseCovered(right, covered);
  if (right < ranges_.size() && ranges_[right].seq.begin < seq.end) {
    *duplicate = {ranges_[right].seq.begin, seq.end};
    data.TrimBack(static_cast<size_t>(seq.end - ranges_[right].seq.begin));
    seq.end = ranges_[right].seq.begin;
  }
  return extends ? Extend(place, std::move(data), seq)
                 : AddRange(place, std::move(data), seq, ranges_max);
}

// Puts `data` behind the range `left`, which it touches, and joins that with the next one if there
// is no gap between them any more.
OutOfOrder::Result OutOfOrder::Extend(size_t left, Buffer data, SeqRange seq) {
  Range& range = ranges_[left];
  const bool copied = range.list.AppendCopy(data);
  if (!copied) {
    if (buffers_ >= kBuffersFree + bytes_ / kBytesPerBuffer) return Result::kDropped;
    range.list.Append(std::move(data));
    ++range.buffers;
    ++buffers_;
  }
  range.seq.end = seq.end;
  range.changed = ++changes_;
  bytes_ += seq.bytes();
  if (left + 1 < ranges_.size() && ranges_[left + 1].seq.begin == seq.end) {
    Range& next = ranges_[left + 1];
    range.seq.end = next.seq.end;
    range.buffers += next.buffers;
    range.list.Splice(std::move(next.list));
    ranges_.erase(ranges_.begin() + static_cast<ptrdiff_t>(left) + 1);
  }
  return copied ? Result::kCopied : Result::kKept;
}

// Puts `data` in front of the range `place`, or makes a range of it.
OutOfOrder::Result OutOfOrder::AddRange(size_t place, Buffer data, SeqRange seq,
                                        uint32_t ranges_max) {
  if (buffers_ >= kBuffersFree + bytes_ / kBytesPerBuffer) return Result::kDropped;
  if (place < ranges_.size() && ranges_[place].seq.begin == seq.end) {
    Range& range = ranges_[place];
    range.list.Prepend(std::move(data));
    range.seq.begin = seq.begin;
    ++range.buffers;
    range.changed = ++changes_;
  } else {
    if (ranges_.size() >= ranges_max) {
      // What lies nearer to the data in order is of use sooner.
      if (place == ranges_.size()) return Result::kDropped;
      EraseCovered(ranges_.size() - 1, ranges_.size());
    }
    Range range;
    range.seq = seq;
    range.buffers = 1;
    range.changed = ++changes_;
    range.list.Append(std::move(data));
    ranges_.insert(ranges_.begin() + static_cast<ptrdiff_t>(place), std::move(range));
  }
  ++buffers_;
  bytes_ += seq.bytes();
  return Result::kKept;
}

Seq OutOfOrder::MakeWay(Seq begin, Seq end, SeqRange* duplicate) {
  size_t covered = 0;
  while (covered < ranges_.size() && ranges_[covered].seq.end <= end) {
    *duplicate = ranges_[covered].seq;
    ++covered;
  }
  if (covered > 0) EraseCovered(0, covered);
  if (ranges_.empty() || ranges_.front().seq.begin >= end) return end;
  const Seq where = Max(begin, ranges_.front().seq.begin);
  *duplicate = {where, end};
  return where;
}

bool OutOfOrder::TakeAt(Seq next, Range* range) {
  if (ranges_.empty() || ranges_.front().seq.begin != next) return false;
  *range = std::move(ranges_.front());
  bytes_ -= range->seq.bytes();
  buffers_ -= range->buffers;
  ranges_.erase(ranges_.begin());
  return true;
}

size_t OutOfOrder::MostRecent(absl::Span<SeqRange> blocks) const {
  size_t count = 0;
  uint32_t before = changes_ + 1;  // of changes later than or at this one all are reported
  while (count < blocks.size() && count < ranges_.size()) {
    const Range* latest = nullptr;
    for (const Range& range : ranges_) {
      if (static_cast<int32_t>(range.changed - before) >= 0) continue;
      if (latest == nullptr || static_cast<int32_t>(range.changed - latest->changed) > 0) {
        latest = &range;
      }
    }
    if (latest == nullptr) break;
    blocks[count++] = latest->seq;
    before = latest->changed;
  }
  return count;
}

void OutOfOrder::Clear() {
  ranges_.clear();
  bytes_ = 0;
  buffers_ = 0;
  has_fin_ = false;
}

}  // namespace weft::tcp
