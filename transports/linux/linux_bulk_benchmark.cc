// SPDX-License-Identifier: Apache-2.0
//
// Bandwidth of the port beside the kernel's own: 8 MiB as packets of 1472 bytes over loopback, from
// a spinning thread to another, one a CPU. The port's packets are a header of 44 bytes and a slice
// of memory; the raw ones are cut and joined by the kernel (UDP_SEGMENT, UDP_GRO), 64 KB a call.
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/transports/linux/linux_test_util.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kPacketBytes = 1472;
constexpr size_t kHeaderBytes = 44;
constexpr size_t kPackets = (8 << 20) / kPacketBytes;
constexpr size_t kRawPackets = 44;     // of a call
constexpr size_t kWindow = 256 << 10;  // what may be on its way: less than a socket holds

void PinToCpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

// Counts the bytes that `receive()` returns, on another CPU.
class Sink {
 public:
  template <typename Receive>
  explicit Sink(Receive receive)
      : thread_([this, receive = std::move(receive)]() mutable {
          PinToCpu(1);
          uint64_t received = 0;
          while (!stop_.load(std::memory_order_relaxed)) {
            const size_t n = receive();
            if (n > 0) received_.store(received += n, std::memory_order_release);
          }
        }) {
    PinToCpu(0);
  }
  ~Sink() {
    stop_ = true;
    thread_.join();
  }
  // Until no more than `bytes` of `sent` are still to be received.
  void WaitFor(uint64_t sent, uint64_t bytes) const {
    while (received_.load(std::memory_order_acquire) + bytes < sent) {
    }
  }

 private:
  std::atomic<uint64_t> received_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

void BM_RawSegmented(benchmark::State& state) {
  const UniqueFd in = ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false));
  const UniqueFd out = ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false));
  if (!SetOption(in, IPPROTO_UDP, UDP_GRO, 1) ||
      !SetOption(out, IPPROTO_UDP, UDP_SEGMENT, kPacketBytes)) {
    state.SkipWithError("the kernel has neither UDP_SEGMENT nor UDP_GRO");
    return;
  }
  SetOption(in, SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20);
  SetOption(out, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20);
  const SocketAddress to = ValueOrDie(BoundAddress(in));
  connect(out.get(), &to.any, to.length);
  Sink sink([&in, bytes = std::vector<char>(65536)]() mutable {
    const ssize_t n = recv(in.get(), bytes.data(), bytes.size(), 0);
    return n > 0 ? static_cast<size_t>(n) : 0;
  });
  const std::vector<char> memory(kPackets * kPacketBytes, 'x');
  uint64_t sent = 0;
  for (auto _ : state) {
    for (size_t done = 0; done < memory.size();) {
      const size_t n = std::min(kRawPackets * kPacketBytes, memory.size() - done);
      sink.WaitFor(sent + n, kWindow);
      if (send(out.get(), memory.data() + done, n, 0) < 0) continue;
      done += n;
      sent += n;
    }
    sink.WaitFor(sent, 0);
  }
  state.SetBytesProcessed(static_cast<int64_t>(sent));
}
BENCHMARK(BM_RawSegmented)->UseRealTime();

// The argument is the number of packets a burst.
void BM_Port(benchmark::State& state) {
  const auto transport = OpenLinux();
  const auto in = OpenAt(*transport, "127.0.0.1:0");
  const auto out = ValueOrDie(transport->OpenDatagramPort({}));
  const Peer to = ValueOrDie(out->Resolve(in->local_address()));
  Sink sink([&in, bound = false, burst = std::vector<Datagram>(64)]() mutable {
    if (!bound) in->BindToThisThread();
    bound = true;
    size_t bytes = 0;
    const size_t n = in->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) {
      bytes += burst[i].buffer.size();
      burst[i].buffer.Reset();
    }
    return bytes;
  });
  constexpr size_t kSlice = kPacketBytes - kHeaderBytes;
  const std::vector<uint8_t> memory(kPackets * kSlice, 'x');
  std::vector<Datagram> burst(static_cast<size_t>(state.range(0)));
  uint64_t sent = 0;
  for (auto _ : state) {
    for (size_t done = 0; done < memory.size();) {
      const size_t n = std::min(burst.size(), (memory.size() - done) / kSlice);
      for (size_t i = 0; i < n; ++i) {
        burst[i] = {to, out->pool().Allocate(), absl::MakeConstSpan(memory).subspan(done, kSlice)};
        benchmark::DoNotOptimize(burst[i].buffer.Append(kHeaderBytes));
        done += kSlice;
      }
      sent += n * kPacketBytes;
      sink.WaitFor(sent, kWindow);
      absl::Span<Datagram> rest = absl::MakeSpan(burst).first(n);
      while (!rest.empty()) rest.remove_prefix(out->Send(rest));
    }
    sink.WaitFor(sent, 0);
  }
  state.SetBytesProcessed(static_cast<int64_t>(sent));
}
BENCHMARK(BM_Port)->Arg(16)->Arg(44)->Arg(64)->UseRealTime();

