// SPDX-License-Identifier: Apache-2.0
//
// What a router costs and what it does for the tail, with real processes: docs/performance.md
// explains each figure, docs/router.md the policies.
//
//   router                       bars, changes and curves, some minutes
//   router --quick               the bars and one curve in less than half a minute, less exact
//   router --parts=curves --policies=jbsq,random --services=bimodal:0.9,0.5,5.5 --plot=p99.svg

#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/plot.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/routed_load.h"
#include "weft/benchmarks/router_changes.h"
#include "weft/benchmarks/router_curve.h"
#include "weft/benchmarks/runtime_directory.h"

using Words = std::vector<std::string>;

ABSL_FLAG(Words, parts, Words({"bars", "changes", "curves"}), "what to measure");
ABSL_FLAG(Words, policies, Words({"random", "round_robin", "power_of_two", "jsq", "jbsq"}),
          "of the curves");
ABSL_FLAG(std::string, service, "exponential",
          "of the curves, how long requests take: fixed, exponential or bimodal:P,SHORT,LONG");
ABSL_FLAG(absl::Duration, service_mean, absl::Milliseconds(1), "of the curves");
ABSL_FLAG(Words, loads, Words({"0.3", "0.5", "0.7", "0.8", "0.9"}),
          "of the curves: of what the servers can do");
