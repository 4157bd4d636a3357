// SPDX-License-Identifier: Apache-2.0
//
// What a request costs the router apart from its ports: bursts of 32 requests, each with its
// FEEDBACK some bursts later.
//
//   bazel run --config=release //router:dispatcher_benchmark

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/dispatcher.h"

namespace weft::router {
namespace {

constexpr size_t kBurst = 32;

// Requests in flight are as many as there are slots, so that with `waiting` each has waited.
void RunBursts(benchmark::State& state, const char* policy, size_t servers, bool numbered,
               size_t waiting) {
  auto dispatcher = *Dispatcher::Create({.policy = policy, .servers_max = servers});
  for (size_t i = 0; i < servers; ++i) dispatcher->AddServer(i, 64, 1);
  struct Sent {
    uint64_t key;
    ServerIndex server;
  };
  std::vector<Sent> in_flight;  // a ring
  std::vector<uint64_t> tickets(4096);
  in_flight.reserve(servers * 64 + 2 * kBurst);
  std::vector<Arrival> burst(kBurst);
  std::vector<Decision> decisions(kBurst);
  std::vector<Ready> ready(kBurst);
  uint64_t next = 0;
  int64_t now_ns = 1;
  const auto arrive = [&] {
    for (Arrival& arrival : burst) {
      const uint64_t client = next % 1000;
      const uint64_t rid = numbered ? next / 1000 % 64 : next / 1000;
      arrival = {.key = r2p2::RequestKey(client, numbered ? 1 : 0, static_cast<uint16_t>(rid)),
                 .request_id = numbered ? (next / 64000 + 1) << 16 | rid : 0};
      ++next;
    }
    dispatcher->Arrive(burst, now_ns, absl::MakeSpan(decisions));
    for (size_t i = 0; i < kBurst; ++i) {
      if (decisions[i].fate == Fate::kForward) {
        in_flight.push_back({burst[i].key, decisions[i].server});
      } else {
        tickets[decisions[i].ticket] = burst[i].key;
      }
    }
  };
  while (dispatcher->queue_length() < waiting) arrive();
  if (waiting == 0) {
    for (int i = 0; i < 8; ++i) arrive();
  }
  size_t oldest = 0;
  for (auto _ : state) {
    now_ns += 1000;
    for (size_t i = 0; i < kBurst; ++i) {
      Sent& sent = in_flight[oldest];
      dispatcher->Done(sent.server, sent.key, now_ns);
      oldest = (oldest + 1) % in_flight.size();
    }
    size_t slot = (oldest + in_flight.size() - kBurst) % in_flight.size();
    const size_t n = dispatcher->TakeReady(now_ns, absl::MakeSpan(ready));
    for (size_t i = 0; i < n; ++i) {
      in_flight[slot] = {tickets[ready[i].ticket], ready[i].server};
      slot = (slot + 1) % in_flight.size();
    }
    const size_t end = in_flight.size();
    arrive();
    for (size_t i = end; i < in_flight.size(); ++i) {
      in_flight[slot] = in_flight[i];
      slot = (slot + 1) % end;
    }
    in_flight.resize(end);
    dispatcher->Expire(now_ns);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBurst));
}

void BM_Original(benchmark::State& state) {
  RunBursts(state, "jbsq", static_cast<size_t>(state.range(0)), false, 0);
}
BENCHMARK(BM_Original)->Arg(16)->Arg(1024);

void BM_Anycast(benchmark::State& state) {
  RunBursts(state, "jbsq", static_cast<size_t>(state.range(0)), true, 0);
}
BENCHMARK(BM_Anycast)->Arg(16)->Arg(1024);

void BM_AllWait(benchmark::State& state) {
  RunBursts(state, "jbsq", static_cast<size_t>(state.range(0)), false, 256);
}
BENCHMARK(BM_AllWait)->Arg(16);

void BM_Random(benchmark::State& state) {
  RunBursts(state, "random", static_cast<size_t>(state.range(0)), false, 0);
}
BENCHMARK(BM_Random)->Arg(16);

}  // namespace
}  // namespace weft::router
