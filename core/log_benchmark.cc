// SPDX-License-Identifier: Apache-2.0
//
// What a line of the log costs the thread that logs it.
#include "benchmark/benchmark.h"
#include "weft/core/log.h"

namespace weft {
namespace {

void BM_LevelIsOff(benchmark::State& state) {
  int n = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(n);
    WEFT_LOG(kDebug, "session lost", {"peer", "10.0.0.2:7000"}, {"n", n});
  }
}
BENCHMARK(BM_LevelIsOff);

// A burst that fits into the queue, and the time to write it between bursts.
void BM_Burst(benchmark::State& state) {
  const auto format = static_cast<LogFormat>(state.range(0));
  if (!ConfigureLog({.format = format, .file = "/dev/null"}).ok()) {
    state.SkipWithError("cannot write to /dev/null");
    return;
  }
  constexpr int kLines = 500;
  for (auto _ : state) {
    for (int i = 0; i < kLines; ++i) {
      WEFT_LOG(kInfo, "session lost", {"peer", "10.0.0.2:7000"}, {"age_ms", i});
    }
    state.PauseTiming();
    FlushLog();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kLines);
  (void)ConfigureLog({});
}
BENCHMARK(BM_Burst)->ArgName("json")->Arg(0)->Arg(1)->Iterations(50);

}  // namespace
}  // namespace weft
