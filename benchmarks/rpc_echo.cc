// SPDX-License-Identifier: Apache-2.0
//
// How fast weft's RPC is, beside the mechanisms under it and gRPC, measured in the same run:
// docs/performance.md explains each figure.
//
//   rpc_echo                                        every bar, and some more
//   rpc_echo --quick                                the bars alone, in less than half a minute
//   rpc_echo --transports=linux,shm --modes=busy --sizes=64,1024 --outstanding=1,32
//   rpc_echo --transports=linux --wires=original,extended
//   rpc_echo --transports=linux --rates=10000,100000   open loop

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/bulk_workload.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/footprint.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/rpc_bars.h"
#include "weft/benchmarks/rpc_workload.h"
#include "weft/benchmarks/runtime_directory.h"

using Words = std::vector<std::string>;

ABSL_FLAG(Words, transports, {}, "measure these, such as linux,shm, instead of the bars");
ABSL_FLAG(Words, modes, {"busy"}, "how both loops wait: busy, adaptive, sleep");
ABSL_FLAG(Words, wires, {"original"}, "the format: original, extended");
ABSL_FLAG(Words, sizes, {"64"}, "bytes of a request and of its reply");
ABSL_FLAG(Words, outstanding, {"1"}, "requests in flight; with --rates, 1024 at most");
ABSL_FLAG(Words, rates, {"0"}, "requests a second; 0: as fast as replies come");
ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "3 runs of 100 ms: less than half a minute, less exact");
ABSL_FLAG(int, runs, 5, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Milliseconds(500), "of each run");

