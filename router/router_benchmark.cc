// SPDX-License-Identifier: Apache-2.0
//
// What a request and its FEEDBACK cost in a router, over a port that costs next to nothing: it
// hands out bursts of 31 requests and a FEEDBACK for those of an earlier burst, and throws away
// what is sent. PortAlone is the part of it that is the port's.
//
//   bazel run --config=release //router:router_benchmark

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/router/burst_port.h"
#include "weft/router/router.h"

namespace weft::router {
namespace {

void RunRouter(benchmark::State& state, bool anycast, bool keep_source) {
  ManualClock clock(1);
  Loop loop({.mode = LoopMode::kBusy}, clock);
  RouterOptions options;
  options.listen = options.control = Address::Ipv4({10, 0, 0, 1}, 8000);
  options.slots = 64;
  for (size_t i = 0; i < kServers; ++i) options.servers.push_back({.address = ServerAddress(i)});
  auto owned = std::make_unique<BurstPort>(anycast, keep_source);
  BurstPort& port = *owned;
  auto router = *Router::Create(loop, std::move(owned), nullptr, options);
  for (auto _ : state) {
    clock.Advance(1000);
    port.Refill();
    loop.RunOnce();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kRequests));
  if (router->stats().drops != 0 || router->stats().feedback_unknown_request != 0) {
    state.SkipWithError("requests were refused, or FEEDBACK not understood");
  }
}

void BM_Original(benchmark::State& state) { RunRouter(state, false, true); }
BENCHMARK(BM_Original);
void BM_Anycast(benchmark::State& state) { RunRouter(state, true, true); }
BENCHMARK(BM_Anycast);
void BM_AnycastAddressInHeader(benchmark::State& state) { RunRouter(state, true, false); }
BENCHMARK(BM_AnycastAddressInHeader);

void BM_PortAlone(benchmark::State& state) {
  BurstPort port(false, true);
  std::vector<Datagram> burst(32);
  std::vector<Peer> sources(32);
  std::vector<Peer> servers;
  for (size_t i = 0; i < kServers; ++i) servers.push_back(BurstPort::PeerOf(ServerAddress(i)));
  for (auto _ : state) {
    port.Refill();
    const size_t n = port.Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < kRequests; ++i) {
      sources[i] = std::exchange(burst[i].peer, servers[i % kServers]);
    }
    if (n > kRequests) burst[kRequests].buffer.Reset();
    port.Forward(absl::MakeSpan(burst).first(kRequests), sources);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kRequests));
}
BENCHMARK(BM_PortAlone);

}  // namespace
}  // namespace weft::router
