// SPDX-License-Identifier: Apache-2.0
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"

namespace weft {
namespace {

class IdlePollable : public Pollable {
 public:
  size_t Poll() override { return 0; }
};

void BM_IdleRound(benchmark::State& state) {
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  std::vector<IdlePollable> pollables(state.range(0));
  for (IdlePollable& pollable : pollables) loop.Add(&pollable);
  for (auto _ : state) benchmark::DoNotOptimize(loop.RunOnce());
}
BENCHMARK(BM_IdleRound)->Arg(0)->Arg(1)->Arg(4);

void BM_PostToOneself(benchmark::State& state) {
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  int64_t ran = 0;
  for (auto _ : state) {
    loop.Post([&ran] { ++ran; });
    loop.RunOnce();
  }
  benchmark::DoNotOptimize(ran);
}
BENCHMARK(BM_PostToOneself);

// From the post until another thread has seen what the posted function did.
void BM_PostToAnotherThread(benchmark::State& state) {
  Loop loop({.mode = static_cast<LoopMode>(state.range(0))}, RealClock());
  std::thread runner([&] { loop.Run(); });
  std::atomic<int64_t> done{0};
  int64_t posted = 0;
  for (auto _ : state) {
    loop.Post([&done] { done.fetch_add(1, std::memory_order_release); });
    ++posted;
    while (done.load(std::memory_order_acquire) != posted) {
    }
  }
  loop.Stop();
  runner.join();
}
BENCHMARK(BM_PostToAnotherThread)
    ->Arg(static_cast<int>(LoopMode::kBusy))
    ->Arg(static_cast<int>(LoopMode::kAdaptive))
    ->Arg(static_cast<int>(LoopMode::kSleep))
    ->UseRealTime();

}  // namespace
}  // namespace weft
