// SPDX-License-Identifier: Apache-2.0
//
// Any frames, into a stack with ports, a TCP, neighbours, groups and pings under way: it must not
// crash, hold a bounded number of buffers, count each frame once, and give all buffers back in the
// end.
//
// Input: steps of two bytes and so many bytes of a frame. The first byte says what is done: bit 0,
// whether MAC addresses, type and IP checksums are put right, so that more gets through; bit 1,
// whether a port sends something; bit 2, whether time passes, and bits 3 to 7, how much. The second
// is the frame's length, times eight.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weft/core/clock.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/tcp.h"

namespace {

using namespace weft;
using namespace weft::netstack;

constexpr size_t kBuffers = 128;
constexpr MacAddress kMac = {2, 0, 0, 0, 0, 1};

void Check(bool holds) {
  if (!holds) std::abort();
}

// A device whose wire is the fuzzer's input. What is sent is looked at and gone.
class InputPort final : public FramePort {
 public:
  InputPort()
      : FramePort({.frames = true, .max_frame_bytes = 1514}, BufferPoolOptions{.count = kBuffers}) {
  }
  Address local_address() const override { return Address::Sim("fuzz"); }
  MacAddress mac() const override { return kMac; }
  bool link_up() const override { return true; }
  size_t Send(absl::Span<Buffer> burst) override {
    for (Buffer& frame : burst) {
      Check(frame && frame.size() >= 14 && frame.size() <= 1514);
      Check(std::memcmp(frame.data() + 6, kMac.data(), 6) == 0);
      frame.Reset();
    }
    return burst.size();
  }
  size_t Receive(absl::Span<Buffer> burst) override {
    if (frame.empty() || burst.empty()) return 0;
    burst[0] = pool_.Allocate();
    if (!burst[0]) return 0;
    std::memcpy(burst[0].Append(frame.size()), frame.data(), frame.size());
    frame.clear();
    return 1;
  }

  std::vector<uint8_t> frame;
};

class Pings final : public EchoObserver {
 public:
  void OnEchoReply(const IpAddress&, uint16_t, uint16_t, uint8_t, size_t) override {}
  void OnEchoError(const IpAddress&, uint16_t, uint16_t, int) override {}
};

// Takes what is for even ports, and answers the rest by what it got, addresses exchanged.
class Segments final : public SegmentHandler {
 public:
  explicit Segments(Stack* stack) : stack_(stack) { stack->SetSegmentHandler(this); }

  void OnSegments(absl::Span<ReceivedSegment> burst) override {
    Check(!burst.empty());
    for (ReceivedSegment& segment : burst) {
      TcpView tcp;
      Check(TcpView::Parse(segment.buffer.bytes(), &tcp));
      Check(segment.source.is_v4() == segment.destination.is_v4());
      Check(!segment.source.is_multicast() && !segment.destination.is_multicast());
      if (tcp.destination_port() % 2 == 0) segment.buffer.Reset();
    }
  }
  void OnStraySegments(absl::Span<ReceivedSegment> burst) override {
    for (ReceivedSegment& segment : burst) {
      if (segment.source == segment.destination) continue;  // it would never end
      Buffer copy = CopyOf(stack_->device().pool(), segment.buffer);
      if (!copy) return;
      OutgoingSegment answer[] = {{.buffer = std::move(copy),
                                   .source = segment.destination,
                                   .destination = segment.source,
                                   .ecn = segment.ecn,
                                   .ttl = segment.ttl}};
      if (segment.ttl % 2 == 0) {
        answer[0].buffer.offload() = {
            .flags = FrameOffload::kSegment,
            .l4_bytes = static_cast<uint8_t>(answer[0].buffer.data()[12] / 16 * 4),
            .segment_bytes = segment.ttl};
      }
      stack_->SendSegments(absl::MakeSpan(answer));
    }
  }
  bool OnIcmpError(const IcmpErrorReport& report) override { return report.tcp_sequence % 2 == 0; }
  void OnPathMtu(const IpAddress&, size_t mtu) override { Check(mtu >= 552 && mtu < 1500); }