// What both sides cost together, one after the other on one CPU: a figure that other load on the
// machine hardly moves.
void BM_RawOneThread(benchmark::State& state) {
  const UniqueFd in = ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false));
  const UniqueFd out = ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false));
  if (!SetOption(in, IPPROTO_UDP, UDP_GRO, 1) ||
      !SetOption(out, IPPROTO_UDP, UDP_SEGMENT, kPacketBytes)) {
    state.SkipWithError("the kernel has neither UDP_SEGMENT nor UDP_GRO");
    return;
  }
  const SocketAddress to = ValueOrDie(BoundAddress(in));
  connect(out.get(), &to.any, to.length);
  const std::vector<char> memory(kPackets * kPacketBytes, 'x');
  std::vector<char> bytes(65536);
  const size_t n = kRawPackets * kPacketBytes;
  size_t at = 0;
  for (auto _ : state) {
    if (at + n > memory.size()) at = 0;
    benchmark::DoNotOptimize(send(out.get(), memory.data() + at, n, 0));
    benchmark::DoNotOptimize(recv(in.get(), bytes.data(), bytes.size(), 0));
    at += n;
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(n));
}
BENCHMARK(BM_RawOneThread);

// The same system calls with as many pieces as the port gives them: what nobody who gathers and
// scatters can be faster than.
void BM_RawPiecesOneThread(benchmark::State& state) {
  const UniqueFd in = ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false));
  const UniqueFd out = ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false));
  if (!SetOption(in, IPPROTO_UDP, UDP_GRO, 1) ||
      !SetOption(out, IPPROTO_UDP, UDP_SEGMENT, kPacketBytes)) {
    state.SkipWithError("the kernel has neither UDP_SEGMENT nor UDP_GRO");
    return;
  }
  const SocketAddress to = ValueOrDie(BoundAddress(in));
  connect(out.get(), &to.any, to.length);
  constexpr size_t kSlice = kPacketBytes - kHeaderBytes;
  constexpr size_t kStride = 2112;  // of a pool's buffers
  std::vector<char> memory(kPackets * kSlice, 'x');
  std::vector<char> headers(kRawPackets * kStride), buffers(kRawPackets * kStride);
  iovec sent[2 * kRawPackets], received[kRawPackets];
  for (size_t i = 0; i < kRawPackets; ++i) received[i] = {&buffers[i * kStride], kPacketBytes};
  size_t at = 0;
  for (auto _ : state) {
    if (at + kRawPackets * kSlice > memory.size()) at = 0;
    for (size_t i = 0; i < kRawPackets; ++i, at += kSlice) {
      sent[2 * i] = {&headers[i * kStride], kHeaderBytes};
      sent[2 * i + 1] = {&memory[at], kSlice};
    }
    msghdr header = {};
    header.msg_iov = sent;
    header.msg_iovlen = std::size(sent);
    benchmark::DoNotOptimize(sendmsg(out.get(), &header, 0));
    header.msg_iov = received;
    header.msg_iovlen = std::size(received);
    benchmark::DoNotOptimize(recvmsg(in.get(), &header, 0));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kRawPackets * kPacketBytes));
}
BENCHMARK(BM_RawPiecesOneThread);

void BM_PortOneThread(benchmark::State& state) {
  const auto transport = OpenLinux();
  const auto in = OpenAt(*transport, "127.0.0.1:0");
  const auto out = ValueOrDie(transport->OpenDatagramPort({}));
  const Peer to = ValueOrDie(out->Resolve(in->local_address()));
  constexpr size_t kSlice = kPacketBytes - kHeaderBytes;
  const std::vector<uint8_t> memory(kPackets * kSlice, 'x');
  std::vector<Datagram> burst(kRawPackets), got(64);
  size_t at = 0;
  // A receiver that has found its socket full joins messages from then on.
  for (int i = 0; i < 100; ++i) {
    SendAll(*out, to, std::vector<std::string>(64, std::string(64, 'x')));
    ReceiveAll(*in, 64, 64);
  }
  for (auto _ : state) {
    if (at + kRawPackets * kSlice > memory.size()) at = 0;
    for (Datagram& d : burst) {
      d = {to, out->pool().Allocate(), absl::MakeConstSpan(memory).subspan(at, kSlice)};
      benchmark::DoNotOptimize(d.buffer.Append(kHeaderBytes));
      at += kSlice;
    }
    out->Send(absl::MakeSpan(burst));
    for (size_t n = 0; n < burst.size();) n += in->Receive(absl::MakeSpan(got));
    for (Datagram& d : got) d.buffer.Reset();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kRawPackets * kPacketBytes));
  state.counters["copied"] =
      static_cast<double>(in->stats().copied_buffers) / static_cast<double>(in->stats().received);
}
BENCHMARK(BM_PortOneThread);

}  // namespace
}  // namespace weft::linux_transport