ABSL_FLAG(int, servers, 8, "of the curves");
ABSL_FLAG(std::string, transport, "linux", "of the curves");
ABSL_FLAG(std::string, plot, "", "draw the curves into this .svg or .png, with gnuplot");
ABSL_FLAG(std::string, cores, "",
          "the load's and the router's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "3 runs of 100 ms, less curves: less than half a minute, less exact");
ABSL_FLAG(int, runs, 5, "runs of the bars, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Milliseconds(500), "of each run");
ABSL_FLAG(absl::Duration, curve_duration, absl::Seconds(4), "of each point of a curve");

namespace weft::benchmarks {
namespace {

struct Plan {
  int runs = 0;
  RpcOptions rpc;
  floors::Options floors;
  absl::Duration point;
  Words policies = {};
  std::vector<double> loads = {};
  std::string directory = {};
};

bool Wants(absl::string_view part) {
  return absl::c_linear_search(absl::GetFlag(FLAGS_parts), part);
}

absl::StatusOr<Plan> MakePlan() {
  const auto cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return cores.status();
  const bool quick = absl::GetFlag(FLAGS_quick);
  const absl::Duration duration = quick ? absl::Milliseconds(100) : absl::GetFlag(FLAGS_duration);
  Plan plan{.runs = quick ? 3 : absl::GetFlag(FLAGS_runs),
            .rpc = {(*cores)[0], (*cores)[1], duration},
            .floors = {(*cores)[0], (*cores)[1], duration},
            .point = quick ? absl::Milliseconds(600) : absl::GetFlag(FLAGS_curve_duration),
            .policies = quick ? Words{"random", "jbsq"} : absl::GetFlag(FLAGS_policies)};
  if (plan.runs < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  if (const std::string plot = absl::GetFlag(FLAGS_plot); !plot.empty()) {
    if (absl::Status status = CheckPlotPath(plot); !status.ok()) return status;
  }
  for (const std::string& word : quick ? Words{"0.5", "0.8"} : absl::GetFlag(FLAGS_loads)) {
    double load = 0;
    if (!absl::SimpleAtod(word, &load) || !(load > 0) || !(load <= 2)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--loads: '", word, "' is not a number above 0 and at most 2"));
    }
    plan.loads.push_back(load);
  }
  for (const std::string& part : absl::GetFlag(FLAGS_parts)) {
    if (part != "bars" && part != "changes" && part != "curves") {
      return absl::InvalidArgumentError(
          absl::StrCat("--parts: no '", part, "'; there are bars, changes and curves"));
    }
  }
  return plan;
}

void Say(const std::string& what) { std::fprintf(stderr, "\r\033[K%s", what.c_str()); }

// Runs of figures that belong together; the first error ends them.
struct Runs {
  std::vector<double> values;
  absl::Status status;

  void Add(const absl::StatusOr<double>& value) {
    if (!value.ok()) {
      status.Update(value.status());
    } else {
      values.push_back(*value);
    }
  }
  bool ok() const { return status.ok() && !values.empty(); }
};

void Show(const std::string& figure, const std::string& unit, const Runs& runs,
          std::optional<double> floor, Report* report, bool* failed) {
  if (runs.ok()) return report->Add(figure, unit, runs.values, floor);
  report->AddMissing(figure, std::string(runs.status.message()));
  *failed |= !absl::IsUnimplemented(runs.status);
}

// --- What a router adds and how much it can do

struct Bar {
  Runs floor;    // round trips of the mechanism: two hops
  Runs latency;  // through the router: two hops, and it
  Runs rate;     // of a core
};

absl::StatusOr<double> MeasureFloor(RoutedOver over, const floors::Options& options) {
  const auto figure = over == RoutedOver::kDpdk
                          ? floors::MeasureDpdk(floors::DpdkFloor::kLatency, options)
                          : floors::Measure(floors::Floor::kUdpSpinningLatency, options);
  if (!figure.ok()) return figure.status();
  return figure->value;
}

void MeasureBars(const Plan& plan, Report* report, Bars* bars, bool* failed) {
  constexpr RoutedOver kBoth[] = {RoutedOver::kDpdk, RoutedOver::kUdp};
  Bar measured[2];
  for (int run = 0; run < plan.runs; ++run) {
    for (size_t i = 0; i < 2; ++i) {
      Bar& bar = measured[i];
      Say(absl::StrCat("[", run + 1, "/", plan.runs, "] over ", Name(kBoth[i])));
      bar.floor.Add(MeasureFloor(kBoth[i], plan.floors));
      bar.latency.Add(MeasureRoutedLatency(kBoth[i], plan.floors));
      const auto rate = MeasureRoutedRate(kBoth[i], plan.floors);
      bar.rate.Add(rate.ok() ? absl::StatusOr<double>(rate->requests_per_core_s) : rate.status());
    }
  }
  for (size_t i = 0; i < 2; ++i) {
    const Bar& bar = measured[i];
    const bool dpdk = kBoth[i] == RoutedOver::kDpdk;
    const std::string name = absl::StrCat("routed ", Name(kBoth[i]));
    const std::string floor = dpdk ? floors::Name(floors::DpdkFloor::kLatency)
                                   : floors::Name(floors::Floor::kUdpSpinningLatency);
    Show(floor, "us", bar.floor, std::nullopt, report, failed);
    const bool comparable = bar.floor.ok() && bar.latency.ok();
    Show(name + ", client to server, p50", "us", bar.latency,
         comparable ? std::optional<double>(Median(bar.floor.values)) : std::nullopt, report,
         failed);
    Show(name + ", requests of one core", "requests/s", bar.rate, std::nullopt, report, failed);
    if (comparable) {
      bars->AtMost(absl::StrCat(name, ": above two raw hops, us"),
                   Median(bar.latency.values) - Median(bar.floor.values), dpdk ? 1 : 2);
    }
    if (bar.rate.ok()) {
      bars->AtLeast(absl::StrCat(name, ": M requests/s of one core"), Median(bar.rate.values) / 1e6,
                    dpdk ? 3 : 0.6);
    }
  }
}

// --- Changes

void MeasureChanges(const Plan& plan, Report* report, Bars* bars, bool* failed) {
  Runs detected, after, used, lost;
  double requests = 0;
  for (int run = 0; run < (plan.runs + 1) / 2; ++run) {
    Say("a server is killed and comes back");
    const auto killed = MeasureKilledServer(plan.directory, plan.rpc);
    detected.Add(killed.ok() ? absl::StatusOr<double>(killed->detected_ms) : killed.status());
    after.Add(killed.ok() ? absl::StatusOr<double>(killed->requests_after) : killed.status());
    used.Add(killed.ok() ? absl::StatusOr<double>(killed->used_again_ms) : killed.status());
    Say("the configuration changes");
    const auto reloaded = MeasureReload(plan.directory, plan.rpc);
    lost.Add(reloaded.ok() ? absl::StatusOr<double>(reloaded->failed) : reloaded.status());
    if (reloaded.ok()) requests += reloaded->requests;
  }
  const double limit_ms = 3 * absl::ToDoubleMilliseconds(kChangesKeepalive);
  Show("killed server, detected", "ms", detected, limit_ms, report, failed);
  Show("killed server, requests later", "", after, std::nullopt, report, failed);
  Show("server back, used again", "ms", used, std::nullopt, report, failed);
  Show(absl::StrCat("reloads and drains, failed requests of ", std::llround(requests)), "", lost,
       std::nullopt, report, failed);
  if (detected.ok()) {
    bars->AtMost("killed server: detected, of its keepalive",
                 Median(detected.values) / absl::ToDoubleMilliseconds(kChangesKeepalive), 3);
    bars->AtMost("killed server: requests after that", absl::c_accumulate(after.values, 0.0), 0);
    bars->AtMost("server back: used again, s", Median(used.values) / 1e3, 1);
  }
  if (lost.ok()) {
    bars->AtMost("reloads and drains: failed requests", absl::c_accumulate(lost.values, 0.0), 0);
  }
}

// --- Curves

absl::StatusOr<std::vector<CurvePoint>> MeasureCurve(const std::string& policy, const Plan& plan) {
  const RoutedServers::Options options = {
      .transport = absl::GetFlag(FLAGS_transport),
      .policy = policy,
      .servers = static_cast<size_t>(std::max(absl::GetFlag(FLAGS_servers), 1)),
      .service = absl::GetFlag(FLAGS_service),
      .service_mean = absl::GetFlag(FLAGS_service_mean),
      .lifetime = absl::Minutes(1) + 2 * plan.point * static_cast<double>(plan.loads.size())};
  const auto routed = RoutedServers::Start(options, plan.rpc);
  if (!routed.ok()) return routed.status();
  std::vector<CurvePoint> points;
  for (const double load : plan.loads) {
    Say(absl::StrCat("policy ", policy, " at load ", load));
    RpcOptions rpc = plan.rpc;
    rpc.duration = plan.point;
    const auto point = (*routed)->Measure(load, rpc);
    if (!point.ok()) return point.status();
    points.push_back(*point);
  }
  return points;
}

std::string MeasureCurves(const Plan& plan, Report* report, bool* failed) {
  std::string table = absl::StrFormat(
      "\n%d servers, %s service of %s on average, over %s:\n%-14s %5s %10s %10s %10s %12s %15s "
      "%9s %7s\n",
      absl::GetFlag(FLAGS_servers), absl::GetFlag(FLAGS_service),
      absl::FormatDuration(absl::GetFlag(FLAGS_service_mean)), absl::GetFlag(FLAGS_transport),
      "policy", "load", "p50 us", "p99 us", "p99.9 us", "replies/s", "each server/s", "refused %",
      "failed");
  std::vector<PlotSeries> series;
  for (const std::string& policy : plan.policies) {
    const auto points = MeasureCurve(policy, plan);
    if (!points.ok()) {
      absl::StrAppendFormat(&table, "%-14s %s\n", policy, points.status().message());
      *failed = true;
      continue;
    }
    PlotSeries& line = series.emplace_back();
    line.name = policy;
    for (const CurvePoint& point : *points) {
      absl::StrAppendFormat(
          &table, "%-14s %5.2f %10.0f %10.0f %10.0f %12.0f %15s %9.2f %7.0f\n", policy, point.load,
          point.p50_us, point.p99_us, point.p999_us, point.replies_per_s,
          absl::StrFormat("%.0f .. %.0f", point.server_per_s_min, point.server_per_s_max),
          point.refused_percent, point.failed);
      line.points.emplace_back(point.load, point.p99_us);
      report->Add(absl::StrFormat("routed %s, load %.2f, p99", policy, point.load), "us",
                  {point.p99_us});
    }
  }
  const std::string plot = absl::GetFlag(FLAGS_plot);
  if (plot.empty()) return table;
  const absl::Status drawn =
      DrawPlot(plot,
               {.title = absl::StrCat(absl::GetFlag(FLAGS_servers), " servers, ",
                                      absl::GetFlag(FLAGS_service), " service of ",
                                      absl::FormatDuration(absl::GetFlag(FLAGS_service_mean))),
                .x = "load",
                .y = "p99 (us)"},
               series);
  return absl::StrCat(table, drawn.ok() ? absl::StrCat("drawn: ", plot, "\n")
                                        : absl::StrCat(drawn.message(), "\n"));
}

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "router: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

int Main() {
  absl::StatusOr<Plan> plan = MakePlan();
  if (!plan.ok()) return Fail(plan.status(), 2);
  const absl::StatusOr<std::unique_ptr<RuntimeDirectory>> directory = RuntimeDirectory::Make();
  if (!directory.ok()) return Fail(directory.status(), 1);
  plan->directory = (*directory)->path();
  Report report;
  Bars bars;
  bool failed = false;
  if (Wants("bars")) MeasureBars(*plan, &report, &bars, &failed);
  if (Wants("changes")) MeasureChanges(*plan, &report, &bars, &failed);
  const std::string shown = report.Table();  // curves have a table of their own
  const std::string curves = Wants("curves") ? MeasureCurves(*plan, &report, &failed) : "";
  Say("");
  std::printf("load on core %d, router on core %d, medians of %d runs of %s\n\n%s\n%s%s",
              plan->rpc.client_core, plan->rpc.server_core, plan->runs,
              absl::FormatDuration(plan->rpc.duration).c_str(), shown.c_str(), bars.Table().c_str(),
              curves.c_str());
  return report.Finish("router", absl::GetFlag(FLAGS_json), failed);
}

std::vector<PeerRole> Roles() {
  return JoinRoles(
      {RoutedRoles(), CurveRoles(), ChangesRoles(), floors::Roles(), floors::DpdkRoles()});
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures what a router costs and what it does for the tail; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
