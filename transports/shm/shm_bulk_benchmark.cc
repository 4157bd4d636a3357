// SPDX-License-Identifier: Apache-2.0
//
// Bandwidth of the port beside that of memcpy: 8 MiB from a spinning thread to another, one a core,
// as messages that are a header of 44 bytes and a slice of memory.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "weft/core/cpu.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

constexpr size_t kBytes = 8 << 20;
constexpr size_t kHeaderBytes = 44;
constexpr size_t kBurst = 32;
// What is sent or copied comes from a stretch that no cache holds.
constexpr size_t kStretch = 256 << 20;

void BM_Memcpy(benchmark::State& state) {
  const std::vector<uint8_t> from(kStretch, 'x');
  std::vector<uint8_t> to(kStretch);
  size_t at = 0;
  for (auto _ : state) {
    std::memcpy(to.data() + at, from.data() + at, kBytes);
    benchmark::ClobberMemory();
    at = (at + kBytes) % kStretch;
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBytes));
}
BENCHMARK(BM_Memcpy)->UseRealTime();

// Two ports of one process: what two processes do, without a fork.
struct Ports {
  Ports(size_t message_bytes, uint32_t ring_bytes) {
    char path[] = "/tmp/weft-shm-bench-XXXXXX";
    directory = mkdtemp(path);
    config::Transport config;
    config.set_name("shm");
    config.mutable_buffers()->set_bytes(static_cast<uint32_t>(message_bytes) + 128);
    config.mutable_shm()->set_directory(directory);
    config.mutable_shm()->set_max_message_bytes(static_cast<uint32_t>(message_bytes));
    config.mutable_shm()->set_ring_bytes(ring_bytes);
    transport = *OpenPlainTransport(config);
    server = *transport->OpenDatagramPort({.local = Address::Shm("server")});
    client = *transport->OpenDatagramPort({});
    to_server = *client->Resolve(Address::Shm("server"));
  }
  ~Ports() {
    server.reset();
    client.reset();
    std::remove((directory + "/.lock").c_str());
    std::remove(directory.c_str());
  }

  std::string directory;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<DatagramPort> server, client;
  Peer to_server;
};

// Bytes of a message, and of the ring.
void BM_Port(benchmark::State& state) {
  const std::vector<int> cores = AllowedCores();
  if (cores.size() < 2) {
    state.SkipWithError("needs two cores");
    return;
  }
  const auto message_bytes = static_cast<size_t>(state.range(0));
  Ports ports(message_bytes, static_cast<uint32_t>(state.range(1)));
  std::atomic<uint64_t> received{0};
  std::atomic<bool> stop{false};
  std::thread sink([&] {
    PinThisThread(cores[1]).IgnoreError();
    ports.server->BindToThisThread();
    Datagram burst[kBurst];
    uint64_t count = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      const size_t n = ports.server->Receive(absl::MakeSpan(burst));
      for (Datagram& d : absl::MakeSpan(burst, n)) d.buffer.Reset();
      if (n > 0) received.store(count += n, std::memory_order_release);
    }
  });
  PinThisThread(cores[0]).IgnoreError();
  const size_t slice = message_bytes - kHeaderBytes;
  const size_t messages = kBytes / message_bytes;
  const std::vector<uint8_t> memory(kStretch, 'x');
  size_t at = 0;
  uint64_t sent = 0;
  for (auto _ : state) {
    for (size_t done = 0; done < messages;) {
      Datagram burst[kBurst];
      const size_t n = std::min(kBurst, messages - done);
      if (at + n * slice > kStretch) at = 0;
      for (size_t i = 0; i < n; ++i) {
        burst[i] = {ports.to_server, ports.client->pool().Allocate(),
                    absl::MakeConstSpan(memory).subspan(at, slice)};
        at += slice;
        benchmark::DoNotOptimize(burst[i].buffer.Append(kHeaderBytes));
      }
      absl::Span<Datagram> rest = absl::MakeSpan(burst, n);
      while (!rest.empty()) rest.remove_prefix(ports.client->Send(rest));
      done += n;
      sent += n;
    }
    while (received.load(std::memory_order_acquire) < sent) {
    }
  }
  stop = true;
  sink.join();
  state.SetBytesProcessed(static_cast<int64_t>(sent * message_bytes));
}
BENCHMARK(BM_Port)
    ->ArgsProduct({{1472, 4096, 8192, 16384}, {262144, 1048576, 4194304}})
    ->UseRealTime();

}  // namespace
}  // namespace weft
