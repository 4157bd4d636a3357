// SPDX-License-Identifier: Apache-2.0
//
// How fast weft's own network stack is, and RPC over it, beside the raw devices under it and the
// kernel's stack, measured in the same run: docs/performance.md explains each figure.
//
//   rpc_frames            every bar, and some more
//   rpc_frames --quick    less than half a minute, less exact
//
// Figures over veth pairs need root; without it the table says so, and the rest stands.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/benchmarks/floors/afxdp_floor.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/floors/packet_floor.h"
#include "weft/benchmarks/frame_workload.h"
#include "weft/benchmarks/netstack_cost.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/rpc_workload.h"
#include "weft/benchmarks/veth_pair.h"
#include "weft/core/cpu.h"

ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, only, "", "measure only figures that have this in their name, and floors");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "3 runs of 100 ms: less than half a minute, less exact");
ABSL_FLAG(int, runs, 7, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Milliseconds(500), "of each run");

namespace weft::benchmarks {
namespace {

using floors::DpdkFloor;
using floors::Floor;
using floors::Options;

constexpr char kTicks[] = ", cycles";

// A figure, how a run of it is made, and what came out.
struct Series {
  std::string name;
  std::string unit;
  std::string floor;  // the name of another; empty: none
  std::function<absl::StatusOr<double>(const Options&)> run;
  std::vector<double> values = {};
  absl::Status status = {};
};

// What is held to a limit.
struct Bar {
  const char* figure;
  enum Form { kAtMost, kAtLeast, kRatioAtMost, kBeyondAtMost, kTimesLower } form;
  double limit;
  const char* against = nullptr;  // another figure; the first form but two need one
};

constexpr Bar kBars[] = {
    {"rpc dpdk busy, p50", Bar::kBeyondAtMost, 0.6, "raw virtio-user, p50"},
    {"rpc dpdk busy, p50", Bar::kTimesLower, 3, "rpc linux busy, p50"},
    {"netstack UDP receive and reply", Bar::kAtMost, 150},
    {"netstack UDP receive and reply, bursts of 32", Bar::kAtMost, 150},
    {"udp vhost to virtio-user", Bar::kAtLeast, 4e6},
    {"udp virtio-user to vhost", Bar::kAtLeast, 4e6},
    {"rpc afxdp native busy, p50", Bar::kRatioAtMost, 1.3, "raw AF_XDP native, p50"},
    {"rpc afxdp generic busy, p50", Bar::kRatioAtMost, 1.3, "raw AF_XDP generic, p50"},
};

absl::StatusOr<double> ValueOf(const absl::StatusOr<floors::Figure>& figure) {
  if (!figure.ok()) return figure.status();
  return figure->value;
}

absl::StatusOr<double> Microseconds(absl::StatusOr<double> ns) {
  if (ns.ok()) *ns /= 1e3;
  return ns;
}

Series DpdkFloorSeries(DpdkFloor floor) {
  return {floors::Name(floor), floor == DpdkFloor::kLatency ? "us" : "frames/s", "",
          [floor](const Options& options) { return ValueOf(MeasureDpdk(floor, options)); }};
}

Series AfxdpFloorSeries(bool native) {
  return {absl::StrCat("raw AF_XDP ", native ? "native" : "generic", ", p50"), "us", "",
          [native](const Options& options) -> absl::StatusOr<double> {
            const auto pair = VethPair::Make();
            if (!pair.ok()) return pair.status();
            return Microseconds(floors::AfxdpRoundTripNs({.native = native,
                                                          .client_core = options.client_core,
                                                          .server_core = options.server_core,
                                                          .duration = options.duration}));
          }};
}

Series PacketFloorSeries() {
  return {"raw AF_PACKET, p50", "us", "", [](const Options& options) -> absl::StatusOr<double> {
            const auto pair = VethPair::Make();
            if (!pair.ok()) return pair.status();
            return Microseconds(floors::PacketRoundTripNs(options));
          }};
}

Series RpcSeries(Cable cable, std::string floor) {
  return {absl::StrCat("rpc ", Name(cable), " busy, p50"), "us", std::move(floor),
          [cable](const Options& options) { return MeasureRpcOver(cable, 1, options); }};
}

Series UdpSeries(Direction direction) {
  const bool to_guest = direction == Direction::kToGuest;
  return {to_guest ? "udp vhost to virtio-user" : "udp virtio-user to vhost", "packets/s",
          floors::Name(to_guest ? DpdkFloor::kToGuest : DpdkFloor::kFromGuest),
          [direction](const Options& options) { return MeasureUdpOverDpdk(direction, options); }};
}

Series CostSeries(size_t burst, bool ticks) {
  std::string name = "netstack UDP receive and reply";
  if (burst > 1) absl::StrAppend(&name, ", bursts of ", burst);
  if (ticks) absl::StrAppend(&name, kTicks);
  return {name, ticks ? "cycles" : "ns", "",
          [burst, ticks](const Options& options) -> absl::StatusOr<double> {
            const auto cost = MeasureNetstackCost(burst, options.client_core, options.duration);
            if (!cost.ok()) return cost.status();
            return ticks ? cost->ticks : cost->ns;
          }};
}

std::vector<Series> AllSeries() {
  const auto rpc_linux = [](const Options& options) -> absl::StatusOr<double> {
    const auto result = MeasureRpc(
        {.transport = "linux"}, {options.client_core, options.server_core, options.duration});
    if (!result.ok()) return result.status();
    return result->p50_us;
  };
  constexpr int kMany = floors::kThroughputOutstanding;
  return {
      {floors::Name(Floor::kRingLatency), "us", "",
       [](const Options& options) {
         return ValueOf(floors::Measure(Floor::kRingLatency, options));
       }},
      DpdkFloorSeries(DpdkFloor::kLatency),
      RpcSeries(Cable::kDpdk, floors::Name(DpdkFloor::kLatency)),
      {"rpc linux busy, p50", "us", "", rpc_linux},
      {absl::StrCat("rpc dpdk busy, ", kMany, " outstanding"), "requests/s", "",
       [](const Options& options) { return MeasureRpcOver(Cable::kDpdk, kMany, options); }},
      CostSeries(1, /*ticks=*/false),
      CostSeries(1, /*ticks=*/true),
      CostSeries(32, /*ticks=*/false),
      CostSeries(32, /*ticks=*/true),
      DpdkFloorSeries(DpdkFloor::kToGuest),
      UdpSeries(Direction::kToGuest),
      DpdkFloorSeries(DpdkFloor::kFromGuest),
      UdpSeries(Direction::kFromGuest),
      AfxdpFloorSeries(/*native=*/true),
      RpcSeries(Cable::kAfxdpNative, "raw AF_XDP native, p50"),
      AfxdpFloorSeries(/*native=*/false),
      RpcSeries(Cable::kAfxdpGeneric, "raw AF_XDP generic, p50"),
      PacketFloorSeries(),
      RpcSeries(Cable::kPacket, "raw AF_PACKET, p50"),
  };
}

// Those that --only names, and their floors.
std::vector<Series> WantedSeries(absl::string_view only) {
  std::vector<Series> all = AllSeries();
  const auto wanted = [&](const Series& series) {
    return absl::StrContains(series.name, only) ||
           std::any_of(all.begin(), all.end(), [&](const Series& other) {
             return other.floor == series.name && absl::StrContains(other.name, only);
           });
  };
  std::vector<Series> some;
  for (const Series& series : all) {
    if (wanted(series)) some.push_back(series);
  }
  return some;
}

void MeasureAll(int runs, const Options& options, std::vector<Series>* all) {
  for (int run = 0; run < runs; ++run) {
    // Whatever the machine does meanwhile, it does to all.
    for (Series& series : *all) {
      if (!series.status.ok()) continue;
      std::fprintf(stderr, "\r\033[K[%d/%d] %s", run + 1, runs, series.name.c_str());
      const absl::StatusOr<double> value = series.run(options);
      series.status = value.status();
      if (value.ok()) series.values.push_back(*value);
    }
  }
  std::fprintf(stderr, "\r\033[K");
}

std::optional<double> MedianOf(const std::vector<Series>& all, absl::string_view name) {
  for (const Series& series : all) {
    if (series.name == name && series.status.ok()) return Median(series.values);
  }
  return std::nullopt;
}

Report ToReport(const std::vector<Series>& all) {
  Report report;
  for (const Series& series : all) {
    if (series.status.ok()) {
      report.Add(series.name, series.unit, series.values, MedianOf(all, series.floor));
    } else {
      report.AddMissing(series.name, std::string(series.status.message()));
    }
  }
  return report;
}

// A line for each bar that the measurements say something about.
std::string BarTable(const std::vector<Series>& all) {
  std::string lines;
  for (const Bar& bar : kBars) {
    const std::optional<double> is = MedianOf(all, bar.figure);
    const std::optional<double> against =
        bar.against == nullptr ? 1 : MedianOf(all, bar.against);
    if (!is.has_value() || !against.has_value()) continue;
    const bool at_least = bar.form == Bar::kAtLeast || bar.form == Bar::kTimesLower;
    double value = *is;
    std::string what = bar.figure;
    switch (bar.form) {
      case Bar::kAtMost:
      case Bar::kAtLeast:
        break;
      case Bar::kRatioAtMost:
        value /= *against;
        absl::StrAppend(&what, " / ", bar.against);
        break;
      case Bar::kBeyondAtMost:
        value -= *against;
        absl::StrAppend(&what, " - ", bar.against);
        break;
      case Bar::kTimesLower:
        value = *against / value;
        what = absl::StrCat(bar.against, " / ", what);
        break;
    }
    const bool met = at_least ? value >= bar.limit : value <= bar.limit;
    const bool millions = bar.limit >= 1e6;
    absl::StrAppendFormat(&lines, "%-58s %8.3f%s  %s %6.2f%s  %s\n", what,
                          millions ? value / 1e6 : value, millions ? " M" : "  ",
                          at_least ? ">=" : "<=", millions ? bar.limit / 1e6 : bar.limit,
                          millions ? " M" : "  ", met ? "met" : "MISSED");
  }
  if (lines.empty()) return "";
  return absl::StrFormat("%-58s %8s    %9s\n%s", "bar", "is", "asked", lines);
}

// What is not permitted, or not there, is not wrong.
bool Failed(const std::vector<Series>& all) {
  return std::any_of(all.begin(), all.end(), [](const Series& series) {
    return !series.status.ok() && !absl::IsPermissionDenied(series.status) &&
           !absl::IsUnimplemented(series.status);
  });
}

absl::StatusOr<Options> MakeOptions() {
  const std::string cores_flag = absl::GetFlag(FLAGS_cores);
  absl::StatusOr<std::vector<int>> cores = AllowedCores();
  if (!cores_flag.empty()) cores = ParseCoreList(cores_flag);
  if (!cores.ok()) return cores.status();
  if (cores->size() < 2) {
    return absl::InvalidArgumentError("client and server spin and need two cores, one each");
  }
  if (absl::GetFlag(FLAGS_runs) < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  return Options{.client_core = (*cores)[0],
                 .server_core = (*cores)[1],
                 .duration = absl::GetFlag(FLAGS_quick) ? absl::Milliseconds(100)
                                                        : absl::GetFlag(FLAGS_duration)};
}

int Main() {
  const absl::StatusOr<Options> options = MakeOptions();
  std::vector<Series> all = WantedSeries(absl::GetFlag(FLAGS_only));
  if (!options.ok() || all.empty()) {
    std::fprintf(stderr, "rpc_frames: %s\n",
                 options.ok() ? "no figure has what --only says in its name"
                              : std::string(options.status().message()).c_str());
    return 2;
  }
  MeasureAll(absl::GetFlag(FLAGS_quick) ? 3 : absl::GetFlag(FLAGS_runs), *options, &all);
  const Report report = ToReport(all);
  std::printf("%s\n%s", report.Table().c_str(), BarTable(all).c_str());
  if (const std::string path = absl::GetFlag(FLAGS_json); !path.empty()) {
    if (absl::Status status = report.WriteJson(path); !status.ok()) {
      std::fprintf(stderr, "rpc_frames: %s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return Failed(all) ? 1 : 0;
}

std::vector<PeerRole> Roles() {
  std::vector<PeerRole> roles;
  for (const auto part :
       {FrameRoles(), NetstackCostRoles(), RpcRoles(), floors::Roles(), floors::DpdkRoles(),
        floors::AfxdpRoles(), floors::PacketRoles()}) {
    roles.insert(roles.end(), part.begin(), part.end());
  }
  return roles;
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures weft's network stack, and RPC over it, beside the devices under it; "
      "docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
