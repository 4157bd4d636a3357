// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/rpc_bars.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace weft::benchmarks {
namespace {

using floors::Floor;

// A figure against a floor. The figure is the median latency of a workload with one request
// outstanding, else its throughput.
struct Bar {
  const char* workload;  // RpcWorkload::Name()
  Floor floor;
  enum Form { kAtMost, kAtLeast, kTimesLower } form;  // kTimesLower: floor / figure, at least
  double limit;
};

constexpr Bar kBars[] = {
    {"rpc linux busy", Floor::kUdpSpinningLatency, Bar::kAtMost, 1.15},
    {"rpc linux sleep", Floor::kUdpBlockingLatency, Bar::kAtMost, 1.15},
    {"rpc linux busy, 32 outstanding", Floor::kUdpSpinningThroughput, Bar::kAtLeast, 3},
    {"rpc linux busy", Floor::kGrpcLatency, Bar::kTimesLower, 8},
    {"rpc linux busy, 32 outstanding", Floor::kGrpcThroughput, Bar::kAtLeast, 10},
    {"rpc shm busy", Floor::kRingLatency, Bar::kAtMost, 4},
    {"rpc shm busy, 32 outstanding", Floor::kRingThroughput, Bar::kAtLeast, 0.3},
};
constexpr double kIdleCpuPercentMax = 1;
constexpr double kResidentMibMax = 20;

bool IsLatency(const RpcWorkload& workload) {
  return workload.outstanding == 1 && workload.rate == 0;
}

}  // namespace

std::vector<RpcWorkload> BarWorkloads() {
  return {{.transport = "linux"},
          {.transport = "linux", .outstanding = floors::kThroughputOutstanding},
          {.transport = "linux", .mode = "sleep"},
          {.transport = "shm"},
          {.transport = "shm", .outstanding = floors::kThroughputOutstanding}};
}

Figures::Figures(const std::vector<RpcWorkload>& workloads) : floors_{Floor::kRingLatency} {
  for (const RpcWorkload& workload : workloads) {
    series_.emplace_back().workload = workload;
    for (const Bar& bar : kBars) {
      if (workload.Name() == bar.workload &&
          std::find(floors_.begin(), floors_.end(), bar.floor) == floors_.end()) {
        floors_.push_back(bar.floor);
      }
    }
  }
}

bool Figures::wants(Floor floor) const {
  const auto found = floor_series_.find(floor);
  return found == floor_series_.end() || found->second.status.ok();
}

void Figures::Add(size_t workload, const absl::StatusOr<RpcResult>& result) {
  Series& series = series_[workload];
  series.status = result.status();
  if (!result.ok()) return;
  series.p50_us.push_back(result->p50_us);
  series.p99_us.push_back(result->p99_us);
  series.replies_per_s.push_back(result->replies_per_s);
}

void Figures::Add(Floor floor, const absl::StatusOr<floors::Figure>& figure) {
  FloorSeries& series = floor_series_[floor];
  series.status = figure.status();
  if (!figure.ok()) return;
  series.values.push_back(figure->value);
  series.unit = figure->unit;
}

void Figures::AddFootprint(const std::string& transport,
                           const absl::StatusOr<Footprint>& footprint) {
  footprints_.emplace(transport, footprint);
}

bool Figures::failed() const {
  return std::any_of(series_.begin(), series_.end(),
                     [](const Series& series) { return !series.status.ok(); }) ||
         std::any_of(floor_series_.begin(), floor_series_.end(),
                     [](const auto& floor) {
                       return !floor.second.status.ok() &&
                              !absl::IsUnimplemented(floor.second.status);
                     }) ||
         std::any_of(footprints_.begin(), footprints_.end(),
                     [](const auto& footprint) { return !footprint.second.ok(); });
}

