// SPDX-License-Identifier: Apache-2.0
#include <coroutine>
#include <utility>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"

namespace weft {
namespace {

// Not inlined, as a real one would not be.
[[gnu::noinline]] Task<int> One() { co_return 1; }
[[gnu::noinline]] Task<int> Deep(int levels) {
  if (levels == 0) co_return 1;
  co_return co_await Deep(levels - 1);
}

Task<> CallOne(benchmark::State& state) {
  int64_t sum = 0;
  for (auto _ : state) sum += co_await One();
  benchmark::DoNotOptimize(sum);
}
void BM_AwaitFinishedTask(benchmark::State& state) {
  TaskGroup tasks;
  tasks.Spawn(CallOne(state));
}
BENCHMARK(BM_AwaitFinishedTask);

Task<> CallDeep(benchmark::State& state) {
  int64_t sum = 0;
  for (auto _ : state) sum += co_await Deep(10);
  benchmark::DoNotOptimize(sum);
}
void BM_AwaitTenNestedTasks(benchmark::State& state) {
  TaskGroup tasks;
  tasks.Spawn(CallDeep(state));
}
BENCHMARK(BM_AwaitTenNestedTasks);

struct Switch {
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) { *slot = handle; }
  void await_resume() const {}
  std::coroutine_handle<>* slot;
};

Task<> SuspendForever(std::coroutine_handle<>* slot) {
  for (;;) co_await Switch{slot};
}
void BM_SuspendAndResume(benchmark::State& state) {
  std::coroutine_handle<> slot;
  TaskGroup tasks;
  tasks.Spawn(SuspendForever(&slot));
  for (auto _ : state) slot.resume();
}
BENCHMARK(BM_SuspendAndResume);

Task<> EndAtOnce() { co_return; }
void BM_Spawn(benchmark::State& state) {
  TaskGroup tasks;
  for (auto _ : state) tasks.Spawn(EndAtOnce());
}
BENCHMARK(BM_Spawn);

Task<> SleepForever(Loop& loop) {
  for (;;) co_await loop.Sleep(absl::Microseconds(1));
}
void BM_SleepAndWake(benchmark::State& state) {
  ManualClock clock;
  Loop loop({}, clock);
  TaskGroup tasks;
  tasks.Spawn(SleepForever(loop));
  for (auto _ : state) {
    clock.Advance(2'000);
    loop.RunOnce();
  }
}
BENCHMARK(BM_SleepAndWake);

}  // namespace
}  // namespace weft
