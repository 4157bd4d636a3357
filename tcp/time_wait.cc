// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/time_wait.h"

namespace weft::tcp {

TimeWaitTable::TimeWaitTable(size_t entries_max, int64_t rest_ns, uint64_t secret,
                             TimerWheel* timers, Gauge* count)
    : entries_max_(entries_max),
      rest_ns_(rest_ns),
      secret_(secret),
      timers_(timers),
      count_(count) {}

uint32_t TimeWaitTable::TakeFree() {
  if (free_ == kNone) {
    const auto base = static_cast<uint32_t>(blocks_.size() * kBlock);
    blocks_.push_back(std::make_unique<TimeWaitEntry[]>(kBlock));
    for (uint32_t i = 0; i < kBlock; ++i) {
      At(base + i).later = i + 1 < kBlock ? base + i + 1 : kNone;
    }
    free_ = base;
  }
  const uint32_t index = free_;
  free_ = At(index).later;
  return index;
}

void TimeWaitTable::LinkLast(uint32_t index) {
  TimeWaitEntry& entry = At(index);
  entry.earlier = last_;
  entry.later = kNone;
  (last_ == kNone ? first_ : At(last_).later) = index;
  last_ = index;
}

void TimeWaitTable::Unlink(uint32_t index) {
  const TimeWaitEntry& entry = At(index);
  (entry.earlier == kNone ? first_ : At(entry.earlier).later) = entry.later;
  (entry.later == kNone ? last_ : At(entry.later).earlier) = entry.earlier;
}

void TimeWaitTable::Add(const TimeWaitEntry& entry, int64_t now_ns) {
  if (full()) Remove(first_);
  const uint32_t index = TakeFree();
  At(index) = entry;
  At(index).expires = Tick::AtLeast(now_ns + rest_ns_);
  LinkLast(index);
  table_.Insert(HashOf(entry.flow(), secret_), index);
  Count();
  if (!timer_.armed()) Arm(now_ns);
}

void TimeWaitTable::Renew(uint32_t index, int64_t now_ns) {
  Unlink(index);
  At(index).expires = Tick::AtLeast(now_ns + rest_ns_);
  LinkLast(index);
}

void TimeWaitTable::Remove(uint32_t index) {
  TimeWaitEntry& entry = At(index);
  table_.Erase(HashOf(entry.flow(), secret_), index);
  Unlink(index);
  entry = TimeWaitEntry();
  entry.later = free_;
  free_ = index;
  Count();
  if (first_ == kNone) timers_->Cancel(timer_);
}

// For the entry that expires first. When that is renewed or removed, the timer fires early and is
// armed anew.
void TimeWaitTable::Arm(int64_t now_ns) {
  timers_->Schedule(timer_, At(first_).expires.ToNs(now_ns));
}

void TimeWaitTable::OnTimer(void* self, int64_t now_ns) {
  auto& table = *static_cast<TimeWaitTable*>(self);
  const Tick now = Tick::AtMost(now_ns);
  while (table.first_ != kNone && table.At(table.first_).expires - now <= 0) {
    table.Remove(table.first_);
  }
  if (table.first_ != kNone) table.Arm(now_ns);
}

}  // namespace weft::tcp
