// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/netstack_cost.h"

#include <rte_cycles.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "weft/benchmarks/report.h"
#include "weft/core/bytes.h"
#include "weft/core/clock.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/udp.h"
#include "weft/transports/frame_port.h"

namespace weft::benchmarks {
namespace {

using netstack::IpAddress;

constexpr size_t kBurstMax = 32;
constexpr size_t kPayloadBytes = 64;
constexpr size_t kIpOffset = netstack::kEthernetHeaderBytes;
constexpr size_t kUdpOffset = kIpOffset + netstack::kIpv4HeaderBytes;
constexpr uint16_t kPort = 7000;
constexpr size_t kFramesInRing = 256;  // as many as a device has on their way, a power of two
constexpr uint32_t kBurstsAtOnce = 512;
constexpr MacAddress kOurMac = {2, 0, 0, 0, 0, 1};
constexpr MacAddress kTheirMac = {2, 0, 0, 0, 0, 2};

// An answer becomes a request again, with good checksums still: sums do not depend on the order.
void TurnAround(uint8_t* frame) {
  std::swap_ranges(frame, frame + 6, frame + 6);
  std::swap_ranges(frame + kIpOffset + 12, frame + kIpOffset + 16, frame + kIpOffset + 16);
  std::swap_ranges(frame + kUdpOffset, frame + kUdpOffset + 2, frame + kUdpOffset + 2);
}

// What is sent comes back, as if from another machine.
class MirrorPort final : public FramePort {
 public:
  MirrorPort(const Capabilities& capabilities, size_t burst)
      : FramePort(capabilities, BufferPoolOptions{}), burst_(burst) {}

  Address local_address() const override { return {}; }
  MacAddress mac() const override { return kOurMac; }
  bool link_up() const override { return true; }
  std::string device_name() const override { return "mirror"; }

  size_t Send(absl::Span<Buffer> burst) override {
    for (Buffer& frame : burst) {
      const bool ipv4 = LoadBig16(frame.data() + 12) == 0x0800;
      // Without offloads, as these frames ask for none; ARP is not answered.
      if (!ipv4 || end_ - begin_ == kFramesInRing) {
        frame.Reset();
        continue;
      }
      TurnAround(frame.data());
      ring_[end_++ % kFramesInRing] = std::move(frame);
    }
    return burst.size();
  }

  size_t Receive(absl::Span<Buffer> burst) override {
    const size_t n = std::min({burst.size(), burst_, end_ - begin_});
    for (size_t i = 0; i < n; ++i) burst[i] = std::move(ring_[begin_++ % kFramesInRing]);
    return n;
  }

  // Fills the ring with requests.
  void Fill() {
    while (end_ - begin_ < kFramesInRing) {
      Buffer frame = pool().Allocate();
      std::memset(frame.Append(kPayloadBytes), 0x5a, kPayloadBytes);
      WriteHeaders(&frame);
      ring_[end_++ % kFramesInRing] = std::move(frame);
    }
  }

 private:
  static void WriteHeaders(Buffer* frame) {
    const IpAddress source = *IpAddress::Parse("10.0.0.2");
    const IpAddress destination = *IpAddress::Parse("10.0.0.1");
    const size_t udp_bytes = frame->size() + netstack::kUdpHeaderBytes;
    uint8_t* const udp = frame->Prepend(netstack::kUdpHeaderBytes);
    netstack::WriteUdp(udp, kPort, kPort, static_cast<uint16_t>(udp_bytes), 0);
    const uint64_t sum = netstack::PseudoHeaderSum(source, destination, 17, udp_bytes);
    StoreBig16(udp + netstack::kUdpChecksumOffset,
               netstack::FinishChecksum(netstack::AddToChecksum(sum, frame->bytes())));
    netstack::Ipv4Fields{
        .total_bytes = static_cast<uint16_t>(netstack::kIpv4HeaderBytes + udp_bytes),
        .dont_fragment = true,
        .source = source,
        .destination = destination}
        .Write(frame->Prepend(netstack::kIpv4HeaderBytes));
    netstack::WriteEthernet(frame->Prepend(netstack::kEthernetHeaderBytes), kOurMac, kTheirMac, 0,
                            netstack::EtherType::kIpv4);
  }

  const size_t burst_;
  Buffer ring_[kFramesInRing];
  size_t begin_ = 0;
  size_t end_ = 0;
};

Capabilities MirrorCapabilities() {
  Capabilities capabilities;
  capabilities.frames = true;
  capabilities.max_frame_bytes = 1514;
  capabilities.max_burst = kBurstMax;
  return capabilities;
}

// A stack on a mirror, and a port that echoes.
struct Echo {
  MirrorPort* mirror = nullptr;
  std::unique_ptr<DatagramPort> port;
  Datagram burst[kBurstMax];

