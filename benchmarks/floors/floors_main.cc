// SPDX-License-Identifier: Apache-2.0
//
// Prints what the raw mechanisms of this machine, and gRPC, can do.

#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/report.h"
#include "weft/core/cpu.h"

ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "one run in place of --runs: some seconds, less exact");
ABSL_FLAG(int, runs, 5, "runs of each measurement, interleaved; the median counts");

namespace weft::benchmarks::floors {
namespace {

absl::StatusOr<std::vector<int>> Cores() {
  const std::string flag = absl::GetFlag(FLAGS_cores);
  absl::StatusOr<std::vector<int>> cores = AllowedCores();
  if (!flag.empty()) cores = ParseCoreList(flag);
  if (cores.ok() && (cores->size() < 2 || (!flag.empty() && cores->size() != 2))) {
    return absl::InvalidArgumentError("client and server spin and need two cores, one each");
  }
  return cores;
}

// The runs of one floor, or why there are none.
struct Runs {
  std::vector<double> values;
  std::string unit;
  std::string detail;
  absl::Status status;
};

int Main() {
  const absl::StatusOr<std::vector<int>> cores = Cores();
  if (!cores.ok()) {
    std::fprintf(stderr, "floors: %s\n", std::string(cores.status().message()).c_str());
    return 2;
  }
  const Options options = {.client_core = (*cores)[0], .server_core = (*cores)[1]};
  const int count = absl::GetFlag(FLAGS_quick) ? 1 : absl::GetFlag(FLAGS_runs);
  std::vector<Runs> all(std::size(kAllFloors));
  for (int run = 0; run < count; ++run) {
    for (size_t i = 0; i < all.size(); ++i) {
      if (!all[i].status.ok()) continue;
      const absl::StatusOr<Figure> figure = Measure(kAllFloors[i], options);
      if (!figure.ok()) {
        all[i].status = figure.status();
        continue;
      }
      all[i].values.push_back(figure->value);
      all[i].unit = figure->unit;
      all[i].detail = figure->detail;
    }
  }

  Report report;
  bool failed = false;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string name = Name(kAllFloors[i]);
    if (all[i].status.ok()) {
      report.Add(name, all[i].unit, all[i].values);
    } else {
      report.AddMissing(name, std::string(all[i].status.message()));
      failed = failed || !absl::IsUnimplemented(all[i].status);
    }
  }
  std::printf(
      "64-byte requests between two processes, and bytes one way; client on core %d, server on "
      "core %d\n\n%s",
      options.client_core, options.server_core, report.Table().c_str());
  if (const std::string path = absl::GetFlag(FLAGS_json); !path.empty()) {
    if (const absl::Status status = report.WriteJson(path); !status.ok()) {
      std::fprintf(stderr, "floors: %s\n", std::string(status.message()).c_str());
      return 1;
    }
  }
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace weft::benchmarks::floors

int main(int argc, char** argv) {
  if (weft::benchmarks::IsPeer(argc, argv)) {
    return weft::benchmarks::RunPeer(argc, argv, weft::benchmarks::floors::Roles());
  }
  absl::SetProgramUsageMessage(
      "Measures what the raw mechanisms of this machine, and gRPC, do with 64-byte requests.");
  absl::ParseCommandLine(argc, argv);
  return weft::benchmarks::floors::Main();
}