 private:
  Stack* const stack_;
};

StackOptions Options() {
  config::Netstack config;
  config.add_addresses("10.0.0.1/24");
  config.add_addresses("fd00::1/64");
  config.add_groups("239.1.2.3");
  config.add_groups("ff05::123");
  config::Route* const route = config.add_routes();
  route->set_destination("0.0.0.0/0");
  route->set_gateway("10.0.0.254");
  config.set_datagram_bytes_max(4000);
  config.mutable_neighbor_cache()->set_entries_max(8);
  config.mutable_reassembly()->set_packets_max(4);
  config.mutable_icmp()->set_paths_max(4);
  return *StackOptions::From(config);
}

void FillTcpChecksum(const IpAddress& source, const IpAddress& destination, uint8_t* tcp,
                     size_t length) {
  StoreBig16(tcp + kTcpChecksumOffset, 0);
  const uint64_t sum = PseudoHeaderSum(source, destination, 6, length);
  StoreBig16(tcp + kTcpChecksumOffset, FinishChecksum(AddToChecksum(sum, {tcp, length})));
}

// What a fuzzer hardly finds by itself.
void PutRight(std::vector<uint8_t>& frame) {
  if (frame.size() < 34) return;
  if ((frame[0] & 1) == 0) std::copy(kMac.begin(), kMac.end(), frame.begin());
  uint8_t* const ip = frame.data() + 14;
  const size_t size = frame.size() - 14;
  if (ip[0] >> 4 == 4) {
    StoreBig16(frame.data() + 12, 0x0800);
    const size_t header = size_t{ip[0] & 0xfu} * 4;
    if (header < 20 || header > size) return;
    if (LoadBig16(ip + 2) > size) StoreBig16(ip + 2, static_cast<uint16_t>(size));
    StoreBig16(ip + 10, 0);
    StoreBig16(ip + 10, Checksum({ip, header}));
    const size_t total = LoadBig16(ip + 2);
    if (ip[9] == 1 && total >= header + 8) {
      StoreBig16(ip + header + 2, 0);
      StoreBig16(ip + header + 2, Checksum({ip + header, total - header}));
    } else if (ip[9] == 6 && total >= header + 20) {
      FillTcpChecksum(IpAddress::V4(ip + 12), IpAddress::V4(ip + 16), ip + header, total - header);
    } else if (ip[9] == 17 && total >= header + 8) {
      StoreBig16(ip + header + 6, 0);  // none
    }
  } else if (ip[0] >> 4 == 6 && size >= 48) {
    StoreBig16(frame.data() + 12, 0x86dd);
    if (LoadBig16(ip + 4) > size - 40) StoreBig16(ip + 4, static_cast<uint16_t>(size - 40));
    const size_t length = LoadBig16(ip + 4);
    if (ip[6] == 6 && length >= 20) {
      FillTcpChecksum(IpAddress::V6(ip + 8), IpAddress::V6(ip + 24), ip + 40, length);
    }
    const size_t checksum = ip[6] == 58 ? 2 : 6;
    if ((ip[6] != 58 && ip[6] != 17) || length < 8) return;
    StoreBig16(ip + 40 + checksum, 0);
    const uint64_t sum =
        PseudoHeaderSum(IpAddress::V6(ip + 8), IpAddress::V6(ip + 24), ip[6], length);
    StoreBig16(ip + 40 + checksum, FinishChecksum(AddToChecksum(sum, {ip + 40, length})));
  }
}

// Datagrams of one or two fragments, to a neighbour, through the gateway, to ourselves and to a
// group.
void SendSomething(UdpPort& port, uint8_t what) {
  static const char* const kTo[] = {"10.0.0.2", "8.8.8.8", "10.0.0.1", "fd00::2", "239.1.2.3"};
  Datagram burst[] = {{UdpPort::PeerOf(*IpAddress::Parse(kTo[what % 5]), 9), Buffer()}};
  burst[0].buffer = port.pool().Allocate();
  if (!burst[0].buffer) return;
  std::memset(burst[0].buffer.Append(what % 2 == 0 ? 10 : 1480), what, 10);
  port.Send(absl::MakeSpan(burst));
}

void Drain(UdpPort& port) {
  Datagram burst[4];
  const size_t n = port.Receive(absl::MakeSpan(burst));
  for (size_t i = 0; i < n; ++i) Check(burst[i].buffer && burst[i].peer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const StackOptions options = Options();
  ManualClock clock(1'000'000'000);
  TimerWheel timers(clock.NowNs());
  auto device = std::make_unique<InputPort>();
  InputPort& wire = *device;
  const auto owner = std::make_shared<std::atomic<const void*>>(internal::ThreadToken());
  auto opened = Stack::Open(options,
                            {.clock = &clock,
                             .timers = &timers,
                             .siblings = std::make_shared<Siblings>(1),
                             .queue = 0,
                             .owner = owner},
                            std::move(device));
  Check(opened.ok());
  std::shared_ptr<Stack> stack = *std::move(opened);
  const Capabilities capabilities = {.datagrams = true, .max_payload_bytes = 4000};
  auto polled = *UdpPort::Open(stack, *Address::Parse("[::]:7000"), false, capabilities);
  auto idle = *UdpPort::Open(stack, *Address::Parse("10.0.0.1:7001"), false, capabilities);
  Pings pings;
  stack->SetEchoObserver(&pings);
  Segments segments(stack.get());

  uint64_t frames = 0;
  while (size >= 2) {
    const uint8_t what = data[0];
    const size_t length = std::min<size_t>({size_t{data[1]} * 8, size - 2, 1514});
    std::vector<uint8_t> frame(data + 2, data + 2 + length);
    data += 2 + length;
    size -= 2 + length;
    if ((what & 1) != 0) PutRight(frame);
    if (!frame.empty()) ++frames;
    wire.frame = std::move(frame);
    if ((what & 2) != 0) SendSomething(*polled, what >> 3);
    Drain(*polled);
    if ((what & 4) != 0) {
      clock.Set(clock.NowNs() + (int64_t{1} << (what >> 3)) * 4'000);
      timers.Advance(clock.NowNs());
      Drain(*polled);
    }
    // There is always a buffer for the next frame, whatever was sent.
    Check(wire.frame.empty());
    Check(stack->device().pool().available() >= kBuffers / 8);
    PortEvent events[8];
    idle->TakeEvents(absl::MakeSpan(events));
  }
  Check(stack->stats().received.value() == frames);
  // Once nobody waits for anything, nothing is held.
  stack->SetEchoObserver(nullptr);
  Datagram burst[8];
  while (const size_t n = idle->Receive(absl::MakeSpan(burst))) {
    for (Datagram& datagram : absl::MakeSpan(burst, n)) datagram.buffer.Reset();
  }
  for (int i = 0; i < 40; ++i) {
    clock.Set(clock.NowNs() + 1'000'000'000);
    timers.Advance(clock.NowNs());
    Drain(*polled);
    Drain(*idle);
  }
  Check(stack->device().pool().available() == kBuffers);
  return 0;
}
