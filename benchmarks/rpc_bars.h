// SPDX-License-Identifier: Apache-2.0
//
// What rpc_echo has measured, and the bars that it is held to (docs/performance.md).

#ifndef WEFT_BENCHMARKS_RPC_BARS_H_
#define WEFT_BENCHMARKS_RPC_BARS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/benchmarks/bulk_workload.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/footprint.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

// The workloads that bars are about.
std::vector<RpcWorkload> BarWorkloads();
std::vector<BulkWorkload> BarBulkWorkloads();

class Figures {
 public:
  explicit Figures(const std::vector<RpcWorkload>& workloads,
                   const std::vector<BulkWorkload>& bulk_workloads = {});

  // Floors to measure beside the workloads; always with the ring's, which tells how far apart the
  // two cores are.
  const std::vector<floors::Floor>& floors() const { return floors_; }

  // Whether another run makes sense: none has failed.
  bool wants(size_t workload) const { return series_[workload].status.ok(); }
  bool wants_bulk(size_t workload) const { return bulk_series_[workload].status.ok(); }
  bool wants(floors::Floor floor) const;

  // Add a run.
  void Add(size_t workload, const absl::StatusOr<RpcResult>& result);
  void AddBulk(size_t workload, const absl::StatusOr<double>& gb_per_s);
  void Add(floors::Floor floor, const absl::StatusOr<floors::Figure>& figure);
  void AddFootprint(const std::string& transport, const absl::StatusOr<Footprint>& footprint);

  // Whether anything went wrong; gRPC that is not installed is not wrong.
  bool failed() const;

  Report ToReport() const;

  // A line for each bar that the measurements say something about: what is, the bar, the verdict.
  std::string BarTable() const;

 private:
  struct Series {
    RpcWorkload workload;
    std::vector<double> p50_us;
    std::vector<double> p99_us;
    std::vector<double> replies_per_s;
    absl::Status status;
  };
  struct BulkSeries {
    BulkWorkload workload;
    std::vector<double> gb_per_s;
    absl::Status status;
  };
  struct FloorSeries {
    std::vector<double> values;
    std::string unit;
    absl::Status status;
  };

  // Measures `floor` too.
  void Want(floors::Floor floor);
  const Series* Find(const std::string& workload) const;  // null if it is not there or failed
  // The same workload in the original format; null for one that is in that itself.
  const Series* OriginalOf(const Series& series) const;
  std::optional<double> MedianOf(floors::Floor floor) const;
  void AddFloorBars(Bars* bars) const;
  void AddWireBars(Bars* bars) const;
  void AddBulkBars(Bars* bars) const;
  void ReportSeries(const Series& series, Report* report) const;
  // A row for the figure with its floor, and one more for each further floor that a bar names.
  void ReportMain(const Series& series, Report* report) const;

  std::vector<Series> series_;
  std::vector<BulkSeries> bulk_series_;
  std::vector<floors::Floor> floors_;
  std::map<floors::Floor, FloorSeries> floor_series_;
  std::map<std::string, absl::StatusOr<Footprint>> footprints_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_RPC_BARS_H_
