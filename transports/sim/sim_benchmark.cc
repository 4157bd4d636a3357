// SPDX-License-Identifier: Apache-2.0
//
// What simulation costs in real time.

#include <cstdint>
#include <cstring>
#include <memory>

#include "benchmark/benchmark.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::sim {
namespace {

void RunToEnd(Network* network) {
  while (network->NextEventNs() != INT64_MAX) network->AdvanceTo(network->NextEventNs());
}

// Datagrams of so many bytes from one port to another, in bursts of 32.
void BM_Datagrams(benchmark::State& state) {
  Network network(1, {.jitter_ns = 1000, .loss = 0.01});
  auto transport = OpenTransport(&network);
  auto server = transport->OpenDatagramPort({.local = Address::Sim("server")}).value();
  auto client = transport->OpenDatagramPort({.local = Address::Sim("client")}).value();
  const Peer peer = client->Resolve(Address::Sim("server")).value();
  const auto bytes = static_cast<size_t>(state.range(0));
  Datagram burst[32];
  for (auto _ : state) {
    for (Datagram& datagram : burst) {
      datagram = {peer, client->pool().Allocate()};
      std::memset(datagram.buffer.Append(bytes), 1, bytes);
    }
    client->Send(absl::MakeSpan(burst));
    RunToEnd(&network);
    server->Receive(absl::MakeSpan(burst));
  }
  state.SetItemsProcessed(state.iterations() * 32);
}
BENCHMARK(BM_Datagrams)->Arg(64)->Arg(1400);

// 64 KiB over a stream, read at once.
void BM_Stream(benchmark::State& state) {
  Network network(1);
  auto transport = OpenTransport(&network);
  auto server = transport->OpenStreamPort({.local = Address::Sim("server")}).value();
  auto client = transport->OpenStreamPort({.local = Address::Sim("client")}).value();
  benchmark::DoNotOptimize(server->Listen(Address::Sim("server"), 1).ok());
  const StreamId ours = client->Connect(Address::Sim("server")).value();
  RunToEnd(&network);
  StreamEvent events[8];
  client->Poll(absl::MakeSpan(events));
  server->Poll(absl::MakeSpan(events));
  const StreamId theirs = events[0].stream;
  for (auto _ : state) {
    for (size_t left = 64 * 1024; left > 0;) {
      const size_t n = client->Reserve(ours, left).size();
      client->Commit(ours, n);
      left -= n;
    }
    while (network.NextEventNs() != INT64_MAX) {
      network.AdvanceTo(network.NextEventNs());
      server->Consume(theirs, server->ReadView(theirs).size());
    }
  }
  state.SetBytesProcessed(state.iterations() * 64 * 1024);
}
BENCHMARK(BM_Stream);

}  // namespace
}  // namespace weft::sim
