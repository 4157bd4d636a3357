// SPDX-License-Identifier: Apache-2.0
#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/thread_pool.h"

namespace weft {
namespace {

Task<> HandOver(ThreadPool& pool, Loop& loop, benchmark::State& state) {
  for (auto _ : state) {
    const absl::StatusOr<int> one = co_await pool.Run(loop, [] { return 1; });
    benchmark::DoNotOptimize(one);
  }
  loop.Stop();
}

// There and back: to a thread that sleeps, and to a loop of the given mode.
void BM_HandOver(benchmark::State& state) {
  ThreadPool pool({.threads = 1});
  Loop loop({.mode = static_cast<LoopMode>(state.range(0))}, RealClock());
  TaskGroup tasks;
  tasks.Spawn(HandOver(pool, loop, state));
  loop.Run();
}
BENCHMARK(BM_HandOver)
    ->ArgName("mode")
    ->Arg(static_cast<int>(LoopMode::kBusy))
    ->Arg(static_cast<int>(LoopMode::kAdaptive))
    ->Arg(static_cast<int>(LoopMode::kSleep))
    ->UseRealTime();

Task<> HandOverForever(ThreadPool& pool, Loop& loop, int64_t& returned) {
  while ((co_await pool.Run(loop, [] {})).ok()) ++returned;
}

// What one costs when threads and loop always have work: 64 coroutines.
void BM_HandOverOfMany(benchmark::State& state) {
  ThreadPool pool({.threads = static_cast<size_t>(state.range(0))});
  Loop loop({.mode = LoopMode::kAdaptive}, RealClock());
  TaskGroup tasks;
  int64_t returned = 0;
  for (int i = 0; i < 64; ++i) tasks.Spawn(HandOverForever(pool, loop, returned));
  int64_t wanted = returned;
  for (auto _ : state) {
    for (++wanted; returned < wanted;) loop.RunOnce();
  }
}
BENCHMARK(BM_HandOverOfMany)->ArgName("threads")->Arg(1)->Arg(4)->UseRealTime();

// The part that is the caller's: no thread takes part.
void BM_RunInline(benchmark::State& state) {
  ThreadPool pool({.threads = 0});
  Loop loop({}, RealClock());
  TaskGroup tasks;
  tasks.Spawn(HandOver(pool, loop, state));
}
BENCHMARK(BM_RunInline);

}  // namespace
}  // namespace weft