namespace weft::benchmarks {
namespace {

constexpr uint64_t kOpenLoopOutstanding = 1024;

struct Plan {
  std::vector<RpcWorkload> workloads;
  std::vector<BulkWorkload> bulk_workloads;
  bool footprint = false;
  int runs = 0;
  RpcOptions rpc;
  floors::Options floors;
  absl::Duration idle;
};

absl::StatusOr<std::vector<uint64_t>> Numbers(absl::string_view flag, const Words& words) {
  std::vector<uint64_t> numbers(words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    if (!absl::SimpleAtoi(words[i], &numbers[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, ": '", words[i], "' is not a whole number"));
    }
  }
  return numbers;
}

// Every combination that the flags ask for.
absl::StatusOr<std::vector<RpcWorkload>> Grid() {
  const auto sizes = Numbers("sizes", absl::GetFlag(FLAGS_sizes));
  const auto outstanding = Numbers("outstanding", absl::GetFlag(FLAGS_outstanding));
  const auto rates = Numbers("rates", absl::GetFlag(FLAGS_rates));
  for (const auto* numbers : {&sizes, &outstanding, &rates}) {
    if (!numbers->ok()) return numbers->status();
  }
  std::vector<RpcWorkload> grid;
  for (const std::string& transport : absl::GetFlag(FLAGS_transports)) {
    for (const std::string& mode : absl::GetFlag(FLAGS_modes)) {
      for (const uint64_t size : *sizes) {
        for (const uint64_t rate : *rates) {
          // In an open loop it is only a limit.
          const std::vector<uint64_t> limit = {kOpenLoopOutstanding};
          for (const uint64_t n : rate > 0 ? limit : *outstanding) {
            for (const std::string& wire : absl::GetFlag(FLAGS_wires)) {
              grid.push_back({transport, mode, size, n, rate, wire});
            }
          }
        }
      }
    }
  }
  return grid;
}

// What the bars are about and, unless it must be quick, some figures for orientation.
std::vector<RpcWorkload> DefaultWorkloads(bool quick) {
  std::vector<RpcWorkload> workloads = BarWorkloads();
  if (quick) return workloads;
  workloads.push_back({.transport = "linux", .mode = "adaptive"});
  workloads.push_back({.transport = "linux", .request_bytes = 16384});
  workloads.push_back({.transport = "linux", .outstanding = kOpenLoopOutstanding, .rate = 100'000});
  workloads.push_back({.transport = "shm", .mode = "sleep"});
  workloads.push_back({.transport = "shm", .request_bytes = 16384});
  workloads.push_back({.transport = "shm", .outstanding = kOpenLoopOutstanding, .rate = 500'000});
  return workloads;
}

absl::StatusOr<Plan> MakePlan() {
  const absl::StatusOr<std::vector<int>> cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return cores.status();
  const bool quick = absl::GetFlag(FLAGS_quick);
  const absl::Duration duration = quick ? absl::Milliseconds(100) : absl::GetFlag(FLAGS_duration);
  Plan plan;
  plan.runs = quick ? 3 : absl::GetFlag(FLAGS_runs);
  plan.rpc = {(*cores)[0], (*cores)[1], duration};
  plan.floors = {(*cores)[0], (*cores)[1], duration};
  plan.idle = quick ? absl::Seconds(1) : absl::Seconds(5);
  if (plan.runs < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  if (absl::GetFlag(FLAGS_transports).empty()) {
    plan.footprint = true;
    plan.workloads = DefaultWorkloads(quick);
    plan.bulk_workloads = BarBulkWorkloads();
    return plan;
  }
  absl::StatusOr<std::vector<RpcWorkload>> grid = Grid();
  if (!grid.ok()) return grid.status();
  plan.workloads = *std::move(grid);
  return plan;
}

// A progress line, as the whole takes its time.
void Say(int run, int runs, const std::string& what) {
  std::fprintf(stderr, "\r\033[K[%d/%d] %s", run + 1, runs, what.c_str());
}

Figures MeasureAll(const Plan& plan) {
  Figures figures(plan.workloads, plan.bulk_workloads);
  for (int run = 0; run < plan.runs; ++run) {
    // Whatever the machine does meanwhile, it does to all.
    for (const floors::Floor floor : figures.floors()) {
      Say(run, plan.runs, floors::Name(floor));
      if (figures.wants(floor)) figures.Add(floor, floors::Measure(floor, plan.floors));
    }
    for (size_t i = 0; i < plan.workloads.size(); ++i) {
      Say(run, plan.runs, plan.workloads[i].Name());
      if (figures.wants(i)) figures.Add(i, MeasureRpc(plan.workloads[i], plan.rpc));
    }
    for (size_t i = 0; i < plan.bulk_workloads.size(); ++i) {
      Say(run, plan.runs, plan.bulk_workloads[i].Name());
      if (figures.wants_bulk(i)) figures.AddBulk(i, MeasureBulk(plan.bulk_workloads[i], plan.rpc));
    }
  }
  if (plan.footprint) {
    for (const char* transport : {"linux", "shm"}) {
      Say(plan.runs - 1, plan.runs, "idle echo server");
      figures.AddFootprint(transport, MeasureFootprint(transport, plan.idle, plan.rpc));
    }
  }
  std::fprintf(stderr, "\r\033[K");
  return figures;
}

int Main() {
  const absl::StatusOr<Plan> plan = MakePlan();
  if (!plan.ok()) {
    std::fprintf(stderr, "rpc_echo: %s\n", std::string(plan.status().message()).c_str());
    return 2;
  }
  const absl::StatusOr<std::unique_ptr<RuntimeDirectory>> directory = RuntimeDirectory::Make();
  if (!directory.ok()) {
    std::fprintf(stderr, "rpc_echo: %s\n", std::string(directory.status().message()).c_str());
    return 1;
  }

  const Figures figures = MeasureAll(*plan);
  const Report report = figures.ToReport();
  std::printf("client on core %d, server on core %d, medians of %d runs of %s\n\n%s\n%s",
              plan->rpc.client_core, plan->rpc.server_core, plan->runs,
              absl::FormatDuration(plan->rpc.duration).c_str(), report.Table().c_str(),
              figures.BarTable().c_str());
  return report.Finish("rpc_echo", absl::GetFlag(FLAGS_json), figures.failed());
}

std::vector<PeerRole> Roles() {
  return JoinRoles({RpcRoles(), BulkRoles(), FootprintRoles(), floors::Roles()});
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures weft's RPC beside the mechanisms under it and gRPC; docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
