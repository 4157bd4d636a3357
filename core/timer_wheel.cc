// SPDX-License-Identifier: Apache-2.0

#include "weft/core/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace weft {
namespace {

constexpr uint64_t TickOf(int64_t ns) {
  return static_cast<uint64_t>(std::max<int64_t>(ns, 0)) / TimerWheel::kTickNs;
}

constexpr int64_t StartOf(uint64_t tick) {
  return static_cast<int64_t>(tick * TimerWheel::kTickNs);
}

}  // namespace

TimerWheel::TimerWheel(int64_t now_ns) : current_tick_(TickOf(now_ns)) {
  for (Link& slot : slots_) slot = {&slot, &slot};
}

TimerWheel::~TimerWheel() {
  uint32_t slot;
  uint64_t tick;
  while (FindFirst(&slot, &tick)) {
    Cancel(*reinterpret_cast<Timer*>(slots_[slot].next));
  }
  while (moving()) Cancel(*reinterpret_cast<Timer*>(slots_[kMovingSlot].next));
  assert(size_ == 0);
}

void TimerWheel::Schedule(Timer& timer, int64_t deadline_ns) {
  if (timer.armed()) {
    assert(timer.wheel_ == this);
    Unlink(timer);
  } else {
    timer.wheel_ = this;
    ++size_;
  }
  timer.deadline_ns_ = deadline_ns;
  next_ns_ = std::min(next_ns_, deadline_ns);
  Insert(timer);
}

void TimerWheel::Cancel(Timer& timer) {
  if (!timer.armed()) return;
  assert(timer.wheel_ == this);
  Unlink(timer);
  timer.wheel_ = nullptr;
  --size_;
}

// The level is the highest one at which the timer's tick and the current one have different digits
// to the base of 64. So a used slot of level 1 or more lies wholly in the future, all timers of a
// level come before those of the levels above it, and no level ever wraps around.
inline void TimerWheel::Insert(Timer& timer) {
  const uint64_t tick = std::max(TickOf(timer.deadline_ns_), current_tick_);
  const uint32_t highest_bit = std::bit_width((tick ^ current_tick_) | 1) - 1;
  const uint32_t level = highest_bit / kSlotBits;
  const uint32_t digit = (tick >> (level * kSlotBits)) % kSlots;
  Append(timer, level * kSlots + digit);
}

inline void TimerWheel::Append(Timer& timer, uint32_t slot) {
  Link& head = slots_[slot];
  timer.link_ = {head.previous, &head};
  head.previous->next = &timer.link_;
  head.previous = &timer.link_;
  used_slots_[slot / kSlots] |= uint64_t{1} << (slot % kSlots);
  used_levels_ |= 1u << (slot / kSlots);
}

inline void TimerWheel::Unlink(Timer& timer) {
  Link* const previous = timer.link_.previous;
  Link* const next = timer.link_.next;
  previous->next = next;
  next->previous = previous;
  if (previous != next) return;
  // Its only neighbour was the head: the slot is empty now.
  const auto slot = static_cast<uint32_t>(previous - slots_.data());
  const uint32_t level = slot / kSlots;
  used_slots_[level] &= ~(uint64_t{1} << (slot % kSlots));
  if (used_slots_[level] == 0) used_levels_ &= ~(1u << level);
}

// Puts the timers of a slot of level 1 or more, at whose start current_tick_ stands, behind those
// that move down.
void TimerWheel::BeginMoving(uint32_t slot) {
  if (!moving()) moving_ns_ = StartOf(current_tick_);
  Link& from = slots_[slot];
  Link& to = slots_[kMovingSlot];
  from.next->previous = to.previous;
  to.previous->next = from.next;
  from.previous->next = &to;
  to.previous = from.previous;
  from = {&from, &from};
  const uint32_t level = slot / kSlots;
  used_slots_[level] &= ~(uint64_t{1} << (slot % kSlots));
  if (used_slots_[level] == 0) used_levels_ &= ~(1u << level);
  used_slots_[kMovingSlot / kSlots] |= uint64_t{1} << (kMovingSlot % kSlots);
  used_levels_ |= 1u << (kMovingSlot / kSlots);
}

void TimerWheel::MoveSome(uint32_t* budget) {
  for (; moving() && *budget > 0; --*budget) {
    Timer& timer = *reinterpret_cast<Timer*>(slots_[kMovingSlot].next);
    Unlink(timer);
    Insert(timer);
  }
}

// The earliest slot in use and the first tick that it covers; false when none is.
inline bool TimerWheel::FindFirst(uint32_t* slot, uint64_t* tick) const {
  if ((used_levels_ & kLevelMask) == 0) return false;
  const uint32_t level = std::countr_zero(used_levels_);
  const uint32_t digit = std::countr_zero(used_slots_[level]);
  const uint32_t shift = level * kSlotBits;
  *slot = level * kSlots + digit;
  *tick = (current_tick_ >> shift >> kSlotBits << kSlotBits | digit) << shift;
  return true;
}

// Moves all that is due to the due list, in order, and finds the next bound.
void TimerWheel::CollectDue(int64_t now_ns) {
  const uint64_t now_tick = std::max(TickOf(now_ns), current_tick_);
  next_ns_ = kNever;
  uint32_t budget = kMovedAtOnce;
  MoveSome(&budget);
  uint32_t slot;
  uint64_t tick;
  while (FindFirst(&slot, &tick)) {
    if (tick > now_tick) {
      next_ns_ = StartOf(tick);
      break;
    }
    current_tick_ = tick;
    if (slot >= kSlots) {
      BeginMoving(slot);
      MoveSome(&budget);
    } else if (!CollectFromSlot(slot, now_ns)) {
      break;
    }
  }
  current_tick_ = now_tick;
  if (moving()) next_ns_ = std::min(next_ns_, moving_ns_);
}

// The same for one slot of level 0. Returns whether it is empty now; if not, it bounds what is
// left.
bool TimerWheel::CollectFromSlot(uint32_t slot, int64_t now_ns) {
  Link& head = slots_[slot];
  for (Link* link = head.next; link != &head;) {
    Timer& timer = *reinterpret_cast<Timer*>(link);
    link = link->next;
    if (timer.deadline_ns_ > now_ns) {
      next_ns_ = std::min(next_ns_, timer.deadline_ns_);
    } else {
      Unlink(timer);
      Append(timer, kDueSlot);
    }
  }
  return head.next == &head;
}

size_t TimerWheel::FireDue(int64_t now_ns) {
  CollectDue(now_ns);
  // Callbacks may take timers off this list, but only CollectDue() puts any on it.
  size_t fired = 0;
  Link& due = slots_[kDueSlot];
  while (due.next != &due) {
    Timer& timer = *reinterpret_cast<Timer*>(due.next);
    const Timer::Callback callback = timer.callback_;
    void* const context = timer.context_;
    Cancel(timer);
    ++fired;
    callback(context, now_ns);
  }
  return fired;
}

int64_t TimerWheel::NextDeadlineNs() const {
  if (moving()) return next_ns_;
  uint32_t slot;
  uint64_t tick;
  if (!FindFirst(&slot, &tick)) return kNever;
  // The current slot also holds deadlines from before its start. Cancelled timers leave next_ns_
  // too low, and a later slot's start corrects that.
  return tick == current_tick_ ? next_ns_ : std::max(next_ns_, StartOf(tick));
}

}  // namespace weft
