// SPDX-License-Identifier: Apache-2.0
//
// What the port adds to, and takes from, plain calls of the kernel. Two spinning threads, one a
// CPU; the argument is the number of 64-byte messages that are on their way at once.
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/transports/linux/linux_test_util.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kMessageBytes = 64;

void PinToCpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

// Runs `echo` again and again on another CPU.
class EchoThread {
 public:
  template <typename F>
  explicit EchoThread(F make_echo)
      : thread_([this, make_echo] {
          PinToCpu(1);
          auto echo = make_echo();
          address_ = echo.address();
          ready_.store(true, std::memory_order_release);
          ready_.notify_one();
          while (!stop_.load(std::memory_order_relaxed)) echo();
        }) {
    PinToCpu(0);
    ready_.wait(false, std::memory_order_acquire);
  }
  ~EchoThread() {
    stop_ = true;
    thread_.join();
  }
  const Address& address() const { return address_; }

 private:
  Address address_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Plain sendto() and recvfrom().
class RawSocket {
 public:
  RawSocket() : fd_(ValueOrDie(OpenBoundSocket(SOCK_DGRAM, At("127.0.0.1:0"), false))) {}
  Address address() const { return ToAddress(ValueOrDie(BoundAddress(fd_))); }
  bool Receive() {
    from_.length = sizeof(sockaddr_in6);
    return recvfrom(fd_.get(), bytes_, sizeof(bytes_), 0, &from_.any, &from_.length) > 0;
  }
  void Send(const SocketAddress& to) {
    sendto(fd_.get(), bytes_, kMessageBytes, 0, &to.any, to.length);
  }
  void operator()() {
    if (Receive()) Send(from_);
  }

 private:
  UniqueFd fd_;
  SocketAddress from_;
  char bytes_[2048] = {};
};

class PortEcho {
 public:
  PortEcho() : transport_(OpenLinux()), port_(OpenAt(*transport_, "127.0.0.1:0")) {}
  Address address() const { return port_->local_address(); }
  void operator()() {
    const size_t n = port_->Receive(absl::MakeSpan(burst_));
    if (n > 0) port_->Send(absl::MakeSpan(burst_).first(n));
  }

 private:
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<DatagramPort> port_;
  std::vector<Datagram> burst_ = std::vector<Datagram>(64);
};

void BM_EmptyPollRaw(benchmark::State& state) {
  RawSocket socket;
  for (auto _ : state) benchmark::DoNotOptimize(socket.Receive());
}
BENCHMARK(BM_EmptyPollRaw);

void BM_EmptyPollPort(benchmark::State& state) {
  const auto transport = OpenLinux();
  const auto port = OpenAt(*transport, "127.0.0.1:0");
  std::vector<Datagram> burst(64);
  for (auto _ : state) benchmark::DoNotOptimize(port->Receive(absl::MakeSpan(burst)));
}
BENCHMARK(BM_EmptyPollPort);

void BM_EchoRaw(benchmark::State& state) {
  EchoThread server([] { return RawSocket(); });
  RawSocket client;
  const SocketAddress to = ToSocketAddress(server.address());
  for (int i = 0; i < state.range(0); ++i) client.Send(to);
  for (auto _ : state) {
    while (!client.Receive()) {
    }
    client.Send(to);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_EchoRaw)->Arg(1)->Arg(32)->UseRealTime();

void BM_EchoPort(benchmark::State& state) {
  EchoThread server([] { return PortEcho(); });
  const auto transport = OpenLinux();
  const auto port = ValueOrDie(transport->OpenDatagramPort({}));
  const Peer to = ValueOrDie(port->Resolve(server.address()));
  SendAll(*port, to, std::vector<std::string>(state.range(0), std::string(kMessageBytes, 'x')));
  std::vector<Datagram> burst(64);
  size_t n = 0;
  for (auto _ : state) {
    if (n == 0) {
      while ((n = port->Receive(absl::MakeSpan(burst))) == 0) {
      }
      port->Send(absl::MakeSpan(burst).first(n));
    }
    --n;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_EchoPort)->Arg(1)->Arg(32)->UseRealTime();

}  // namespace
}  // namespace weft::linux_transport
