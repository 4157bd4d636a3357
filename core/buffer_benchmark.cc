// SPDX-License-Identifier: Apache-2.0
#include "benchmark/benchmark.h"
#include "weft/core/buffer.h"

namespace weft {
namespace {

void BM_AllocateAndReturn(benchmark::State& state) {
  BufferPool pool({.count = 1024});
  for (auto _ : state) {
    Buffer buffer = pool.Allocate();
    benchmark::DoNotOptimize(buffer.Append(64));
  }
}
BENCHMARK(BM_AllocateAndReturn);

void BM_BurstOf32(benchmark::State& state) {
  BufferPool pool({.count = 1024});
  Buffer burst[32];
  for (auto _ : state) {
    for (Buffer& buffer : burst) {
      buffer = pool.Allocate();
      benchmark::DoNotOptimize(buffer.Append(64));
    }
    for (Buffer& buffer : burst) buffer.Reset();
  }
  state.SetItemsProcessed(state.iterations() * 32);
}
BENCHMARK(BM_BurstOf32);

// Sent and kept until it is acknowledged.
void BM_Share(benchmark::State& state) {
  BufferPool pool({.count = 1024});
  for (auto _ : state) {
    Buffer sent = pool.Allocate();
    benchmark::DoNotOptimize(sent.Append(64));
    Buffer kept = sent.Share();
    sent.Reset();
    benchmark::DoNotOptimize(kept.is_shared());
  }
}
BENCHMARK(BM_Share);

}  // namespace
}  // namespace weft
