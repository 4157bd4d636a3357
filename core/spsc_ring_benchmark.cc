// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/cpu.h"
#include "weft/core/spsc_ring.h"

namespace weft {
namespace {

struct Line {
  uint64_t words[8];
};

void BM_PushPop(benchmark::State& state) {
  SpscRing<Line> ring(256);
  Line line = {};
  for (auto _ : state) {
    ring.producer().TryPush(line);
    ring.consumer().TryPop(&line);
    benchmark::DoNotOptimize(line);
  }
}
BENCHMARK(BM_PushPop);

void BM_PushPopBurst(benchmark::State& state) {
  SpscRing<Line> ring(256);
  std::vector<Line> burst(state.range(0));
  for (auto _ : state) {
    ring.producer().Push(burst);
    benchmark::DoNotOptimize(ring.consumer().Pop(absl::MakeSpan(burst)));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_PushPopBurst)->Arg(32);

// `state.range(0)` lines travel to another core and back at a time.
void BM_RoundTrip(benchmark::State& state) {
  const std::vector<int> cores = AllowedCores();
  if (cores.size() < 2) {
    state.SkipWithError("needs two cores");
    return;
  }
  SpscRing<Line> there(256);
  SpscRing<Line> back(256);
  std::atomic<bool> stop{false};
  std::thread echo([&] {
    PinThisThread(cores[1]).IgnoreError();
    std::vector<Line> burst(32);
    while (!stop.load(std::memory_order_relaxed)) {
      const size_t n = there.consumer().Pop(absl::MakeSpan(burst));
      if (n > 0) back.producer().Push(absl::MakeConstSpan(burst).first(n));
    }
  });
  PinThisThread(cores[0]).IgnoreError();
  std::vector<Line> burst(state.range(0));
  for (auto _ : state) {
    there.producer().Push(burst);
    for (size_t got = 0; got < burst.size();) {
      got += back.consumer().Pop(absl::MakeSpan(burst).subspan(got));
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  stop = true;
  echo.join();
}
BENCHMARK(BM_RoundTrip)->Arg(1)->Arg(32)->UseRealTime();

}  // namespace
}  // namespace weft
