// SPDX-License-Identifier: Apache-2.0
//
// What a call costs its two sides together, processor time only: client and server take turns on
// one thread, over shared memory.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

// A client and a server that answers with what it is asked.
struct Pair {
  explicit Pair(Wire wire) {
    config::Transport config;
    config.set_name("shm");
    transport = OpenPlainTransport(config).value();
    const Address address = Address::Shm("call-benchmark");
    server = Server::Create(server_loop, *transport->OpenDatagramPort({.local = address}), {},
                            [](ServerCall call) { (void)call.Reply(std::move(call.request())); })
                 .value();
    client = Client::Create(client_loop, *transport->OpenDatagramPort({}), {.wire = wire}).value();
    peer = client->Resolve(address).value();
  }
  void RunOnce() {
    client_loop.RunOnce();
    server_loop.RunOnce();
  }

  std::unique_ptr<Transport> transport;
  Loop server_loop{{.mode = LoopMode::kBusy}, RealClock()};
  Loop client_loop{{.mode = LoopMode::kBusy}, RealClock()};
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> client;
  Peer peer;
};

void Report(benchmark::State& state, size_t replies) {
  state.SetItemsProcessed(static_cast<int64_t>(replies));
  state.counters["per_call"] = benchmark::Counter(
      static_cast<double>(replies), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// Arguments: wire, calls in flight.
void BM_Call(benchmark::State& state) {
  Pair pair(static_cast<Wire>(state.range(0)));
  const std::vector<uint8_t> request(64);
  const auto in_flight = static_cast<size_t>(state.range(1));
  size_t replies = 0;
  const auto call = [&] {
    while (pair.client->outstanding() < in_flight) {
      const auto begun = pair.client->Call(
          pair.peer, request, [&](absl::StatusOr<BufferChain> reply) { replies += reply.ok(); });
      if (!begun.ok()) break;
    }
    pair.RunOnce();
  };
  while (replies < 1000) call();
  replies = 0;
  for (auto _ : state) call();
  Report(state, replies);
}
BENCHMARK(BM_Call)
    ->ArgNames({"wire", "in_flight"})
    ->ArgsProduct({{static_cast<int64_t>(Wire::kOriginal), static_cast<int64_t>(Wire::kExtended)},
                   {1, 32}});

Task<void> CallForEver(Pair& pair, size_t& replies) {
  const std::vector<uint8_t> request(64);
  while (true) {
    const absl::StatusOr<BufferChain> reply =
        co_await pair.client->Call(pair.peer, Payload::External(request));
    replies += reply.ok();
  }
}

// One after the other, each begun by the coroutine that the reply before has resumed. Argument:
// wire.
void BM_AwaitedCall(benchmark::State& state) {
  Pair pair(static_cast<Wire>(state.range(0)));
  size_t replies = 0;
  {
    TaskGroup tasks;
    tasks.Spawn(CallForEver(pair, replies));
    while (replies < 1000) pair.RunOnce();
    replies = 0;
    for (auto _ : state) pair.RunOnce();
    Report(state, replies);
  }
}
BENCHMARK(BM_AwaitedCall)
    ->ArgName("wire")
    ->Arg(static_cast<int64_t>(Wire::kOriginal))
    ->Arg(static_cast<int64_t>(Wire::kExtended));

}  // namespace
}  // namespace weft::rpc
