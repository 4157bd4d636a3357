// SPDX-License-Identifier: Apache-2.0
//
// What a call costs its two sides together, processor time only: client and server take turns on
// one thread, over shared memory.
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

// Arguments: wire, calls in flight.
void BM_Call(benchmark::State& state) {
  config::Transport config;
  config.set_name("shm");
  const auto transport = OpenPlainTransport(config).value();
  Loop server_loop({.mode = LoopMode::kBusy}, RealClock());
  Loop client_loop({.mode = LoopMode::kBusy}, RealClock());
  const Address address = Address::Shm("call-benchmark");
  const auto server =
      Server::Create(server_loop, *transport->OpenDatagramPort({.local = address}), {},
                     [](ServerCall call) { (void)call.Reply(std::move(call.request())); })
          .value();
  const auto client = Client::Create(client_loop, *transport->OpenDatagramPort({}),
                                     {.wire = static_cast<Wire>(state.range(0))})
                          .value();
  const Peer peer = client->Resolve(address).value();
  const std::vector<uint8_t> request(64);
  const auto in_flight = static_cast<size_t>(state.range(1));
  size_t replies = 0;
  const auto call = [&] {
    while (client->outstanding() < in_flight) {
      const auto begun = client->Call(
          peer, request, [&](absl::StatusOr<BufferChain> reply) { replies += reply.ok(); });
      if (!begun.ok()) break;
    }
    client_loop.RunOnce();
    server_loop.RunOnce();
  };
  while (replies < 1000) call();
  replies = 0;
  for (auto _ : state) call();
  state.SetItemsProcessed(static_cast<int64_t>(replies));
  state.counters["per_call"] = benchmark::Counter(
      static_cast<double>(replies), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Call)
    ->ArgNames({"wire", "in_flight"})
    ->ArgsProduct({{static_cast<int64_t>(Wire::kOriginal), static_cast<int64_t>(Wire::kExtended)},
                   {1, 32}});

}  // namespace
}  // namespace weft::rpc
