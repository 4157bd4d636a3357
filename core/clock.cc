// SPDX-License-Identifier: Apache-2.0

#include "weft/core/clock.h"

#include <time.h>

#include <algorithm>
#include <fstream>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace weft {
namespace {

constexpr int64_t kCalibrationNs = 2'000'000;

// Short enough that NTP, which bends CLOCK_MONOTONIC by at most 500 ppm, moves it by less than 5 µs
// meanwhile, and long enough that the samples' own error of some 20 ns is a rate error of 2 ppm.
constexpr int64_t kLineNs = 10'000'000;

int64_t SystemNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

#if defined(__x86_64__)

// Whether the counter runs at one rate in all power states (AMD APM vol. 3 and Intel SDM vol. 2,
// CPUID function 0x80000007, EDX bit 8).
bool HasInvariantCounter() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1u << 8)) != 0;
}

// Virtual machines seldom promise that. Linux, which compares the counter with other clocks as long
// as it is in use, tells the time by it where it keeps to it.
bool LinuxUsesCounter() {
  std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  std::string name;
  return file >> name && name == "tsc";
}

bool HasSteadyCounter() { return HasInvariantCounter() || LinuxUsesCounter(); }

inline uint64_t Ticks() { return __rdtsc(); }

#else

bool HasSteadyCounter() { return false; }
inline uint64_t Ticks() { return 0; }

#endif

}  // namespace

int64_t MonotonicClock::NowNs() const { return SystemNs(); }

CycleClock::CycleClock() : uses_cycle_counter_(HasSteadyCounter()) {
  if (!uses_cycle_counter_) return;
  std::lock_guard<std::mutex> lock(mutex_);
  last_sample_ = TakeSample();
  while (SystemNs() - last_sample_.system_ns < kCalibrationNs) {
  }
  const Sample now = TakeSample();
  StartLine(now, now.system_ns);
}

int64_t CycleClock::NowNs() const {
  // The line is read before the counter, so that the counter is not behind the line's start.
  const Line line = LoadLine();
  const uint64_t ticks = Ticks();
  // One compare also catches a counter that went backwards and, its span being 0, a clock that has
  // no line at all.
  if (ticks - line.ticks >= line.span) [[unlikely]] {
    return Remeasure();
  }
  return line.At(ticks);
}

inline int64_t CycleClock::Line::At(uint64_t now_ticks) const {
  return ns + static_cast<int64_t>(((now_ticks - ticks) * scale) >> 32);
}

inline CycleClock::Line CycleClock::LoadLine() const {
  while (true) {
    // Each load acquires, so that the second look at the sequence comes after all of them.
    const uint64_t sequence = sequence_.load(std::memory_order_acquire);
    const Line line = {.ticks = line_ticks_.load(std::memory_order_acquire),
                       .span = line_span_.load(std::memory_order_acquire),
                       .ns = line_ns_.load(std::memory_order_acquire),
                       .scale = line_scale_.load(std::memory_order_acquire)};
    if ((sequence & 1) == 0 && sequence_.load(std::memory_order_relaxed) == sequence) [[likely]] {
      return line;
    }
  }
}

// Under mutex_.
void CycleClock::StoreLine(const Line& line) const {
  const uint64_t sequence = sequence_.load(std::memory_order_relaxed);
  sequence_.store(sequence + 1, std::memory_order_relaxed);
  // Each store releases, so that none is seen before the sequence became odd.
  line_ticks_.store(line.ticks, std::memory_order_release);
  line_span_.store(line.span, std::memory_order_release);
  line_ns_.store(line.ns, std::memory_order_release);
  line_scale_.store(line.scale, std::memory_order_release);
  sequence_.store(sequence + 2, std::memory_order_release);
}

// Reads both counters as close together as luck allows: the tightest of three attempts.
CycleClock::Sample CycleClock::TakeSample() {
  Sample best{};
  uint64_t best_width = UINT64_MAX;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const uint64_t before = Ticks();
    const int64_t system_ns = SystemNs();
    const uint64_t width = Ticks() - before;
    if (width < best_width) {
      best_width = width;
      best = {.ticks = before + width / 2, .system_ns = system_ns};
    }
  }
  return best;
}

// Called with a reading outside the line. No thread has used the old line beyond its span, so the
// new one may start anywhere at or above its end.
int64_t CycleClock::Remeasure() const {
  if (!uses_cycle_counter_) return SystemNs();
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  Line line = LoadLine();
  uint64_t ticks = Ticks();
  if (!lock.owns_lock()) {
    // Another thread is here, and its line will not start below the end of this one: good enough,
    // unless nobody has read the clock for long.
    if (ticks - line.ticks < 2 * line.span) {
      return line.At(std::min(ticks, line.ticks + line.span));
    }
    lock.lock();
    line = LoadLine();
    ticks = Ticks();
  }
  // Another thread may have been here first.
  if (ticks - line.ticks < line.span) return line.At(ticks);
  const Sample now = TakeSample();
  StartLine(now, line.At(line.ticks + line.span));
  return LoadLine().ns;
}

// Under mutex_. Starts a line at `now`, nowhere below `floor_ns`.
void CycleClock::StartLine(const Sample& now, int64_t floor_ns) const {
  double scale = static_cast<double>(line_scale_.load(std::memory_order_relaxed));
  const int64_t system_ns = now.system_ns - last_sample_.system_ns;
  if (now.ticks > last_sample_.ticks && system_ns > 0) {
    scale = static_cast<double>(system_ns) / static_cast<double>(now.ticks - last_sample_.ticks) *
            4294967296.0;
  }
  last_sample_ = now;

  const int64_t start_ns = std::max(now.system_ns, floor_ns);
  const double ahead = static_cast<double>(start_ns - now.system_ns) / kLineNs;
  StoreLine({.ticks = now.ticks,
             .span = static_cast<uint64_t>(kLineNs * 4294967296.0 / scale),
             .ns = start_ns,
             .scale = static_cast<uint64_t>(scale * (1 - std::min(ahead, 0.5)))});
}

const Clock& RealClock() {
  static const CycleClock* const clock = new CycleClock;
  return *clock;
}

}  // namespace weft
