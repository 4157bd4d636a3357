// SPDX-License-Identifier: Apache-2.0
//
// What the port adds to plain bursts of DPDK: 64-byte frames between net_vhost and net_virtio_user
// in two processes, a core each. Both are measured in turns; the medians of all rounds are printed.
//
//   bazel run //transports/dpdk:dpdk_frame_benchmark [ROUNDS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/transports/dpdk/dpdk_test_util.h"

namespace weft::dpdk {
namespace {

using benchmarks::Peer;
using benchmarks::PeerRole;
using benchmarks::floors::DpdkFloor;

constexpr size_t kBurst = 32;
constexpr size_t kFrameBytes = benchmarks::floors::kRequestBytes;

struct Opened {
  std::unique_ptr<Transport> transport;
  std::unique_ptr<FramePort> port;

  absl::Status Open(const std::string& device) {
    config::Transport config;
    config.set_name("dpdk");
    config.mutable_dpdk()->add_virtual_devices(device);
    absl::StatusOr<std::unique_ptr<Transport>> opened = OpenPlainTransport(config);
    if (!opened.ok()) return opened.status();
    transport = *std::move(opened);
    absl::StatusOr<std::unique_ptr<FramePort>> port_or = transport->OpenFramePort({});
    if (port_or.ok()) port = *std::move(port_or);
    return port_or.status();
  }
  Buffer NewFrame() {
    Buffer frame = port->pool().Allocate();
    if (frame) std::memset(frame.Append(kFrameBytes), 0xff, kFrameBytes);
    return frame;
  }
};

absl::Status Serve(Peer& peer) {
  peer.Report(0);
  Opened device;
  if (absl::Status status = device.Open(peer.arguments()[0]); !status.ok()) return status;
  const bool echo = peer.Number(1) != 0;
  Buffer burst[kBurst];
  while (true) {
    size_t n = 0;
    if (echo) {
      n = device.port->Receive(absl::MakeSpan(burst));
    } else {
      while (n < kBurst && (burst[n] || (burst[n] = device.NewFrame()))) ++n;
    }
    absl::Span<Buffer> rest = absl::MakeSpan(burst).first(n);
    do {
      rest.remove_prefix(device.port->Send(rest));
    } while (echo && !rest.empty());
    for (Buffer& frame : rest) frame.Reset();
  }
}

absl::Status Ask(Peer& peer) {
  Opened device;
  absl::Status status =
      benchmarks::floors::OpenWhenThere([&] { return device.Open(peer.arguments()[0]); });
  if (!status.ok()) return status;
  const bool round_trips = peer.Number(1) != 0;
  const int64_t duration_ns = peer.Number(2);
  const auto receive = [&]() -> size_t {
    Buffer burst[kBurst];
    return device.port->Receive(absl::MakeSpan(burst));
  };
  absl::StatusOr<double> result;
  if (round_trips) {
    result = benchmarks::floors::DpdkRoundTripNs(
        duration_ns,
        [&] {
          Buffer burst[] = {device.NewFrame()};
          return device.port->Send(absl::MakeSpan(burst)) == 1;
        },
        [&] { return receive() > 0; });
  } else {
    result = benchmarks::floors::RepliesPerSecond(duration_ns, kBurst,
                                                  [&](size_t) { return receive(); });
  }
  if (result.ok()) peer.Report(*result);
  return result.status();
}

std::vector<PeerRole> Roles() {
  std::vector<PeerRole> roles = {{"port-server", &Serve}, {"port-client", &Ask}};
  for (const PeerRole& role : benchmarks::floors::DpdkRoles()) roles.push_back(role);
  return roles;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Run(int rounds) {
  std::printf("%-28s %12s %12s\n", "64-byte frames", "raw", "port");
  for (const DpdkFloor floor : benchmarks::floors::kAllDpdkFloors) {
    std::vector<double> raw;
    std::vector<double> port;
    for (int i = 0; i < rounds; ++i) {
      for (const bool is_raw : {true, false}) {
        const absl::StatusOr<double> value = benchmarks::floors::RunDpdkPair(
            is_raw ? benchmarks::floors::DpdkPair{"floor-dpdk-server", "floor-dpdk-client"}
                   : benchmarks::floors::DpdkPair{"port-server", "port-client"},
            floor, {});
        if (!value.ok()) {
          std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
          return 1;
        }
        (is_raw ? raw : port).push_back(*value);
      }
    }
    const bool latency = floor == DpdkFloor::kLatency;
    const double unit = latency ? 1 : 1e6;
    std::printf("%-28s %12.2f %12.2f %s\n", benchmarks::floors::Name(floor), Median(raw) / unit,
                Median(port) / unit, latency ? "ns" : "M frames/s");
  }
  return 0;
}

}  // namespace
}  // namespace weft::dpdk

int main(int argc, char** argv) {
  if (weft::benchmarks::IsPeer(argc, argv)) {
    return weft::benchmarks::RunPeer(argc, argv, weft::dpdk::Roles());
  }
  return weft::dpdk::Run(argc > 1 ? std::atoi(argv[1]) : 5);
}
