// SPDX-License-Identifier: Apache-2.0
//
// What the port adds to, and takes from, plain calls of the kernel. Two spinning threads, one a
// CPU; the argument is the number of 64-byte messages that are on their way at once.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
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

// Plain send() and recv() over TCP.
class RawConnection {
 public:
  explicit RawConnection(UniqueFd fd) : fd_(std::move(fd)) {
    SetOption(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
    fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
  }
  bool Receive() { return recv(fd_.get(), bytes_, sizeof(bytes_), 0) > 0; }
  void Send() { send(fd_.get(), bytes_, kMessageBytes, 0); }
  Address address() const { return Address(); }
  void operator()() {
    if (Receive()) Send();
  }

 private:
  UniqueFd fd_;
  char bytes_[2048] = {};
};

void BM_StreamEchoRaw(benchmark::State& state) {
  const UniqueFd listener = ValueOrDie(OpenBoundSocket(SOCK_STREAM, At("127.0.0.1:0"), false));
  listen(listener.get(), 1);
  const SocketAddress to = ValueOrDie(BoundAddress(listener));
  UniqueFd ours(socket(AF_INET, SOCK_STREAM, 0));
  connect(ours.get(), &to.any, to.length);
  const int theirs = accept(listener.get(), nullptr, nullptr);
  EchoThread server([theirs] { return RawConnection(UniqueFd(theirs)); });
  RawConnection client(std::move(ours));
  for (auto _ : state) {
    client.Send();
    while (!client.Receive()) {
    }
  }
}
BENCHMARK(BM_StreamEchoRaw)->UseRealTime();

class StreamPortEcho {
 public:
  StreamPortEcho() : transport_(OpenLinux()), port_(ValueOrDie(transport_->OpenStreamPort({}))) {
    ValueOrDie(port_->Listen(At("127.0.0.1:0"), 1));
  }
  Address address() const { return port_->local_address(); }
  void operator()() {
    StreamEvent event;
    if (port_->Poll({&event, 1}) == 0 || event.kind != StreamEvent::Kind::kReadable) return;
    const absl::Span<const uint8_t> in = port_->ReadView(event.stream);
    const absl::Span<uint8_t> out = port_->Reserve(event.stream, in.size());
    std::copy_n(in.begin(), out.size(), out.begin());
    port_->Commit(event.stream, out.size());
    port_->Consume(event.stream, out.size());
  }

 private:
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<StreamPort> port_;
};

void BM_StreamEchoPort(benchmark::State& state) {
  EchoThread server([] { return StreamPortEcho(); });
  const auto transport = OpenLinux();
  const auto port = ValueOrDie(transport->OpenStreamPort({}));
  const StreamId stream = ValueOrDie(port->Connect(server.address()));
  StreamEvent event = {};
  while (event.kind != StreamEvent::Kind::kConnected) port->Poll({&event, 1});
  for (auto _ : state) {
    port->Commit(stream, port->Reserve(stream, kMessageBytes).size());
    while (port->Poll({&event, 1}) == 0 || event.kind != StreamEvent::Kind::kReadable) {
    }
    port->Consume(stream, port->ReadView(stream).size());
  }
}
BENCHMARK(BM_StreamEchoPort)->UseRealTime();

}  // namespace
}  // namespace weft::linux_transport
