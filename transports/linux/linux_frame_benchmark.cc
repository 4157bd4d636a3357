// SPDX-License-Identifier: Apache-2.0
//
// What frame ports add to, and take from, plain calls of the kernel, on a veth pair in a namespace
// of the program's own. Ping-pong: two spinning threads, one a CPU, 64-byte frames.
//
//   bazel run -c opt //transports/linux:linux_frame_benchmark
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cstring>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/linux/frame_test_util.h"
#include "weft/transports/linux/interface.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kFrameBytes = 64;
constexpr int kBurst = 32;

void PinToCpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

// Calls `serve` again and again on another CPU.
class Server {
 public:
  template <typename MakeServe>
  explicit Server(MakeServe make)
      : thread_([this, make] {
          PinToCpu(1);
          auto serve = make();
          ready_.store(true);
          while (!stop_.load(std::memory_order_relaxed)) serve();
        }) {
    PinToCpu(0);
    while (!ready_.load()) std::this_thread::yield();
  }
  ~Server() {
    stop_.store(true);
    thread_.join();
  }

 private:
  std::atomic<bool> ready_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Plain send() and recv() on a packet socket.
class Raw {
 public:
  explicit Raw(const char* interface, int version = TPACKET_V1)
      : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    if (version != TPACKET_V1) MapSendRing(version);
    sockaddr_ll name = {};
    name.sll_family = AF_PACKET;
    name.sll_protocol = htons(version == TPACKET_V1 ? ETH_P_ALL : 0);
    name.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    const int one = 1;
    setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
    setsockopt(fd_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
    if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) != 0) std::abort();
    std::memset(bytes_, 0xff, 12);  // broadcast
    StoreBig16(bytes_ + 12, 0x88b5);
  }
  bool Receive() { return recv(fd_.get(), bytes_, sizeof(bytes_), 0) > 0; }
  void Send() { (void)send(fd_.get(), bytes_, kFrameBytes, 0); }
  void operator()() {
    if (Receive()) Send();
  }
  void SendMany() {
    mmsghdr headers[kBurst] = {};
    iovec piece = {bytes_, kFrameBytes};
    for (mmsghdr& header : headers) {
      header.msg_hdr.msg_iov = &piece;
      header.msg_hdr.msg_iovlen = 1;
    }
    (void)sendmmsg(fd_.get(), headers, kBurst, 0);
  }
  void SendByRing() {
    for (int i = 0; i < kBurst; ++i) {
      uint8_t* const slot = ring_ + slot_ * 2048;
      slot_ = (slot_ + 1) % 512;
      auto* const header = reinterpret_cast<tpacket2_hdr*>(slot);
      std::memcpy(slot + TPACKET2_HDRLEN - sizeof(sockaddr_ll), bytes_, kFrameBytes);
      header->tp_len = kFrameBytes;
      std::atomic_ref<uint32_t>(header->tp_status).store(TP_STATUS_SEND_REQUEST);
    }
    (void)send(fd_.get(), nullptr, 0, 0);
  }

 private:
  void MapSendRing(int version) {
    tpacket_req request = {
        .tp_block_size = 65536, .tp_block_nr = 16, .tp_frame_size = 2048, .tp_frame_nr = 512};
    if (setsockopt(fd_.get(), SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) != 0 ||
        setsockopt(fd_.get(), SOL_PACKET, PACKET_TX_RING, &request, sizeof(request)) != 0) {
      std::abort();
    }
    ring_ = static_cast<uint8_t*>(
        mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
  }

  UniqueFd fd_;
  uint8_t* ring_ = nullptr;
  size_t slot_ = 0;
  uint8_t bytes_[2048] = {};
};

class PortEnd {
 public:
  explicit PortEnd(const char* interface)
      : transport_(OpenLinux(absl::StrCat("linux { packet { interface: '", interface, "' } }"))),
        port_(OpenFrames(*transport_)) {}
  size_t Receive() { return port_->Receive(absl::MakeSpan(burst_)); }
  void Send(size_t n) { port_->Send(absl::MakeSpan(burst_).first(n)); }
  void operator()() {
    if (const size_t n = Receive(); n > 0) Send(n);
  }
  void Fill(size_t n) {
    const MacAddress all = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    for (size_t i = 0; i < n; ++i) {
      burst_[i] = FrameOf(*port_, all, 0x88b5, std::string(kFrameBytes - 14, 'x'));
    }
  }

 private:
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<FramePort> port_;
  std::vector<Buffer> burst_ = std::vector<Buffer>(kBurst);
};

void BM_PingPongRaw(benchmark::State& state) {
  Server server([] { return Raw("far0"); });
  Raw client("near0");
  for (auto _ : state) {
    client.Send();
    while (!client.Receive()) continue;
  }
}
BENCHMARK(BM_PingPongRaw)->UseRealTime();

void BM_PingPongPort(benchmark::State& state) {
  Server server([] { return PortEnd("far0"); });
  PortEnd client("near0");
  client.Fill(1);
  for (auto _ : state) {
    client.Send(1);
    while (client.Receive() == 0) continue;
  }
}
BENCHMARK(BM_PingPongPort)->UseRealTime();

void BM_EmptyPollRaw(benchmark::State& state) {
  Raw end("near0");
  for (auto _ : state) benchmark::DoNotOptimize(end.Receive());
}
BENCHMARK(BM_EmptyPollRaw);

void BM_EmptyPollPort(benchmark::State& state) {
  PortEnd end("near0");
  for (auto _ : state) benchmark::DoNotOptimize(end.Receive());
}
BENCHMARK(BM_EmptyPollPort);

// Frames that nobody receives: what a send costs.
void BM_SendRaw(benchmark::State& state) {
  Raw end("near0");
  for (auto _ : state) end.Send();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SendRaw);

void BM_SendRawSendmmsg(benchmark::State& state) {
  Raw end("near0");
  for (auto _ : state) end.SendMany();
  state.SetItemsProcessed(state.iterations() * kBurst);
}
BENCHMARK(BM_SendRawSendmmsg);

void BM_SendRawRing(benchmark::State& state) {
  Raw end("near0", TPACKET_V2);
  for (auto _ : state) end.SendByRing();
  state.SetItemsProcessed(state.iterations() * kBurst);
}
BENCHMARK(BM_SendRawRing);

void BM_SendPort(benchmark::State& state) {
  PortEnd end("near0");
  for (auto _ : state) {
    end.Fill(kBurst);
    end.Send(kBurst);
  }
  state.SetItemsProcessed(state.iterations() * kBurst);
}
BENCHMARK(BM_SendPort);

}  // namespace
}  // namespace weft::linux_transport

int main(int argc, char** argv) {
  using weft::testnet::Namespace;
  benchmark::Initialize(&argc, argv);
  const absl::StatusOr<Namespace> place = Namespace::Make();
  absl::Status status = place.status();
  if (status.ok()) status = weft::testnet::MakeVeth(*place, "near0", *place, "far0");
  if (!status.ok()) {
    std::cerr << status << std::endl;
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
}
