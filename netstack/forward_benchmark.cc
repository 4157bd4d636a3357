// SPDX-License-Identifier: Apache-2.0
//
// What a datagram of 64 bytes costs a router in the stack: received alone, received and sent back,
// received and sent on under the address of its sender. The device is a ring in memory that hands
// out what was sent as if it came from the client again, and is measured alone, too.
//
//   bazel run --config=release //netstack:forward_benchmark
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>

#include "benchmark/benchmark.h"
#include "weft/core/bytes.h"
#include "weft/core/clock.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

constexpr size_t kBurst = 32;
constexpr size_t kPayloadBytes = 64;
constexpr size_t kFrames = 256;  // on their way, a power of two
constexpr MacAddress kOurMac = {2, 0, 0, 0, 0, 1};
constexpr MacAddress kTheirMac = {2, 0, 0, 0, 0, 2};

IpAddress At(bool v4, int host) {
  return v4 ? *IpAddress::Parse(host == 1   ? "10.0.0.1"
                                : host == 2 ? "10.0.0.2"
                                            : "10.0.0.3")
            : *IpAddress::Parse(host == 1   ? "fd00::1"
                                : host == 2 ? "fd00::2"
                                            : "fd00::3");
}

class RingPort final : public FramePort {
 public:
  explicit RingPort(bool v4, uint16_t received_flags)
      : FramePort({.frames = true, .max_frame_bytes = 1514}, BufferPoolOptions{}),
        v4_(v4),
        received_flags_(received_flags) {
    Buffer request = MakeRequest();
    header_bytes_ = request.size() - kPayloadBytes;
    std::memcpy(header_, request.data(), header_bytes_);
    while (end_ < kFrames) ring_[end_++] = MakeRequest();
  }

  Address local_address() const override { return {}; }
  MacAddress mac() const override { return kOurMac; }
  bool link_up() const override { return true; }
  std::string device_name() const override { return "ring"; }

  size_t Send(absl::Span<Buffer> burst) override {
    for (Buffer& frame : burst) {
      if (frame.size() == header_bytes_ + kPayloadBytes) {
        std::memcpy(frame.data(), header_, header_bytes_);
        ring_[end_++ % kFrames] = std::move(frame);
      }
      frame.Reset();
    }
    return burst.size();
  }
  size_t Receive(absl::Span<Buffer> burst) override {
    const size_t n = std::min(burst.size(), end_ - begin_);
    for (size_t i = 0; i < n; ++i) {
      burst[i] = std::move(ring_[begin_++ % kFrames]);
      burst[i].offload() = {.flags = received_flags_};
    }
    return n;
  }

 private:
  Buffer MakeRequest() {
    Buffer frame = pool().Allocate();
    std::memset(frame.Append(kPayloadBytes), 0x5a, kPayloadBytes);
    const size_t udp_bytes = kPayloadBytes + kUdpHeaderBytes;
    uint8_t* const udp = frame.Prepend(kUdpHeaderBytes);
    WriteUdp(udp, 9, 7000, udp_bytes, 0);
    const uint64_t sum = PseudoHeaderSum(At(v4_, 2), At(v4_, 1), 17, udp_bytes);
    StoreBig16(udp + kUdpChecksumOffset, FinishChecksum(AddToChecksum(sum, frame.bytes())));
    if (v4_) {
      Ipv4Fields{.total_bytes = kIpv4HeaderBytes + udp_bytes,
                 .source = At(v4_, 2),
                 .destination = At(v4_, 1)}
          .Write(frame.Prepend(kIpv4HeaderBytes));
    } else {
      Ipv6Fields{.payload_bytes = udp_bytes, .source = At(v4_, 2), .destination = At(v4_, 1)}.Write(
          frame.Prepend(kIpv6HeaderBytes));
    }
    WriteEthernet(frame.Prepend(kEthernetHeaderBytes), kOurMac, kTheirMac, 0,
                  v4_ ? EtherType::kIpv4 : EtherType::kIpv6);
    return frame;
  }

  const bool v4_;
  const uint16_t received_flags_;
  size_t header_bytes_ = 0;
  uint8_t header_[128];
  Buffer ring_[kFrames];
  size_t begin_ = 0;
  size_t end_ = 0;
};

