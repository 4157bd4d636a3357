// SPDX-License-Identifier: Apache-2.0
//
// How fast weft's own network stack is, and RPC over it, beside the raw devices under it and the
// kernel's stack, measured in the same run: docs/performance.md explains each figure.
//
//   rpc_frames            every bar, and some more
//   rpc_frames --quick    the bars alone, in less than half a minute
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
#include "weft/benchmarks/cores.h"
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

ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, only, "", "measure only figures that have this in their name, and floors");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false,
          "the bars alone, 3 runs of 100 ms: less than half a minute, less exact");
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
  bool for_orientation = false;  // no bar needs it
  std::vector<double> values = {};
  absl::Status status = {};
};

// What is held to a limit.
struct Bar {
  const char* figure;
  enum Form { kAtMost, kAtLeast, kRatioAtMost, kBeyondAtMost, kTimesLower } form;
  double limit;
  const char* against = nullptr;  // another figure; all but kAtMost and kAtLeast have one
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
  const bool latency = floor == DpdkFloor::kLatency;
  return {floors::Name(floor), latency ? "us" : "frames/s", "",
          [floor](const Options& options) { return ValueOf(MeasureDpdk(floor, options)); },
          /*for_orientation=*/!latency};
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
  return {"raw AF_PACKET, p50", "us", "",
          [](const Options& options) -> absl::StatusOr<double> {
            const auto pair = VethPair::Make();
            if (!pair.ok()) return pair.status();
            return Microseconds(floors::PacketRoundTripNs(options));
          },
          /*for_orientation=*/true};
}

Series RpcSeries(Cable cable, std::string floor) {
  return {absl::StrCat("rpc ", Name(cable), " busy, p50"), "us", std::move(floor),
          [cable](const Options& options) { return MeasureRpcOver(cable, 1, options); },
          /*for_orientation=*/cable == Cable::kPacket};
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
          },
          /*for_orientation=*/ticks};
}

std::vector<Series> AllSeries() {
  const auto rpc_linux = [](const Options& options) -> absl::StatusOr<double> {
    const auto result = MeasureRpc({.transport = "linux"},
                                   {options.client_core, options.server_core, options.duration});
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
       [](const Options& options) { return MeasureRpcOver(Cable::kDpdk, kMany, options); },
       /*for_orientation=*/true},
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

// Those that --only names, and their floors; if `quick`, without what is for orientation.
std::vector<Series> WantedSeries(absl::string_view only, bool quick) {
  const std::vector<Series> all = AllSeries();
  const auto named = [&](const Series& series) { return absl::StrContains(series.name, only); };
  std::vector<Series> wanted;
  for (const Series& series : all) {
    const bool is_floor = std::any_of(all.begin(), all.end(), [&](const Series& other) {
      return other.floor == series.name && named(other);
    });
    if ((named(series) || is_floor) && !(quick && series.for_orientation)) wanted.push_back(series);
  }
  return wanted;
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

const Series* Find(const std::vector<Series>& all, absl::string_view name) {
  for (const Series& series : all) {
    if (series.name == name && series.status.ok() && !series.values.empty()) return &series;
  }
  return nullptr;
}

std::optional<double> MedianOf(const std::vector<Series>& all, absl::string_view name) {
  const Series* const series = Find(all, name);
  if (series == nullptr) return std::nullopt;
  return Median(series->values);
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

double Compare(Bar::Form form, double value, double against) {
  switch (form) {
    case Bar::kAtMost:
    case Bar::kAtLeast:
      break;
    case Bar::kRatioAtMost:
      return value / against;
    case Bar::kBeyondAtMost:
      return value - against;
    case Bar::kTimesLower:
      return against / value;
  }
  return value;
}

std::string Describe(const Bar& bar) {
  switch (bar.form) {
    case Bar::kAtMost:
    case Bar::kAtLeast:
      break;
    case Bar::kRatioAtMost:
      return absl::StrCat(bar.figure, " / ", bar.against);
    case Bar::kBeyondAtMost:
      return absl::StrCat(bar.figure, " - ", bar.against);
    case Bar::kTimesLower:
      return absl::StrCat(bar.against, " / ", bar.figure);
  }
  return bar.figure;
}

// A line for each bar that the measurements say something about. Figures are compared within each
// run, whose measurements follow one another, and the median of the comparisons counts.
std::string BarTable(const std::vector<Series>& all) {
  std::string lines;
  for (const Bar& bar : kBars) {
    const Series* const figure = Find(all, bar.figure);
    const Series* const against = bar.against == nullptr ? figure : Find(all, bar.against);
    if (figure == nullptr || against == nullptr) continue;
    std::vector<double> runs;
    for (size_t i = 0; i < figure->values.size(); ++i) {
      runs.push_back(Compare(bar.form, figure->values[i], against->values[i]));
    }
    const double is = Median(std::move(runs));
    const bool at_least = bar.form == Bar::kAtLeast || bar.form == Bar::kTimesLower;
    const bool met = at_least ? is >= bar.limit : is <= bar.limit;
    const bool millions = bar.limit >= 1e6;
    absl::StrAppendFormat(&lines, "%-58s %8.3f%s  %s %6.2f%s  %s\n", Describe(bar),
                          millions ? is / 1e6 : is, millions ? " M" : "  ",
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
  const absl::StatusOr<std::vector<int>> cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return cores.status();
  if (absl::GetFlag(FLAGS_runs) < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  return Options{.client_core = (*cores)[0],
                 .server_core = (*cores)[1],
                 .duration = absl::GetFlag(FLAGS_quick) ? absl::Milliseconds(100)
                                                        : absl::GetFlag(FLAGS_duration)};
}

int Main() {
  const absl::StatusOr<Options> options = MakeOptions();
  const bool quick = absl::GetFlag(FLAGS_quick);
  std::vector<Series> all = WantedSeries(absl::GetFlag(FLAGS_only), quick);
  if (!options.ok() || all.empty()) {
    std::fprintf(stderr, "rpc_frames: %s\n",
                 options.ok() ? "no figure has what --only says in its name"
                              : std::string(options.status().message()).c_str());
    return 2;
  }
  MeasureAll(quick ? 3 : absl::GetFlag(FLAGS_runs), *options, &all);
  const Report report = ToReport(all);
  std::printf("%s\n%s", report.Table().c_str(), BarTable(all).c_str());
  return report.Finish("rpc_frames", absl::GetFlag(FLAGS_json), Failed(all));
}

std::vector<PeerRole> Roles() {
  return JoinRoles({FrameRoles(), NetstackCostRoles(), RpcRoles(), floors::Roles(),
                    floors::DpdkRoles(), floors::AfxdpRoles(), floors::PacketRoles()});
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
