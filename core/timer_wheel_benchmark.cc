// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <deque>

#include "benchmark/benchmark.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"

namespace weft {
namespace {

void Ignore(void*, int64_t) {}

void BM_ScheduleAndCancel(benchmark::State& state) {
  TimerWheel wheel(0);
  Timer timer(&Ignore, nullptr);
  for (auto _ : state) {
    wheel.Schedule(timer, state.range(0));
    wheel.Cancel(timer);
  }
}
BENCHMARK(BM_ScheduleAndCancel)->Arg(10'000)->Arg(10'000'000);

void BM_AdvanceWithNothingDue(benchmark::State& state) {
  TimerWheel wheel(0);
  Timer timer(&Ignore, nullptr);
  wheel.Schedule(timer, INT64_MAX);
  int64_t now_ns = 0;
  for (auto _ : state) benchmark::DoNotOptimize(wheel.Advance(now_ns += 100));
}
BENCHMARK(BM_AdvanceWithNothingDue);

// What an RPC client does: a timeout a request, cancelled when the reply comes, among many others,
// while time goes on.
void BM_RequestTimeouts(benchmark::State& state) {
  TimerWheel wheel(0);
  std::deque<Timer> timers;
  for (int i = 0; i < 1024; ++i) timers.emplace_back(&Ignore, nullptr);
  Prng prng(1);
  int64_t now_ns = 0;
  size_t i = 0;
  for (auto _ : state) {
    now_ns += 300;
    Timer& timer = timers[i++ % timers.size()];
    wheel.Cancel(timer);
    wheel.Schedule(timer, now_ns + 10'000'000);
    benchmark::DoNotOptimize(wheel.Advance(now_ns));
  }
}
BENCHMARK(BM_RequestTimeouts);

// Timers that do fire, at random times up to 1 ms ahead.
void BM_ScheduleAndFire(benchmark::State& state) {
  TimerWheel wheel(0);
  std::deque<Timer> timers;
  for (int i = 0; i < 1024; ++i) timers.emplace_back(&Ignore, nullptr);
  Prng prng(1);
  int64_t now_ns = 0;
  size_t fired = 0;
  for (auto _ : state) {
    for (Timer& timer : timers) {
      wheel.Schedule(timer, now_ns + static_cast<int64_t>(prng.Below(1'000'000)));
    }
    const int64_t end_ns = now_ns + 1'000'000;
    while (now_ns < end_ns) fired += wheel.Advance(now_ns += 500);
  }
  state.SetItemsProcessed(static_cast<int64_t>(fired));
}
BENCHMARK(BM_ScheduleAndFire);

}  // namespace
}  // namespace weft
