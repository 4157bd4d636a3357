// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/frame_workload.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/rpc_workload.h"
#include "weft/benchmarks/veth_pair.h"
#include "weft/core/loop.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {
namespace {

constexpr size_t kBurst = 32;
constexpr size_t kPayloadBytes = floors::kRequestBytes;
constexpr char kServerIp[] = "10.0.0.1";
constexpr char kClientIp[] = "10.0.0.2";
constexpr uint16_t kPort = 7000;

Address At(const char* ip) { return *Address::Parse(absl::StrCat(ip, ":", kPort)); }

config::Transport FramesOver(Cable cable, const std::string& device) {
  config::Transport config;
  switch (cable) {
    case Cable::kDpdk:
      config.set_name("dpdk");
      config.mutable_dpdk()->add_virtual_devices(device);
      break;
    case Cable::kAfxdpNative:
    case Cable::kAfxdpGeneric:
      config.set_name("afxdp");
      config.mutable_afxdp()->set_interface(device);
      config.mutable_afxdp()->set_mode(cable == Cable::kAfxdpNative ? config::Afxdp::NATIVE
                                                                    : config::Afxdp::GENERIC);
      break;
    case Cable::kPacket:
      config.set_name("linux");
      config.mutable_linux()->mutable_packet()->set_interface(device);
      break;
  }
  return config;
}

// One end of the cable, with a network stack and a port at kPort.
struct End {
  std::unique_ptr<Transport> transport;
  std::unique_ptr<DatagramPort> port;

