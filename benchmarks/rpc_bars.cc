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
// The extended format against the original one, in the same run.
constexpr double kExtendedLatencyMax = 1.1;
constexpr double kExtendedThroughputMin = 0.9;

struct BulkBar {
  const char* transport;
  Floor floor;
  double at_least;
};
constexpr BulkBar kBulkBars[] = {
    {"shm", Floor::kMemcpyBandwidth, 0.5},
    {"linux", Floor::kUdpSegmentedBandwidth, 0.7},
};

constexpr double kIdleCpuPercentMax = 1;
constexpr double kResidentMibMax = 20;

bool IsLatency(const RpcWorkload& workload) {
  return workload.outstanding == 1 && workload.rate == 0;
}

const BulkBar* BarOf(const BulkWorkload& workload) {
  for (const BulkBar& bar : kBulkBars) {
    if (workload.transport == bar.transport) return &bar;
  }
  return nullptr;
}

}  // namespace

std::vector<RpcWorkload> BarWorkloads() {
  std::vector<RpcWorkload> workloads;
  for (const char* transport : {"linux", "shm"}) {
    for (const uint64_t outstanding : {1, floors::kThroughputOutstanding}) {
      // The two formats right after one another, as they are compared.
      for (const char* wire : {"original", "extended"}) {
        workloads.push_back({.transport = transport, .outstanding = outstanding, .wire = wire});
      }
    }
  }
  workloads.push_back({.transport = "linux", .mode = "sleep"});
  return workloads;
}

std::vector<BulkWorkload> BarBulkWorkloads() {
  std::vector<BulkWorkload> workloads;
  for (const BulkBar& bar : kBulkBars) {
    for (const auto direction :
         {BulkWorkload::Direction::kRequests, BulkWorkload::Direction::kReplies}) {
      workloads.push_back({.transport = bar.transport, .direction = direction});
    }
  }
  return workloads;
}

Figures::Figures(const std::vector<RpcWorkload>& workloads,
                 const std::vector<BulkWorkload>& bulk_workloads)
    : floors_{Floor::kRingLatency} {
  for (const RpcWorkload& workload : workloads) {
    series_.emplace_back().workload = workload;
    for (const Bar& bar : kBars) {
      if (workload.Name() == bar.workload) Want(bar.floor);
    }
  }
  for (const BulkWorkload& workload : bulk_workloads) {
    bulk_series_.emplace_back().workload = workload;
    if (const BulkBar* const bar = BarOf(workload)) Want(bar->floor);
  }
}

void Figures::Want(Floor floor) {
  if (std::find(floors_.begin(), floors_.end(), floor) == floors_.end()) floors_.push_back(floor);
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

void Figures::AddBulk(size_t workload, const absl::StatusOr<double>& gb_per_s) {
  BulkSeries& series = bulk_series_[workload];
  series.status = gb_per_s.status();
  if (gb_per_s.ok()) series.gb_per_s.push_back(*gb_per_s);
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
         std::any_of(bulk_series_.begin(), bulk_series_.end(),
                     [](const BulkSeries& series) { return !series.status.ok(); }) ||
         std::any_of(floor_series_.begin(), floor_series_.end(),
                     [](const auto& floor) {
                       return !floor.second.status.ok() &&
                              !absl::IsUnimplemented(floor.second.status);
                     }) ||
         std::any_of(footprints_.begin(), footprints_.end(),
                     [](const auto& footprint) { return !footprint.second.ok(); });
}

const Figures::Series* Figures::Find(const std::string& workload) const {
  for (const Series& series : series_) {
    if (series.workload.Name() == workload && series.status.ok()) return &series;
  }
  return nullptr;
}

const Figures::Series* Figures::OriginalOf(const Series& series) const {
  RpcWorkload original = series.workload;
  original.wire = RpcWorkload().wire;
  return original.wire == series.workload.wire ? nullptr : Find(original.Name());
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
  if (reported) return;
  std::optional<double> floor;
  if (const Series* const original = OriginalOf(series)) {
    floor = Median(latency ? original->p50_us : original->replies_per_s);
  }
  report->Add(figure, unit, runs, floor);
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
  for (const BulkSeries& series : bulk_series_) {
    const std::string name = series.workload.Name();
    if (!series.status.ok()) {
      report.AddMissing(name, std::string(series.status.message()));
      continue;
    }
    const BulkBar* const bar = BarOf(series.workload);
    report.Add(name, "GB/s", series.gb_per_s, bar != nullptr ? MedianOf(bar->floor) : std::nullopt);
  }
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

void Figures::AddFloorBars(Bars* bars) const {
  for (const Bar& bar : kBars) {
    const Series* const series = Find(bar.workload);
    const std::optional<double> floor = MedianOf(bar.floor);
    if (series == nullptr || !floor.has_value()) continue;
    const bool latency = IsLatency(series->workload);
    const double is = Median(latency ? series->p50_us : series->replies_per_s);
    const std::string figure = latency ? absl::StrCat(bar.workload, ", p50") : bar.workload;
    const std::string name = floors::Name(bar.floor);
    switch (bar.form) {
      case Bar::kAtMost:
        bars->AtMost(absl::StrCat(figure, " / ", name), is / *floor, bar.limit);
        break;
      case Bar::kAtLeast:
        bars->AtLeast(absl::StrCat(figure, " / ", name), is / *floor, bar.limit);
        break;
      case Bar::kTimesLower:
        bars->AtLeast(absl::StrCat(name, " / ", figure), *floor / is, bar.limit);
        break;
    }
  }
}

void Figures::AddWireBars(Bars* bars) const {
  for (const Series& series : series_) {
    const Series* const original = OriginalOf(series);
    if (original == nullptr || !series.status.ok() || series.workload.rate != 0) continue;
    const std::string what =
        absl::StrCat(series.workload.Name(), IsLatency(series.workload) ? ", p50" : "", " / ",
                     original->workload.Name());
    if (IsLatency(series.workload)) {
      bars->AtMost(what, MedianRatio(series.p50_us, original->p50_us), kExtendedLatencyMax);
    } else {
      bars->AtLeast(what, MedianRatio(series.replies_per_s, original->replies_per_s),
                    kExtendedThroughputMin);
    }
  }
}

void Figures::AddBulkBars(Bars* bars) const {
  for (const BulkSeries& series : bulk_series_) {
    const BulkBar* const bar = BarOf(series.workload);
    if (bar == nullptr || !series.status.ok()) continue;
    const auto floor = floor_series_.find(bar->floor);
    if (floor == floor_series_.end() || !floor->second.status.ok()) continue;
    bars->AtLeast(absl::StrCat(series.workload.Name(), " / ", floors::Name(bar->floor)),
                  MedianRatio(series.gb_per_s, floor->second.values), bar->at_least);
  }
}

std::string Figures::BarTable() const {
  Bars bars;
  AddFloorBars(&bars);
  AddWireBars(&bars);
  AddBulkBars(&bars);
  for (const auto& [transport, footprint] : footprints_) {
    if (!footprint.ok()) continue;
    const std::string name = absl::StrCat("echo server ", transport);
    bars.AtMost(name + ", idle CPU, %", footprint->idle_cpu_percent, kIdleCpuPercentMax);
    bars.AtMost(name + ", resident memory, MiB", footprint->resident_mib, kResidentMibMax);
  }
  return bars.Table();
}

}  // namespace weft::benchmarks
