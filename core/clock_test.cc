// SPDX-License-Identifier: Apache-2.0

#include "weft/core/clock.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(ManualClockTest, StandsStillUntilMoved) {
  ManualClock clock(5);
  EXPECT_EQ(clock.NowNs(), 5);
  clock.Advance(10);
  EXPECT_EQ(clock.NowNs(), 15);
  clock.Set(100);
  EXPECT_EQ(clock.NowNs(), 100);
}

TEST(ManualClockTest, NeverGoesBackwards) {
  ManualClock clock(100);
  clock.Set(99);
  EXPECT_EQ(clock.NowNs(), 100);
  clock.Advance(-1);
  EXPECT_EQ(clock.NowNs(), 100);
}

TEST(RealClockTest, IsOneClock) { EXPECT_EQ(&RealClock(), &RealClock()); }

// However long the thread is interrupted between two readings, a reading lies between those of
// CLOCK_MONOTONIC around it, give or take the clock's error. The allowance is far above that error
// because a hypervisor may stop the processor in the middle of a measurement.
TEST(CycleClockTest, StaysOnTheMonotonicTimeLine) {
  constexpr int64_t kAllowedNs = 1'000'000;
  const MonotonicClock monotonic;
  const CycleClock clock;
  const int64_t end_ns = monotonic.NowNs() + 200'000'000;  // Some twenty measurements.
  int64_t after_ns;
  do {
    const int64_t before_ns = monotonic.NowNs();
    const int64_t now_ns = clock.NowNs();
    after_ns = monotonic.NowNs();
    ASSERT_GE(now_ns, before_ns - kAllowedNs);
    ASSERT_LE(now_ns, after_ns + kAllowedNs);
  } while (after_ns < end_ns);
}

TEST(CycleClockTest, NeverGoesBackwardsOnAnyThread) {
  const CycleClock clock;
  std::vector<std::thread> threads;
  std::atomic<int> steps_back{0};
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      int64_t last_ns = clock.NowNs();
      const int64_t end_ns = last_ns + 150'000'000;
      while (last_ns < end_ns) {
        const int64_t now_ns = clock.NowNs();
        if (now_ns < last_ns) ++steps_back;
        last_ns = now_ns;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(steps_back, 0);
}

}  // namespace
}  // namespace weft
