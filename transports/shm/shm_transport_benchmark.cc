// SPDX-License-Identifier: Apache-2.0
//
// The port beside the raw ring it is measured against: 64 bytes there and back between two threads
// on a core each, and the cost of the code alone on one. Operations on remote memory beside the
// instructions that they come down to.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "weft/core/cpu.h"
#include "weft/core/spsc_ring.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

constexpr size_t kMessageBytes = 72;  // 64 and R2P2's header
constexpr size_t kBurst = 32;

struct Line {
  uint64_t words[8];
};

// Asked once: a thread that is pinned is allowed but one.
const std::vector<int>& Cores() {
  static const std::vector<int> cores = AllowedCores();
  return cores;
}

// Runs `echo` on another core until the object goes.
class EchoThread {
 public:
  template <typename Echo>
  explicit EchoThread(Echo echo)
      : thread_([this, echo]() mutable {
          PinThisThread(Cores()[1]).IgnoreError();
          ready_ = true;
          while (!stop_.load(std::memory_order_relaxed)) echo();
        }) {
    PinThisThread(Cores()[0]).IgnoreError();
    while (!ready_) {
    }
  }
  ~EchoThread() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<bool> ready_{false};
  std::thread thread_;
};

bool TwoCores(benchmark::State& state) {
  if (Cores().size() >= 2) return true;
  state.SkipWithError("needs two cores");
  return false;
}