std::optional<double> Figures::MedianOf(Floor floor) const {
  const auto found = floor_series_.find(floor);
  if (found == floor_series_.end() || !found->second.status.ok()) return std::nullopt;
  return Median(found->second.values);
}

void Figures::ReportMain(const Series& series, Report* report) const {
  const std::string name = series.workload.Name();
  const bool latency = IsLatency(series.workload);
  const std::string figure = latency ? name + ", p50" : name;
  const char* const unit = latency ? "us" : "requests/s";
  const std::vector<double>& runs = latency ? series.p50_us : series.replies_per_s;
  bool reported = false;
  for (const Bar& bar : kBars) {
    if (name != bar.workload) continue;
    const std::optional<double> floor = MedianOf(bar.floor);
    if (!reported) {
      report->Add(figure, unit, runs, floor);
    } else if (floor.has_value()) {
      report->Add(absl::StrCat(figure, ", against gRPC"), unit, runs, floor);
    }
    reported = true;
  }
  if (!reported) report->Add(figure, unit, runs);
}

void Figures::ReportSeries(const Series& series, Report* report) const {
  const std::string name = series.workload.Name();
  if (!series.status.ok()) {
    report->AddMissing(name, std::string(series.status.message()));
    return;
  }
  ReportMain(series, report);
  if (series.workload.rate != 0) report->Add(name + ", p50", "us", series.p50_us);
  report->Add(name + ", p99", "us", series.p99_us);
}

Report Figures::ToReport() const {
  Report report;
  for (const Floor floor : floors_) {
    const auto found = floor_series_.find(floor);
    if (found == floor_series_.end()) continue;
    const FloorSeries& series = found->second;
    if (series.status.ok()) {
      report.Add(floors::Name(floor), series.unit, series.values);
    } else {
      report.AddMissing(floors::Name(floor), std::string(series.status.message()));
    }
  }
  for (const Series& series : series_) ReportSeries(series, &report);
  for (const auto& [transport, footprint] : footprints_) {
    const std::string name = absl::StrCat("echo server ", transport);
    if (!footprint.ok()) {
      report.AddMissing(name, std::string(footprint.status().message()));
      continue;
    }
    report.Add(name + ", idle CPU", "%", {footprint->idle_cpu_percent});
    report.Add(name + ", resident memory", "MiB", {footprint->resident_mib});
  }
  return report;
}

std::string Figures::BarTable() const {
  std::string lines;
  for (const Bar& bar : kBars) {
    const auto series = std::find_if(series_.begin(), series_.end(), [&bar](const Series& s) {
      return s.workload.Name() == bar.workload && s.status.ok();
    });
    const std::optional<double> floor = MedianOf(bar.floor);
    if (series == series_.end() || !floor.has_value()) continue;
    const bool latency = IsLatency(series->workload);
    const double is = Median(latency ? series->p50_us : series->replies_per_s);
    const std::string figure = latency ? absl::StrCat(bar.workload, ", p50") : bar.workload;
    const bool inverse = bar.form == Bar::kTimesLower;
    absl::StrAppend(
        &lines, BarLine(inverse ? absl::StrCat(floors::Name(bar.floor), " / ", figure)
                                : absl::StrCat(figure, " / ", floors::Name(bar.floor)),
                        inverse ? *floor / is : is / *floor, bar.form == Bar::kAtMost, bar.limit));
  }
  for (const auto& [transport, footprint] : footprints_) {
    if (!footprint.ok()) continue;
    const std::string name = absl::StrCat("echo server ", transport);
    absl::StrAppend(
        &lines,
        BarLine(name + ", idle CPU, %", footprint->idle_cpu_percent, true, kIdleCpuPercentMax),
        BarLine(name + ", resident memory, MiB", footprint->resident_mib, true, kResidentMibMax));
  }
  if (lines.empty()) return "";
  return absl::StrFormat("%-72s %8s  %8s\n%s", "bar", "is", "asked", lines);
}

}  // namespace weft::benchmarks
