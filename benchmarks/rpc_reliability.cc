// SPDX-License-Identifier: Apache-2.0
//
// How weft's RPC does when things are not as they should be: too much load, lost packets, very many
// sessions, peers that die. docs/performance.md explains each figure.
//
//   rpc_reliability                         everything, about two minutes
//   rpc_reliability --quick                 less of everything, less than half a minute
//   rpc_reliability --only=loss,death --transports=linux

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/death_workload.h"
#include "weft/benchmarks/overload_workload.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/rpc_workload.h"
#include "weft/benchmarks/runtime_directory.h"
#include "weft/benchmarks/session_workload.h"

using Words = std::vector<std::string>;

ABSL_FLAG(Words, transports, (Words{"linux", "shm"}), "to measure over");
ABSL_FLAG(Words, only, {}, "these alone of overload, loss, active, death, idle");
ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "one run of 200 ms and fewer idle sessions: less exact");
ABSL_FLAG(int, runs, 3, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(1), "of each run");
ABSL_FLAG(uint64_t, active_sessions, 20'000, "sessions that are all in use");
ABSL_FLAG(uint64_t, idle_sessions, 100'000, "sessions that are not; --quick: a tenth");

namespace weft::benchmarks {
namespace {

constexpr double kOverloadGoodputMin = 0.95;
constexpr double kLoss = 0.01;
constexpr double kLossP50Max = 1.05;
constexpr double kRtoFloorUs = 200;
constexpr double kActiveSessionsMin = 0.9;
constexpr size_t kFewSessions = 20;
constexpr double kIdleBytesMax = 1024;
constexpr double kDeathTimeoutsMax = 2;

// Values by name, in the order in which names first came.
class Collector {
 public:
  void Add(const std::string& figure, const std::string& unit, double value) {
    Series& series = Find(figures_, figure);
    series.unit = unit;
    series.values.push_back(value);
  }
  void AtMost(const std::string& bar, double is, double limit) { AddBar(bar, is, limit, true); }
  void AtLeast(const std::string& bar, double is, double limit) { AddBar(bar, is, limit, false); }
  void Fail(const std::string& figure, const absl::Status& status) {
    failed_ = true;
    Series& series = Find(figures_, figure);
    if (series.missing.empty()) series.missing = std::string(status.message());
  }
  bool failed() const { return failed_; }

  Report ToReport() const {
    Report report;
    for (const Series& series : figures_) {
      if (!series.missing.empty()) {
        report.AddMissing(series.name, series.missing);
      } else {
        report.Add(series.name, series.unit, series.values);
      }
    }
    return report;
  }
  // Of each bar, the median of what it was in each run.
  std::string BarTable() const {
    Bars bars;
    for (const Series& series : bars_) {
      const double is = Median(series.values);
      series.at_most ? bars.AtMost(series.name, is, series.limit)
                     : bars.AtLeast(series.name, is, series.limit);
    }
    return bars.Table();
  }

 private:
  struct Series {
    std::string name;
    std::string unit = "";
    std::vector<double> values = {};
    std::string missing = "";  // why a run failed
    double limit = 0;          // of a bar
    bool at_most = false;
  };

  static Series& Find(std::vector<Series>& all, const std::string& name) {
    for (Series& series : all) {
      if (series.name == name) return series;
    }
    return all.emplace_back(Series{.name = name});
  }
  void AddBar(const std::string& bar, double is, double limit, bool at_most) {
    Series& series = Find(bars_, bar);
    series.limit = limit;
    series.at_most = at_most;
    series.values.push_back(is);
  }

  std::vector<Series> figures_;
  std::vector<Series> bars_;
  bool failed_ = false;
};

void MeasureOverload(const std::string& transport, const RpcOptions& options, Collector* all) {
  const std::string name = absl::StrCat("overload ", transport);
  const absl::StatusOr<double> saturation = MeasureGoodput({.transport = transport}, options);
  if (!saturation.ok()) return all->Fail(name, saturation.status());
  all->Add(name + ", goodput at saturation", "replies/s", *saturation);
  for (const int times : {1, 2, 4}) {
    const std::string figure = absl::StrCat(name, ", goodput at ", times, " x that load");
    const absl::StatusOr<double> goodput =
        MeasureGoodput({.transport = transport, .rate_per_s = times * *saturation}, options);
    if (!goodput.ok()) return all->Fail(figure, goodput.status());
    all->Add(figure, "replies/s", *goodput);
    if (times != 2) continue;
    all->AtLeast(figure + " / at saturation", *goodput / *saturation, kOverloadGoodputMin);
  }
}

void MeasureLoss(const std::string& transport, const RpcOptions& options, Collector* all) {
  RpcWorkload workload = {.transport = transport, .wire = "extended", .loss = 0};
  const std::string name = workload.Name();
  const absl::StatusOr<RpcResult> without = MeasureRpc(workload, options);
  if (!without.ok()) return all->Fail(name, without.status());
  workload.loss = kLoss;
  const std::string lossy = workload.Name();
  const absl::StatusOr<RpcResult> with = MeasureRpc(workload, options);
  if (!with.ok()) return all->Fail(lossy, with.status());
  all->Add(name + ", p50", "us", without->p50_us);
  all->Add(name + ", p99", "us", without->p99_us);
  all->Add(lossy + ", p50", "us", with->p50_us);
  all->Add(lossy + ", p99", "us", with->p99_us);
  all->AtMost(lossy + ", p50 / 0 % lost", with->p50_us / without->p50_us, kLossP50Max);
  all->AtMost(absl::StrCat(lossy, ", p99 / (3 x p50 of 0 % lost + 200 us)"),
              with->p99_us / (3 * without->p50_us + kRtoFloorUs), 1);
}

void MeasureActive(const std::string& transport, const RpcOptions& options, Collector* all) {
  const uint64_t many = absl::GetFlag(FLAGS_active_sessions);
  double rates[2];
  std::string names[2];
  const size_t counts[2] = {kFewSessions, static_cast<size_t>(many)};
  for (int i = 0; i < 2; ++i) {
    names[i] = absl::StrCat(counts[i], " active sessions ", transport);
    const absl::StatusOr<double> rate = MeasureActiveSessions(
        {.transport = transport, .sessions = counts[i], .outstanding = kFewSessions}, options);
    if (!rate.ok()) return all->Fail(names[i], rate.status());
    all->Add(names[i], "requests/s", *rate);
    rates[i] = *rate;
  }
  all->AtLeast(absl::StrCat(names[1], " / ", kFewSessions), rates[1] / rates[0],
               kActiveSessionsMin);
}

void MeasureDeaths(const std::string& transport, const RpcOptions& options, Collector* all) {
  for (const auto victim : {DeathWorkload::Victim::kServer, DeathWorkload::Victim::kClient}) {
    DeathWorkload workload = {.transport = transport, .victim = victim};
    // On a busy machine, who is silent for half a second may only wait for a processor.
    if (absl::GetFlag(FLAGS_quick)) workload.timeout = absl::Seconds(3);
    const bool server = victim == DeathWorkload::Victim::kServer;
    const std::string name = absl::StrCat(server ? "server" : "client", " killed ", transport);
    const absl::StatusOr<Death> death = MeasureDeath(workload, options);
    if (!death.ok()) {
      all->Fail(name, death.status());
      continue;
    }
    all->Add(name + ", noticed after", "ms", death->noticed_ms);
    all->AtMost(name + ", noticed after / timeout",
                death->noticed_ms / absl::ToDoubleMilliseconds(workload.timeout),
                kDeathTimeoutsMax);
    all->AtMost(name + (server ? ", calls left" : ", handlers left"), death->left, 0);
  }
}

void MeasureIdle(const std::string& transport, const RpcOptions& options, Collector* all) {
  const uint64_t wanted = absl::GetFlag(FLAGS_idle_sessions);
  const uint64_t sessions = absl::GetFlag(FLAGS_quick) ? wanted / 10 : wanted;
  const std::string name = absl::StrCat(sessions, " idle sessions ", transport);
  const absl::StatusOr<IdleSessions> idle = MeasureIdleSessions(
      {.transport = transport, .sessions = static_cast<size_t>(sessions)}, options);
  if (!idle.ok()) return all->Fail(name, idle.status());
  all->Add(name + ", resident memory of each", "bytes", idle->bytes);
  all->Add(name + ", served afterwards", "of them", idle->served);
  all->AtMost(name + ", resident memory of each, bytes", idle->bytes, kIdleBytesMax);
  all->AtLeast(name + ", served afterwards", idle->served, 1);
}

struct Experiment {
  const char* name;
  void (*measure)(const std::string& transport, const RpcOptions& options, Collector* all);
  bool once;  // however many runs there are
};
constexpr Experiment kExperiments[] = {
    {"overload", &MeasureOverload, false}, {"loss", &MeasureLoss, false},
    {"active", &MeasureActive, false},     {"death", &MeasureDeaths, false},
    {"idle", &MeasureIdle, true},
};

absl::StatusOr<std::vector<Experiment>> WantedExperiments() {
  const Words only = absl::GetFlag(FLAGS_only);
  if (only.empty()) {
    return std::vector<Experiment>(std::begin(kExperiments), std::end(kExperiments));
  }
  std::vector<Experiment> wanted;
  for (const std::string& word : only) {
    const auto found = std::find_if(std::begin(kExperiments), std::end(kExperiments),
                                    [&](const Experiment& e) { return word == e.name; });
    if (found == std::end(kExperiments)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--only: no '", word, "'; there are ",
                       absl::StrJoin(kExperiments, ", ", [](std::string* out, const Experiment& e) {
                         absl::StrAppend(out, e.name);
                       })));
    }
    wanted.push_back(*found);
  }
  return wanted;
}

absl::StatusOr<RpcOptions> MakeOptions() {
  const absl::StatusOr<std::vector<int>> cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return cores.status();
  if (absl::GetFlag(FLAGS_runs) < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  return RpcOptions{
      (*cores)[0], (*cores)[1],
      absl::GetFlag(FLAGS_quick) ? absl::Milliseconds(200) : absl::GetFlag(FLAGS_duration)};
}

int Main() {
  const absl::StatusOr<RpcOptions> options = MakeOptions();
  const absl::StatusOr<std::vector<Experiment>> experiments = WantedExperiments();
  if (!options.ok() || !experiments.ok()) {
    const absl::Status& status = options.ok() ? experiments.status() : options.status();
    std::fprintf(stderr, "rpc_reliability: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  const absl::StatusOr<std::unique_ptr<RuntimeDirectory>> directory = RuntimeDirectory::Make();
  if (!directory.ok()) {
    std::fprintf(stderr, "rpc_reliability: %s\n",
                 std::string(directory.status().message()).c_str());
    return 1;
  }

  const int runs = absl::GetFlag(FLAGS_quick) ? 1 : absl::GetFlag(FLAGS_runs);
  Collector all;
  for (int run = 0; run < runs; ++run) {
    for (const Experiment& experiment : *experiments) {
      if (experiment.once && run > 0) continue;
      for (const std::string& transport : absl::GetFlag(FLAGS_transports)) {
        std::fprintf(stderr, "\r\033[K[%d/%d] %s %s", run + 1, runs, experiment.name,
                     transport.c_str());
        experiment.measure(transport, *options, &all);
      }
    }
  }
  std::fprintf(stderr, "\r\033[K");

  const Report report = all.ToReport();
  std::printf("client on core %d, server on core %d, medians of %d runs of %s\n\n%s\n%s",
              options->client_core, options->server_core, runs,
              absl::FormatDuration(options->duration).c_str(), report.Table().c_str(),
              all.BarTable().c_str());
  return report.Finish("rpc_reliability", absl::GetFlag(FLAGS_json), all.failed());
}

std::vector<PeerRole> Roles() {
  return JoinRoles({RpcRoles(), OverloadRoles(), SessionRoles(), DeathRoles()});
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures weft's RPC under overload, loss, very many sessions and the death of peers; "
      "docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