  absl::Status Open(size_t burst_size) {
    const Capabilities capabilities = MirrorCapabilities();
    auto device = std::make_unique<MirrorPort>(capabilities, burst_size);
    mirror = device.get();
    netstack::StackOptions options;
    options.addresses = {*netstack::IpPrefix::Parse("10.0.0.1/24")};
    options.neighbors = {{*IpAddress::Parse("10.0.0.2"), kTheirMac}};
    auto stack = netstack::Stack::Open(
        options,
        {.clock = &RealClock(),
         .timers = nullptr,
         .siblings = std::make_shared<netstack::Siblings>(1),
         .queue = 0,
         .owner = std::make_shared<std::atomic<const void*>>(internal::ThreadToken())},
        std::move(device));
    if (!stack.ok()) return stack.status();
    Capabilities offered = capabilities;
    offered.max_payload_bytes = (*stack)->PayloadMax(/*v4=*/true);
    auto opened = netstack::UdpPort::Open(*std::move(stack), Address::Ipv4({10, 0, 0, 1}, kPort),
                                          /*shared=*/false, offered);
    if (!opened.ok()) return opened.status();
    port = *std::move(opened);
    mirror->Fill();
    return absl::OkStatus();
  }

  size_t Turn() {
    const size_t n = port->Receive(absl::MakeSpan(burst));
    return port->Send(absl::MakeSpan(burst, n));
  }
};

// The device alone.
struct Bare {
  explicit Bare(size_t burst_size) : mirror(MirrorCapabilities(), burst_size) { mirror.Fill(); }
  size_t Turn() {
    FramePort& port = mirror;
    const size_t n = port.Receive(absl::MakeSpan(burst));
    return port.Send(absl::MakeSpan(burst, n));
  }
  MirrorPort mirror;
  Buffer burst[kBurstMax];
};

// Of one packet, over some turns.
template <typename Device>
NetstackCost CostOf(Device& device) {
  const int64_t begin_ns = RealClock().NowNs();
  const uint64_t begin_ticks = rte_rdtsc_precise();
  uint64_t packets = 0;
  for (uint32_t i = 0; i < kBurstsAtOnce; ++i) packets += device.Turn();
  const uint64_t ticks = rte_rdtsc_precise() - begin_ticks;
  const int64_t ns = RealClock().NowNs() - begin_ns;
  const auto n = static_cast<double>(std::max<uint64_t>(packets, 1));
  return {static_cast<double>(ns) / n, static_cast<double>(ticks) / n};
}

absl::StatusOr<NetstackCost> Measure(size_t burst, absl::Duration duration) {
  Echo echo;
  if (absl::Status status = echo.Open(burst); !status.ok()) return status;
  Bare bare(burst);
  // In turns of some microseconds, of which the median counts: what else the machine does hits few.
  std::vector<double> ns;
  std::vector<double> ticks;
  const absl::Time end = absl::Now() + duration;
  do {
    const NetstackCost with = CostOf(echo);
    const NetstackCost without = CostOf(bare);
    ns.push_back(with.ns - without.ns);
    ticks.push_back(with.ticks - without.ticks);
  } while (absl::Now() < end);
  if (echo.port->stats().received != ns.size() * kBurstsAtOnce * burst) {
    return absl::InternalError("the stack has lost datagrams");
  }
  return NetstackCost{Median(std::move(ns)), Median(std::move(ticks))};
}

// Arguments: the burst, the duration in nanoseconds. Reports nanoseconds, then ticks.
absl::Status Run(Peer& peer) {
  const auto cost = Measure(static_cast<size_t>(peer.Number(0)), absl::Nanoseconds(peer.Number(1)));
  if (!cost.ok()) return cost.status();
  peer.Report(cost->ns);
  peer.Report(cost->ticks);
  return absl::OkStatus();
}

constexpr char kRole[] = "netstack-cost";
constexpr PeerRole kRoles[] = {{kRole, &Run}};

}  // namespace

absl::StatusOr<NetstackCost> MeasureNetstackCost(size_t burst, int core, absl::Duration duration) {
  auto process = PeerProcess::Start(
      {.role = kRole,
       .core = core,
       .arguments = {absl::StrCat(burst), absl::StrCat(absl::ToInt64Nanoseconds(duration))},
       .lifetime = duration + absl::Seconds(30)});
  if (!process.ok()) return process.status();
  NetstackCost cost;
  for (double* value : {&cost.ns, &cost.ticks}) {
    const absl::StatusOr<double> report = (*process)->AwaitReport(duration + absl::Seconds(30));
    if (!report.ok()) return report.status();
    *value = *report;
  }
  return cost;
}

absl::Span<const PeerRole> NetstackCostRoles() { return kRoles; }

}  // namespace weft::benchmarks