void BM_RawRingRoundTrip(benchmark::State& state) {
  if (!TwoCores(state)) return;
  SpscRing<Line> there(256), back(256);
  EchoThread echo([&, burst = std::vector<Line>(kBurst)]() mutable {
    const size_t n = there.consumer().Pop(absl::MakeSpan(burst));
    if (n > 0) back.producer().Push(absl::MakeConstSpan(burst).first(n));
  });
  std::vector<Line> burst(state.range(0));
  for (auto _ : state) {
    there.producer().Push(burst);
    for (size_t got = 0; got < burst.size();) {
      got += back.consumer().Pop(absl::MakeSpan(burst).subspan(got));
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_RawRingRoundTrip)->Arg(1)->Arg(32)->UseRealTime();

// Two ports of one process: what two processes do, without a fork.
class Ports {
 public:
  Ports() {
    char path[] = "/tmp/weft-shm-bench-XXXXXX";
    directory_ = mkdtemp(path);
    config::Transport config;
    config.set_name("shm");
    config.mutable_shm()->set_directory(directory_);
    transport_ = *OpenPlainTransport(config);
    PortOptions options;
    options.local = Address::Shm("server");
    server = *transport_->OpenDatagramPort(options);
    client = *transport_->OpenDatagramPort({});
    to_server = *client->Resolve(options.local);
  }
  ~Ports() {
    server.reset();
    client.reset();
    std::remove((directory_ + "/.lock").c_str());
    std::remove(directory_.c_str());
  }

  void Fill(absl::Span<Datagram> burst) {
    for (Datagram& d : burst) {
      d = {to_server, client->pool().Allocate()};
      benchmark::DoNotOptimize(d.buffer.Append(kMessageBytes));
    }
  }

  Transport& transport() { return *transport_; }

  std::unique_ptr<DatagramPort> server, client;
  Peer to_server;

 private:
  std::string directory_;
  std::unique_ptr<Transport> transport_;
};

// Sends back what arrives, on another core.
EchoThread EchoServer(DatagramPort& server) {
  return EchoThread([&server, bound = false]() mutable {
    if (!std::exchange(bound, true)) server.BindToThisThread();
    Datagram burst[kBurst];
    const size_t n = server.Receive(absl::MakeSpan(burst));
    if (n > 0) server.Send(absl::MakeSpan(burst, n));
  });
}

void RoundTrip(Ports& ports, absl::Span<Datagram> burst) {
  ports.Fill(burst);
  ports.client->Send(burst);
  for (size_t got = 0; got < burst.size();) got += ports.client->Receive(burst.subspan(got));
}

void BM_PortRoundTrip(benchmark::State& state) {
  if (!TwoCores(state)) return;
  Ports ports;
  const EchoThread echo = EchoServer(*ports.server);
  std::vector<Datagram> burst(state.range(0));
  RoundTrip(ports, absl::MakeSpan(burst));  // the connection has been accepted
  for (auto _ : state) RoundTrip(ports, absl::MakeSpan(burst));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_PortRoundTrip)->Arg(1)->Arg(32)->UseRealTime();

// `range(0)` stay outstanding: each reply is followed by a request at once. An iteration is a poll.
void BM_PortStream(benchmark::State& state) {
  if (!TwoCores(state)) return;
  Ports ports;
  const EchoThread echo = EchoServer(*ports.server);
  std::vector<Datagram> burst(state.range(0));
  RoundTrip(ports, absl::MakeSpan(burst));
  ports.Fill(absl::MakeSpan(burst));
  ports.client->Send(absl::MakeSpan(burst));
  int64_t items = 0;
  for (auto _ : state) {
    const size_t n = ports.client->Receive(absl::MakeSpan(burst));
    if (n > 0) ports.client->Send(absl::MakeSpan(burst).first(n));
    items += static_cast<int64_t>(n);
  }
  state.SetItemsProcessed(items);
}
BENCHMARK(BM_PortStream)->Arg(32)->UseRealTime();

// The instructions of a message there, without any traffic between cores.
void BM_SendReceive(benchmark::State& state) {
  Ports ports;
  std::vector<Datagram> burst(state.range(0));
  for (auto _ : state) {
    ports.Fill(absl::MakeSpan(burst));
    ports.client->Send(absl::MakeSpan(burst));
    ports.server->Receive(absl::MakeSpan(burst));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_SendReceive)->Arg(1)->Arg(32);

void BM_EmptyReceive(benchmark::State& state) {
  Ports ports;
  Datagram burst[kBurst];
  for (auto _ : state) {
    benchmark::DoNotOptimize(ports.server->Receive(absl::MakeSpan(burst)));
  }
}
BENCHMARK(BM_EmptyReceive);

// An operation of each kind, posted and its end polled, or a burst of them; a read or write of
// `range(1)` bytes.
void BM_Memory(benchmark::State& state, MemoryOperation::Kind kind) {
  Ports ports;
  const auto owner = *ports.transport().OpenRemoteMemory({.local = Address::Shm("owner")});
  const auto user = *ports.transport().OpenRemoteMemory({});
  const MemoryRegion region = *owner->Allocate(1 << 20);
  const MemoryRegion local = *user->Allocate(1 << 20);
  MemoryOperation operation = {.kind = kind,
                               .peer = *user->Resolve(owner->local_address()),
                               .key = {},
                               .local = local.bytes.first(static_cast<size_t>(state.range(1)))};
  MemoryCompletion done[kBurst];
  owner->Poll(absl::MakeSpan(done));
  operation.key = *owner->Grant(*owner->Resolve(user->local_address()), region, 0, 1 << 20,
                                MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic);
  for (int i = 0; i < 1000; ++i) user->Poll(absl::MakeSpan(done));  // the welcome has been read
  const std::vector<MemoryOperation> burst(static_cast<size_t>(state.range(0)), operation);
  for (auto _ : state) {
    user->Post(burst);
    if (user->Poll(absl::MakeSpan(done)) != burst.size() || done[0].code != absl::StatusCode::kOk) {
      state.SkipWithError("the operation failed");
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK_CAPTURE(BM_Memory, read, MemoryOperation::Kind::kRead)
    ->ArgsProduct({{1, 16}, {8, 64, 4096, 1 << 20}});
BENCHMARK_CAPTURE(BM_Memory, write, MemoryOperation::Kind::kWrite)
    ->ArgsProduct({{1, 16}, {8, 64, 4096, 1 << 20}});
BENCHMARK_CAPTURE(BM_Memory, fetch_add, MemoryOperation::Kind::kFetchAdd)
    ->ArgsProduct({{1, 16}, {8}});
BENCHMARK_CAPTURE(BM_Memory, compare_swap, MemoryOperation::Kind::kCompareSwap)
    ->ArgsProduct({{1, 16}, {8}});

void BM_RawCopy(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  std::vector<uint8_t> from(bytes, 1), to(bytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), bytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_RawCopy)->Arg(8)->Arg(64)->Arg(4096)->Arg(1 << 20);

void BM_RawFetchAdd(benchmark::State& state) {
  std::atomic<uint64_t> word{0};
  for (auto _ : state) benchmark::DoNotOptimize(word.fetch_add(1));
}
BENCHMARK(BM_RawFetchAdd);

}  // namespace
}  // namespace weft