std::unique_ptr<UdpPort> OpenRouter(bool v4, uint16_t received_flags, RingPort** device) {
  auto ring = std::make_unique<RingPort>(v4, received_flags);
  *device = ring.get();
  StackOptions options;
  options.addresses = {*IpPrefix::Parse(v4 ? "10.0.0.1/24" : "fd00::1/64")};
  for (const int host : {2, 3}) options.neighbors.push_back({At(v4, host), kTheirMac});
  auto stack =
      Stack::Open(options,
                  {.clock = &RealClock(),
                   .timers = nullptr,
                   .siblings = std::make_shared<Siblings>(1),
                   .queue = 0,
                   .owner = std::make_shared<std::atomic<const void*>>(internal::ThreadToken())},
                  std::move(ring));
  Capabilities offered;
  offered.max_payload_bytes = 1400;
  return UdpPort::Open(*std::move(stack), At(v4, 1).ToAddress(7000), false, offered).value();
}

// A turn is a burst of 32; time is of a datagram.
template <typename Turn>
void RunTurns(benchmark::State& state, Turn turn) {
  for (auto _ : state) {
    if (turn() != kBurst) return state.SkipWithError("datagrams are lost");
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kBurst));
  state.counters["datagram"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kBurst),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void BM_DeviceAlone(benchmark::State& state) {
  RingPort ring(true, 0);
  FramePort& port = ring;
  Buffer burst[kBurst];
  RunTurns(state, [&] {
    const size_t n = port.Receive(absl::MakeSpan(burst));
    return port.Send(absl::MakeSpan(burst, n));
  });
}
BENCHMARK(BM_DeviceAlone);

// Arguments: whether it is over IPv4; whether the device has verified the checksum.
uint16_t FlagsOf(const benchmark::State& state) {
  return state.range(1) == 0 ? 0 : FrameOffload::kIpChecksumGood | FrameOffload::kL4ChecksumGood;
}

void BM_ReceiveAndSendBack(benchmark::State& state) {
  RingPort* device;
  const auto opened = OpenRouter(state.range(0) != 0, FlagsOf(state), &device);
  DatagramPort& port = *opened;
  Datagram burst[kBurst];
  RunTurns(state, [&] {
    const size_t n = port.Receive(absl::MakeSpan(burst));
    return port.Send(absl::MakeSpan(burst, n));
  });
}
BENCHMARK(BM_ReceiveAndSendBack)->ArgsProduct({{1, 0}, {0, 1}});

void BM_ReceiveAndForward(benchmark::State& state) {
  const bool v4 = state.range(0) != 0;
  RingPort* device;
  const auto opened = OpenRouter(v4, FlagsOf(state), &device);
  DatagramPort& port = *opened;
  const Peer server = UdpPort::PeerOf(At(v4, 3), 8000);
  Datagram burst[kBurst];
  Peer sources[kBurst];
  RunTurns(state, [&] {
    const size_t n = port.Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) sources[i] = std::exchange(burst[i].peer, server);
    return port.Forward(absl::MakeSpan(burst, n), absl::MakeSpan(sources, n));
  });
}
BENCHMARK(BM_ReceiveAndForward)->ArgsProduct({{1, 0}, {0, 1}});

void BM_ReceiveOnly(benchmark::State& state) {
  RingPort* device;
  const auto opened = OpenRouter(state.range(0) != 0, FlagsOf(state), &device);
  DatagramPort& port = *opened;
  FramePort& ring = *device;
  Datagram burst[kBurst];
  Buffer frames[kBurst];
  RunTurns(state, [&] {
    const size_t n = port.Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) {
      frames[i] = std::move(burst[i].buffer);
      frames[i].Prepend(frames[i].offload().l3_bytes + kUdpHeaderBytes + kEthernetHeaderBytes);
    }
    return ring.Send(absl::MakeSpan(frames, n));
  });
}
BENCHMARK(BM_ReceiveOnly)->ArgsProduct({{1, 0}, {0, 1}});

}  // namespace
}  // namespace weft::netstack
