// SPDX-License-Identifier: Apache-2.0
//
// What a request costs a server, without any network: in the original format, also behind a router,
// and in the extended one for few and for many sessions that take turns in random order.

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

// The original format behind a router: what FEEDBACK and the client's address in front of each
// request cost. Argument: routers that are told of each request.
void BM_EchoBehindRouter(benchmark::State& state) {
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto owned = std::make_unique<WorkloadPort>(0);
  WorkloadPort& port = *owned;
  port.PassRouter();
  ServerOptions options;
  for (int64_t i = 0; i < state.range(0); ++i) {
    options.router.control.push_back(
        Address::Ipv4({127, 0, 0, 1}, static_cast<uint16_t>(9000 + i)));
  }
  auto server = *Server::Create(loop, std::move(owned), options, [](ServerCall call) {
    (void)call.Reply(std::move(call.request()));
  });
  constexpr uint64_t kBatch = 4096;
  for (auto _ : state) {
    const uint64_t wanted = port.replies() + kBatch;
    port.Allow(kBatch);
    while (port.replies() < wanted) loop.RunOnce();
  }
  state.counters["ns"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kBatch / 1e9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["requests/datagram"] =
      static_cast<double>(server->stats().feedback_entries.value()) /
      static_cast<double>(server->stats().feedbacks.value());
}
BENCHMARK(BM_EchoBehindRouter)->Arg(1);

}  // namespace
}  // namespace weft::rpc
