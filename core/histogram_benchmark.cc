// SPDX-License-Identifier: Apache-2.0

#include <array>
#include <cstdint>
#include <random>

#include "benchmark/benchmark.h"
#include "weft/core/histogram.h"

namespace weft {
namespace {

// Values whose magnitudes nobody can predict, as latencies are.
void BM_Record(benchmark::State& state) {
  std::array<int64_t, 4096> values;
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency_ns(9, 1);
  for (int64_t& v : values) v = static_cast<int64_t>(latency_ns(random));
  Histogram histogram;
  size_t i = 0;
  for (auto _ : state) histogram.Record(values[i++ % values.size()]);
  benchmark::DoNotOptimize(histogram);
}
BENCHMARK(BM_Record);

void BM_SnapshotAndPercentile(benchmark::State& state) {
  Histogram histogram;
  for (int64_t v = 1; v < 1'000'000; v += 17) histogram.Record(v);
  for (auto _ : state) benchmark::DoNotOptimize(histogram.Snapshot().Percentile(99));
}
BENCHMARK(BM_SnapshotAndPercentile);

}  // namespace
}  // namespace weft
