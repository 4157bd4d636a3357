// SPDX-License-Identifier: Apache-2.0
//
// What a request costs a server, without any network: in the original format, and in the extended
// one for few and for many sessions that take turns in random order.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/server.h"
#include "weft/rpc/server_workload.h"

namespace weft::rpc {
namespace {

// The argument: sessions; 0: the original format.
void BM_Echo(benchmark::State& state) {
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto owned = std::make_unique<WorkloadPort>(static_cast<size_t>(state.range(0)));
  WorkloadPort& port = *owned;
  auto server = *Server::Create(
      loop, std::move(owned), {.session = {.timeout = absl::Hours(1), .sessions_max = 1 << 20}},
      [](ServerCall call) { (void)call.Reply(std::move(call.request())); });
  const auto run = [&](uint64_t requests) {
    const uint64_t wanted = port.replies() + requests;
    port.Allow(requests);
    while (port.replies() < wanted) loop.RunOnce();
  };
  run(static_cast<uint64_t>(2 * state.range(0) + 10000));  // all sessions have replied
  constexpr uint64_t kBatch = 4096;
  for (auto _ : state) run(kBatch);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBatch));
  state.counters["ns"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kBatch / 1e9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Echo)->Arg(0)->Arg(1)->Arg(20)->Arg(1000)->Arg(20000)->Arg(100000);

}  // namespace
}  // namespace weft::rpc