  absl::Status Open(Cable cable, const std::string& device, const char* ip) {
    auto frames = OpenPlainTransport(FramesOver(cable, device));
    if (!frames.ok()) return frames.status();
    config::Netstack netstack;
    netstack.add_addresses(absl::StrCat(ip, "/24"));
    auto stack = netstack::NetstackTransport::Open(*std::move(frames), netstack, /*workers=*/1);
    if (!stack.ok()) return stack.status();
    auto opened = (*stack)->OpenDatagramPort({.local = At(ip)});
    if (!opened.ok()) return opened.status();
    transport = *std::move(stack);
    port = *std::move(opened);
    return absl::OkStatus();
  }
};

absl::Status SendForEver(DatagramPort& port) {
  const absl::StatusOr<::weft::Peer> client = port.Resolve(At(kClientIp));
  if (!client.ok()) return client.status();
  Datagram received[kBurst];
  Datagram burst[kBurst];
  while (true) {
    size_t n = 0;
    for (; n < kBurst; ++n) {
      Buffer& payload = burst[n].buffer;
      if (!payload && !(payload = port.pool().Allocate())) break;
      // What the port did not take last time is still there.
      if (payload.empty()) std::memset(payload.Append(kPayloadBytes), 0xff, kPayloadBytes);
      burst[n].peer = *client;
    }
    port.Send(absl::MakeSpan(burst, n));
    // Neighbours ask.
    port.Receive(absl::MakeSpan(received));
  }
}

// Arguments: the device, 1 for RPC or 0 for sending datagrams without end, the cable. Reports 0.
absl::Status Serve(Peer& peer) {
  const auto cable = static_cast<Cable>(peer.Number(2));
  // With DPDK a device that waits for its other end, which does not open before it is told to.
  if (cable == Cable::kDpdk) peer.Report(0);
  End end;
  if (absl::Status s = end.Open(cable, peer.arguments()[0], kServerIp); !s.ok()) return s;
  if (peer.Number(1) == 0) return SendForEver(*end.port);
  return ServeRpc({.mode = LoopMode::kBusy}, std::move(end.port), [&](uint16_t) {
    if (cable != Cable::kDpdk) peer.Report(0);
  });
}

absl::StatusOr<double> CountDatagrams(DatagramPort& port, int64_t duration_ns) {
  Datagram burst[kBurst];
  return floors::RepliesPerSecond(duration_ns, kBurst, [&](size_t) {
    const size_t n = port.Receive(absl::MakeSpan(burst));
    for (Datagram& datagram : absl::MakeSpan(burst, n)) datagram.buffer.Reset();
    return n;
  });
}

// Arguments: the device, 1 for RPC or 0 for counting datagrams, the duration in nanoseconds, the
// cable, the number of outstanding requests. Reports nanoseconds, or replies or datagrams a second.
absl::Status Ask(Peer& peer) {
  const int64_t duration_ns = peer.Number(2);
  const auto cable = static_cast<Cable>(peer.Number(3));
  const auto outstanding = static_cast<uint64_t>(peer.Number(4));
  End end;
  const auto open = [&] { return end.Open(cable, peer.arguments()[0], kClientIp); };
  if (absl::Status s = floors::OpenWhenThere(open); !s.ok()) return s;
  if (peer.Number(1) == 0) {
    const absl::StatusOr<double> rate = CountDatagrams(*end.port, duration_ns);
    if (rate.ok()) peer.Report(*rate);
    return rate.status();
  }
  const absl::StatusOr<RpcResult> result = AskRpc({.mode = LoopMode::kBusy}, std::move(end.port),
                                                  {.server = At(kServerIp),
                                                   .outstanding = outstanding,
                                                   .duration = absl::Nanoseconds(duration_ns)});
  if (!result.ok()) return result.status();
  peer.Report(outstanding == 1 ? result->p50_us * 1e3 : result->replies_per_s);
  return absl::OkStatus();
}

constexpr char kServerRole[] = "frames-server";
constexpr char kClientRole[] = "frames-client";
constexpr PeerRole kRoles[] = {{kServerRole, &Serve}, {kClientRole, &Ask}};

std::string Number(Cable cable) { return absl::StrCat(static_cast<int>(cable)); }

absl::StatusOr<double> RunVethPair(Cable cable, int outstanding, const floors::Options& options) {
  const auto pair = VethPair::Make();
  if (!pair.ok()) return pair.status();
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = kServerRole,
                                    .core = options.server_core,
                                    .arguments = {VethPair::kServer, "1", Number(cable)},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  if (auto ready = (*server)->AwaitReport(kStartTimeout); !ready.ok()) return ready;
  auto client =
      PeerProcess::Start({.role = kClientRole,
                          .core = options.client_core,
                          .arguments = {VethPair::kClient, "1",
                                        absl::StrCat(absl::ToInt64Nanoseconds(options.duration)),
                                        Number(cable), absl::StrCat(outstanding)},
                          .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + 2 * kStartTimeout);
}

}  // namespace

const char* Name(Cable cable) {
  switch (cable) {
    case Cable::kDpdk:
      return "dpdk";
    case Cable::kAfxdpNative:
      return "afxdp native";
    case Cable::kAfxdpGeneric:
      return "afxdp generic";
    case Cable::kPacket:
      return "packet";
  }
  return "";
}

absl::StatusOr<double> MeasureRpcOver(Cable cable, int outstanding,
                                      const floors::Options& options) {
  absl::StatusOr<double> value =
      cable == Cable::kDpdk
          ? floors::RunDpdkPair(
                {kServerRole, kClientRole, {Number(cable), absl::StrCat(outstanding)}},
                floors::DpdkFloor::kLatency, options)
          : RunVethPair(cable, outstanding, options);
  if (value.ok() && outstanding == 1) *value /= 1e3;
  return value;
}

absl::StatusOr<double> MeasureUdpOverDpdk(Direction direction, const floors::Options& options) {
  return floors::RunDpdkPair({kServerRole, kClientRole, {Number(Cable::kDpdk)}},
                             direction == Direction::kToGuest ? floors::DpdkFloor::kToGuest
                                                              : floors::DpdkFloor::kFromGuest,
                             options);
}

absl::Span<const PeerRole> FrameRoles() { return kRoles; }

}  // namespace weft::benchmarks
