// SPDX-License-Identifier: Apache-2.0
//
// Clocks: where nanoseconds come from.
//
// Protocol code never reads a system clock. It is handed the time as an argument, or reads the
// Clock of its loop, so that a test or a simulation decides what time it is. All times are
// int64_t nanoseconds on a time line whose zero means nothing; a clock never goes backwards.
//
//   const weft::Clock& clock = weft::RealClock();
//   const int64_t deadline_ns = clock.NowNs() + 10'000'000;
//
//   weft::ManualClock manual;  // in a test
//   manual.Advance(1'000);

#ifndef WEFT_CORE_CLOCK_H_
#define WEFT_CORE_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <mutex>

namespace weft {

// A source of time.
class Clock {
 public:
  virtual ~Clock() = default;

  // Nanoseconds; no smaller than what any earlier call on the same thread returned.
  virtual int64_t NowNs() const = 0;
};

// CLOCK_MONOTONIC. Any number of threads.
class MonotonicClock final : public Clock {
 public:
  int64_t NowNs() const override;
};

// CLOCK_MONOTONIC's time line, read from the processor's cycle counter at about half the price.
//
// The counter's rate is measured when the clock is made (which takes 2 ms) and measured again by
// whichever thread first reads the clock more than 10 ms after the last time. That thread also
// starts a new straight line from the system clock's present value; a line that would start below
// the end of the last one starts at that end and runs slower until it has met the system clock.
// So readings stay within a few hundred nanoseconds of CLOCK_MONOTONIC, even while NTP bends it,
// and readings of different threads are consistent with each other.
//
// Where neither the processor promises that its counter runs at one rate (invariant TSC) nor Linux
// tells the time by it, every reading is one of CLOCK_MONOTONIC. Any number of threads. While one
// measures, time stands still for the others, whose readings wait for it only if the clock was not
// read for 20 ms.
class CycleClock final : public Clock {
 public:
  CycleClock();
  CycleClock(const CycleClock&) = delete;
  CycleClock& operator=(const CycleClock&) = delete;

  int64_t NowNs() const override;

  // Whether readings come from the cycle counter rather than from the system clock.
  bool uses_cycle_counter() const { return uses_cycle_counter_; }

 private:
  // The same instant on both counters.
  struct Sample {
    uint64_t ticks;
    int64_t system_ns;
  };

  // Time as a function of ticks, valid for `span` ticks from `ticks` on.
  struct Line {
    uint64_t ticks;
    uint64_t span;
    int64_t ns;
    uint64_t scale;  // Nanoseconds a tick, times 2^32.

    int64_t At(uint64_t now_ticks) const;
  };

  static Sample TakeSample();
  Line LoadLine() const;
  void StoreLine(const Line& line) const;
  int64_t Remeasure() const;
  void StartLine(const Sample& now, int64_t floor_ns) const;

  bool uses_cycle_counter_;

  // The line in use, under a sequence lock: odd while it is being written.
  alignas(64) mutable std::atomic<uint64_t> sequence_{0};
  mutable std::atomic<uint64_t> line_ticks_{0};
  mutable std::atomic<uint64_t> line_span_{0};
  mutable std::atomic<int64_t> line_ns_{0};
  mutable std::atomic<uint64_t> line_scale_{0};

  alignas(64) mutable std::mutex mutex_;
  mutable Sample last_sample_{};  // Guarded by mutex_.
};

// A clock that a test or a simulation moves by hand. One thread.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t now_ns = 0) : now_ns_(now_ns) {}

  int64_t NowNs() const override { return now_ns_; }

  // Moves to `now_ns`, or stays where it is when that lies in the past.
  void Set(int64_t now_ns) {
    if (now_ns > now_ns_) now_ns_ = now_ns;
  }

  // Moves forward by `delta_ns`; a negative one does nothing.
  void Advance(int64_t delta_ns) { Set(now_ns_ + delta_ns); }

 private:
  int64_t now_ns_;
};

// The process's clock for real time: a CycleClock that is made on first use and lives for ever.
const Clock& RealClock();

}  // namespace weft

#endif  // WEFT_CORE_CLOCK_H_
