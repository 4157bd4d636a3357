// SPDX-License-Identifier: Apache-2.0
//
// TimerWheel: all the timers of one thread. Schedule and Cancel take constant time, a few
// nanoseconds, and allocate nothing; an Advance with nothing due is one compare.
//
// Scheme 7 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987): nine levels
// of 64 slots, a slot of level n covering 64^n ticks of 1024 ns, so that every int64_t deadline has
// a place. A bitmap a level finds the next slot without stepping through empty ones, and a timer
// moves down a level when time reaches its slot. When there are very many in that slot they move
// over several calls, so that a million timers for one second an hour away stop nobody.
//
//   struct Call {
//     static void OnTimeout(void* self, int64_t now_ns);
//     weft::Timer timeout{&Call::OnTimeout, this};
//   };
//   wheel.Schedule(call.timeout, now_ns + 5'000'000);
//   wheel.Cancel(call.timeout);

#ifndef WEFT_CORE_TIMER_WHEEL_H_
#define WEFT_CORE_TIMER_WHEEL_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace weft {

class TimerWheel;

// One timer, a member of whatever it times. It is in at most one wheel at a time, on that wheel's
// thread, and cancels itself when it is destroyed.
class Timer {
 public:
  // `now_ns` is what Advance() was given. The timer is not armed any more when its callback runs,
  // and the callback may schedule, cancel or destroy any timer, its own included.
  using Callback = void (*)(void* context, int64_t now_ns);

  Timer(Callback callback, void* context) : callback_(callback), context_(context) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Whether it is going to fire.
  bool armed() const { return wheel_ != nullptr; }

  // When it fires, or was last going to.
  int64_t deadline_ns() const { return deadline_ns_; }

 private:
  friend class TimerWheel;

  // A member of a circular list.
  struct Link {
    Link* previous;
    Link* next;
  };

  Link link_;  // First, so that a link of a list of timers is also a pointer to its timer.
  TimerWheel* wheel_ = nullptr;
  int64_t deadline_ns_ = 0;
  Callback callback_;
  void* context_;
};

// One thread. Must not be destroyed or advanced by a timer's callback.
class TimerWheel {
 public:
  static constexpr int64_t kNever = INT64_MAX;

  static constexpr int64_t kTickNs = 1024;

  // So many move down in one call: of a slot with `n` times as many, the last ones fire up to `n`
  // calls late. Until they have, NextDeadlineNs() is never later than now.
  static constexpr uint32_t kMovedAtOnce = 1024;

  // `now_ns` is where its time starts: 0 or more.
  explicit TimerWheel(int64_t now_ns);

  // Disarms what is still armed.
  ~TimerWheel();

  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Arms `timer`, which may be armed in this wheel already, to fire in the first Advance() with
  // now_ns >= deadline_ns that starts after this call, or a few calls later (kMovedAtOnce). Any
  // deadline will do, a past one too.
  void Schedule(Timer& timer, int64_t deadline_ns);

  // Disarms `timer`; nothing happens if it is not armed.
  void Cancel(Timer& timer);

  // Fires what is due at `now_ns` and returns how many timers that were. Timers fire in the order
  // of their ticks, and those of one tick in the order in which they were scheduled, late ones (see
  // kMovedAtOnce) behind those. What callbacks
  // schedule fires in a later call, even if it is due already. A `now_ns` before that of an earlier
  // call fires nothing that is not due at `now_ns`.
  size_t Advance(int64_t now_ns) { return now_ns < next_ns_ ? 0 : FireDue(now_ns); }

  // A time before which nothing is due, so that a thread may sleep until then. It is never later
  // than the earliest deadline; it may be earlier, but a thread that calls Advance() at each such
  // time is there after ten at most. kNever when no timer is armed.
  int64_t NextDeadlineNs() const;

  // How many timers are armed.
  size_t size() const { return size_; }

 private:
  using Link = Timer::Link;

  static constexpr uint32_t kSlotBits = 6;
  static constexpr uint32_t kSlots = 1 << kSlotBits;
  static constexpr uint32_t kLevels = 9;
  // The timers about to fire, and those that move down, are lists to which no tick leads.
  static constexpr uint32_t kDueSlot = kLevels * kSlots;
  static constexpr uint32_t kMovingSlot = kDueSlot + 1;
  static constexpr uint32_t kLevelMask = (1 << kLevels) - 1;

  static_assert(kLevels * kSlotBits >= 63 - 10, "every int64_t has a slot");

  void Insert(Timer& timer);
  void Append(Timer& timer, uint32_t slot);
  void Unlink(Timer& timer);
  void BeginMoving(uint32_t slot);
  void MoveSome(uint32_t* budget);
  bool moving() const { return slots_[kMovingSlot].next != &slots_[kMovingSlot]; }
  bool FindFirst(uint32_t* slot, uint64_t* tick) const;
  void CollectDue(int64_t now_ns);
  bool CollectFromSlot(uint32_t slot, int64_t now_ns);
  size_t FireDue(int64_t now_ns);

  int64_t next_ns_ = kNever;  // A lower bound of all deadlines.
  uint64_t current_tick_;     // Never ahead of the latest Advance(); may lag behind it.
  size_t size_ = 0;
  uint32_t used_levels_ = 0;                           // Bit n: level n is not empty.
  std::array<uint64_t, kLevels + 1> used_slots_ = {};  // Bit s of word n: slot s of level n is not.
  int64_t moving_ns_ = 0;  // A lower bound of the deadlines of those that move.
  std::array<Link, kMovingSlot + 1> slots_;
};

inline Timer::~Timer() {
  if (armed()) wheel_->Cancel(*this);
}

}  // namespace weft

#endif  // WEFT_CORE_TIMER_WHEEL_H_
