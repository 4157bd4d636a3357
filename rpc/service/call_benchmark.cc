// SPDX-License-Identifier: Apache-2.0
//
// What a typed call costs beside one of raw bytes, and what it costs to count and to trace it, both
// sides together, processor time only: client and server take turns on one thread. The raw call is
// made by a coroutine too, with an answer of the same length.
#include <array>
#include <memory>
#include <string>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

constexpr size_t kBytes = 64;
constexpr const char* kTransports[] = {"shm", "linux"};

// One side of each kind, and calls one after the other in as many coroutines as are asked for.
class Bench {
 public:
  explicit Bench(const std::string& name) {
    config::Transport config;
    config.set_name(name);
    transport_ = OpenPlainTransport(config).value();
    const Address listen =
        name == "shm" ? Address::Shm("service-benchmark") : Address::Ipv4({127, 0, 0, 1}, 0);
    server_port_ = transport_->OpenDatagramPort({.local = listen}).value();
    address_ = server_port_->local_address();
    client_ = Client::Create(client_loop_, transport_->OpenDatagramPort({}).value(),
                             {.wire = Wire::kExtended})
                  .value();
    peer_ = client_->Resolve(address_).value();
  }

  void Run(benchmark::State& state) {
    while (replies_ < 2000) Turn();
    replies_ = 0;
    for (auto _ : state) Turn();
    state.SetItemsProcessed(static_cast<int64_t>(replies_));
    state.counters["per_call"] = benchmark::Counter(
        static_cast<double>(replies_), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    tasks_.Cancel();
  }

  std::unique_ptr<DatagramPort> TakeServerPort() { return std::move(server_port_); }
  Loop& server_loop() { return server_loop_; }
  Client& client() { return *client_; }
  const Peer& peer() const { return peer_; }
  TaskGroup& tasks() { return tasks_; }
  uint64_t& replies() { return replies_; }

 private:
  void Turn() {
    client_loop_.RunOnce();
    server_loop_.RunOnce();
  }

  std::unique_ptr<Transport> transport_;
  Loop server_loop_{{.mode = LoopMode::kBusy}, RealClock()};
  Loop client_loop_{{.mode = LoopMode::kBusy}, RealClock()};
  std::unique_ptr<DatagramPort> server_port_;
  Address address_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  TaskGroup tasks_;
  uint64_t replies_ = 0;
};

Task<void> CallRaw(Client& client, Peer peer, uint64_t* replies) {
  const std::array<uint8_t, kBytes> request = {};
  while (true) *replies += (co_await client.Call(peer, request)).ok();
}

void BM_Raw(benchmark::State& state) {
  Bench bench(kTransports[state.range(0)]);
  const auto server =
      Server::Create(bench.server_loop(), bench.TakeServerPort(), {}, [](ServerCall call) {
        (void)call.Reply(std::move(call.request()));
      }).value();
  for (int64_t i = 0; i < state.range(1); ++i) {
    bench.tasks().Spawn(CallRaw(bench.client(), bench.peer(), &bench.replies()));
  }
  bench.Run(state);
}

Task<void> CallTyped(testing::EchoClient& stub, uint64_t* replies) {
  testing::EchoRequest request;
  request.set_text(std::string(kBytes - 4, 'x'));
  request.set_times(1);
  testing::EchoResponse response;
  while (true) *replies += (co_await stub.Echo(request, &response)).ok();
}

// A call of the stub, `observers` having been told of it at both ends.
void RunTyped(benchmark::State& state, const CallObservers& observers) {
  Bench bench(kTransports[state.range(0)]);
  testing::EchoServer service;
  const auto server = ServiceServer::Create(bench.server_loop(), bench.TakeServerPort(), {},
                                            {.observers = observers}, {&service})
                          .value();
  Channel channel(bench.client(), bench.peer(), {.observers = observers});
  testing::EchoClient stub(channel);
  for (int64_t i = 0; i < state.range(1); ++i) {
    bench.tasks().Spawn(CallTyped(stub, &bench.replies()));
  }
  bench.Run(state);
}

void BM_Typed(benchmark::State& state) { RunTyped(state, {}); }

void BM_Counted(benchmark::State& state) {
  MethodTable methods;
  RunTyped(state, {.methods = &methods});
}

// Counted, and traced with the configuration's default ratio.
void BM_Observed(benchmark::State& state) {
  MethodTable methods;
  Tracer tracer(SpanWriter::Start({.file = "/dev/null"}).value(), RealClock(), {});
  RunTyped(state, {.methods = &methods, .tracer = &tracer});
}

BENCHMARK(BM_Raw)->ArgNames({"transport", "in_flight"})->ArgsProduct({{0, 1}, {1, 32}});
BENCHMARK(BM_Typed)->ArgNames({"transport", "in_flight"})->ArgsProduct({{0, 1}, {1, 32}});
BENCHMARK(BM_Counted)->ArgNames({"transport", "in_flight"})->ArgsProduct({{0, 1}, {1, 32}});
BENCHMARK(BM_Observed)->ArgNames({"transport", "in_flight"})->ArgsProduct({{0, 1}, {1, 32}});

}  // namespace
}  // namespace weft::rpc
