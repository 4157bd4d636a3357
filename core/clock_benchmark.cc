// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"

namespace weft {
namespace {

void BM_RealClock(benchmark::State& state) {
  const Clock& clock = RealClock();
  for (auto _ : state) benchmark::DoNotOptimize(clock.NowNs());
}
BENCHMARK(BM_RealClock);

void BM_MonotonicClock(benchmark::State& state) {
  const MonotonicClock clock;
  for (auto _ : state) benchmark::DoNotOptimize(clock.NowNs());
}
BENCHMARK(BM_MonotonicClock);

// How far the cycle clock was from the system clock, beyond the time that reading the two took.
void BM_CycleClockError(benchmark::State& state) {
  const MonotonicClock monotonic;
  const CycleClock clock;
  int64_t worst_ns = 0;
  double sum_ns = 0;
  for (auto _ : state) {
    const int64_t before_ns = monotonic.NowNs();
    const int64_t now_ns = clock.NowNs();
    const int64_t after_ns = monotonic.NowNs();
    const int64_t error_ns = std::max<int64_t>({before_ns - now_ns, now_ns - after_ns, 0});
    worst_ns = std::max(worst_ns, error_ns);
    sum_ns += static_cast<double>(error_ns);
  }
  state.counters["mean_ns"] = sum_ns / static_cast<double>(state.iterations());
  state.counters["worst_ns"] = static_cast<double>(worst_ns);
}
BENCHMARK(BM_CycleClockError);

}  // namespace
}  // namespace weft
