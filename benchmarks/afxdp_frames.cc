// SPDX-License-Identifier: Apache-2.0
//
// What the transport "afxdp" adds to plain libxdp: round trips of 64-byte frames over a veth pair,
// two processes, a core each, never sleeping. Needs root.
//
//   bazel build -c opt //benchmarks:afxdp_frames && sudo .out/bin/benchmarks/afxdp_frames

#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/afxdp_floor.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/veth_pair.h"
#include "weft/transports/registry.h"

ABSL_FLAG(bool, quick, false, "Fewer and shorter runs.");
ABSL_FLAG(std::string, json, "", "File for the figures as JSON.");

namespace weft::benchmarks {
namespace {

constexpr size_t kFrameBytes = 64;

struct OpenedPort {
  std::unique_ptr<Transport> transport;
  std::unique_ptr<FramePort> port;
};

absl::StatusOr<OpenedPort> OpenPort(const std::string& interface, bool native) {
  config::Transport config;
  config.set_name("afxdp");
  config.mutable_afxdp()->set_interface(interface);
  config.mutable_afxdp()->set_mode(native ? config::Afxdp::NATIVE : config::Afxdp::GENERIC);
  absl::StatusOr<std::unique_ptr<Transport>> transport = OpenPlainTransport(config);
  if (!transport.ok()) return transport.status();
  absl::StatusOr<std::unique_ptr<FramePort>> port = (*transport)->OpenFramePort({});
  if (!port.ok()) return port.status();
  return OpenedPort{*std::move(transport), *std::move(port)};
}

// Argument: 1 for native.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<OpenedPort> opened = OpenPort(VethPair::kServer, peer.Number(0) != 0);
  if (!opened.ok()) return opened.status();
  FramePort& port = *opened->port;
  peer.Report(0);
  Buffer burst[32];
  for (;;) {
    absl::Span<Buffer> frames = absl::MakeSpan(burst);
    frames = frames.first(port.Receive(frames));
    while (!frames.empty()) frames.remove_prefix(port.Send(frames));
  }
}

// Arguments: 1 for native; the duration in nanoseconds.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<OpenedPort> opened = OpenPort(VethPair::kClient, peer.Number(0) != 0);
  if (!opened.ok()) return opened.status();
  FramePort& port = *opened->port;
  Buffer burst[32];
  absl::StatusOr<double> result = floors::MedianRoundTripNs(peer.Number(1), [&] {
    burst[0] = port.pool().Allocate();
    std::memset(burst[0].Append(kFrameBytes), 0xff, kFrameBytes);
    port.Send(absl::MakeSpan(burst).first(1));
    const int64_t give_up_ns = RealClock().NowNs() + floors::kPatienceNs;
    for (uint32_t turn = 1; port.Receive(absl::MakeSpan(burst)) == 0; ++turn) {
      if (turn % 1024 == 0 && RealClock().NowNs() > give_up_ns) return false;
    }
    return true;
  });
  if (result.ok()) peer.Report(*result);
  return result.status();
}

absl::StatusOr<double> PortRoundTripNs(const floors::AfxdpFloorOptions& options) {
  const char* native = options.native ? "1" : "0";
  auto server = PeerProcess::Start(
      {.role = "port-server", .core = options.server_core, .arguments = {native}});
  if (!server.ok()) return server.status();
  if (absl::StatusOr<double> ready = (*server)->AwaitReport(kStartTimeout); !ready.ok()) {
    return ready;
  }
  auto client = PeerProcess::Start(
      {.role = "port-client",
       .core = options.client_core,
       .arguments = {native, absl::StrCat(absl::ToInt64Nanoseconds(options.duration))}});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + kStartTimeout);
}

absl::Status Run() {
  absl::StatusOr<std::unique_ptr<VethPair>> pair = VethPair::Make();
  if (!pair.ok()) return pair.status();
  const bool quick = absl::GetFlag(FLAGS_quick);
  Report report;
  for (const bool native : {true, false}) {
    const floors::AfxdpFloorOptions options = {.native = native,
                                               .duration = absl::Milliseconds(quick ? 200 : 1000)};
    std::vector<double> raw, port;
    for (int i = 0; i < (quick ? 3 : 7); ++i) {
      const absl::StatusOr<double> raw_ns = floors::AfxdpRoundTripNs(options);
      if (!raw_ns.ok()) return raw_ns.status();
      const absl::StatusOr<double> port_ns = PortRoundTripNs(options);
      if (!port_ns.ok()) return port_ns.status();
      raw.push_back(*raw_ns / 1e3);
      port.push_back(*port_ns / 1e3);
    }
    const std::string mode = native ? "native" : "generic";
    report.Add(absl::StrCat("libxdp ", mode, ", p50"), "us", raw);
    report.Add(absl::StrCat("frames over afxdp ", mode, ", p50"), "us", port, Median(raw));
  }
  std::cout << report.Table();
  const std::string json = absl::GetFlag(FLAGS_json);
  return json.empty() ? absl::OkStatus() : report.WriteJson(json);
}

std::vector<PeerRole> Roles() {
  std::vector<PeerRole> roles = {{"port-server", &Serve}, {"port-client", &Ask}};
  const auto floor = floors::AfxdpRoles();
  roles.insert(roles.end(), floor.begin(), floor.end());
  return roles;
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT(google-build-using-namespace)
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage("Frames over AF_XDP beside plain libxdp, on a veth pair.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = Run();
  if (!status.ok()) std::cerr << "afxdp_frames: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
