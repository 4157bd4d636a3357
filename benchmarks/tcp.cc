// SPDX-License-Identifier: Apache-2.0
//
// What weft's TCP does with small requests, beside nginx on the kernel's, lwIP, and the raw devices
// under it, measured in the same run: docs/performance.md explains each figure.
//
//   tcp            every bar
//   tcp --quick    in less than a minute
//
// Figures over veth pairs and TAP devices need root; nginx, wrk, ethtool and lwIP are of
// `tools/setup --dev`. Without them the table says so, and the rest stands.

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/experiment.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/http_turns.h"
#include "weft/benchmarks/http_workload.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/stream_echo.h"

ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, only, "", "measure only figures that have this in their name");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "3 runs of a second or less: less than a minute, less exact");
ABSL_FLAG(int, runs, 5, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(2), "of each run; wrk's are whole seconds");

namespace weft::benchmarks {
namespace {

constexpr char kPerCpu[] = "/CPU-s";
constexpr char kRate[] = "requests/s";

constexpr HttpCase kNginx = {HttpServer::kNginx, HttpPath::kLoopback};
constexpr HttpCase kVirtioUser = {HttpServer::kHttpd, HttpPath::kVirtioUser};
constexpr HttpCase kKernel = {HttpServer::kHttpd, HttpPath::kLoopback};
constexpr HttpCase kNginxVeth = {HttpServer::kNginx, HttpPath::kVeth};
constexpr HttpCase kAfxdp = {HttpServer::kHttpd, HttpPath::kVeth};
constexpr HttpCase kNginxNew = {HttpServer::kNginx, HttpPath::kLoopback, true};
constexpr HttpCase kVirtioUserNew = {HttpServer::kHttpd, HttpPath::kVirtioUser, true};
constexpr HttpCase kKernelNew = {HttpServer::kHttpd, HttpPath::kLoopback, true};
constexpr HttpCase kLwip = {HttpServer::kLwip, HttpPath::kTap};
constexpr HttpCase kLwipOneThread = {HttpServer::kLwipOneThread, HttpPath::kTap};
constexpr HttpCase kTap = {HttpServer::kHttpd, HttpPath::kTap};

class TcpExperiment {
 public:
  TcpExperiment(HttpWorkload& http, const HttpOptions& options) : http_(http), options_(options) {}

  void AddAll() {
    AddEcho();
    AddHttp(kNginx);
    AddHttp(kVirtioUser);
    AddTurns(/*new_connections=*/false);
    AddHttp(kKernel);
    AddHttp(kNginxVeth);
    AddHttp(kAfxdp);
    AddHttp(kNginxNew);
    AddHttp(kVirtioUserNew);
    AddTurns(/*new_connections=*/true);
    AddHttp(kKernelNew);
    AddHttp(kLwip);
    AddHttp(kLwipOneThread);
    AddHttp(kTap);
    experiment_.AtLeast(kVirtioUser.Name(), kNginx.Name(), 4);
    experiment_.AtLeast(TurnsName(false), kNginx.Name(), 4);
    experiment_.AtLeast(kKernel.Name(), kNginx.Name(), 1);
    experiment_.AtLeast(kAfxdp.Name(), kNginxVeth.Name(), 1);
    experiment_.AtLeast(kVirtioUserNew.Name(), kNginxNew.Name(), 3);
    experiment_.AtLeast(TurnsName(true), kNginxNew.Name(), 3);
    experiment_.AtLeast(kKernelNew.Name(), kNginxNew.Name(), 1);
    experiment_.AtLeast(kTap.Name(), kLwip.Name(), 2);
  }

  Experiment& experiment() { return experiment_; }

 private:
  static bool IsWanted(const std::string& name) {
    return absl::StrContains(name, absl::GetFlag(FLAGS_only));
  }

  void Add(const std::string& name, const char* unit, Experiment::Measure measure) {
    if (IsWanted(name)) experiment_.Add(name, unit, std::move(measure));
  }

  void AddEcho() {
    using floors::DpdkFloor;
    const floors::Options options = {.client_core = options_.client_core,
                                     .server_core = options_.server_core,
                                     .duration = options_.duration / 4};
    const auto value = [](const absl::StatusOr<floors::Figure>& figure) -> absl::StatusOr<double> {
      if (!figure.ok()) return figure.status();
      return figure->value;
    };
    const std::string raw = floors::Name(DpdkFloor::kLatency);
    const std::string echo = "echo over virtio-user, p50";
    Add(floors::Name(floors::Floor::kRingLatency), "us",
        [=] { return value(floors::Measure(floors::Floor::kRingLatency, options)); });
    Add(raw, "us", [=] { return value(MeasureDpdk(DpdkFloor::kLatency, options)); });
    Add(echo, "us", [=] { return MeasureStreamEcho(options); });
    experiment_.AtMostMore(echo, raw, 1);
  }

  void AddHttp(const HttpCase& what) {
    const auto idle = std::make_shared<double>(0);
    const bool rate = what.path == HttpPath::kTap;
    Add(what.Name(), rate ? kRate : kPerCpu, [this, what, rate, idle]() -> absl::StatusOr<double> {
      const absl::StatusOr<HttpFigures> figures = http_.Measure(what, options_);
      if (!figures.ok()) return figures.status();
      *idle = figures->idle_percent;
      return rate ? figures->requests_per_s : figures->requests_per_cpu_s;
    });
    if (what.path != HttpPath::kVirtioUser) return;
    Add(absl::StrCat(what.Name(), ": idle rounds"), "%",
        [idle]() -> absl::StatusOr<double> { return *idle; });
  }

  static std::string TurnsName(bool new_connections) {
    return absl::StrCat("httpd by turns", new_connections ? ", new connections" : "");
  }

  void AddTurns(bool new_connections) {
    Add(TurnsName(new_connections), kPerCpu, [this, new_connections] {
      return MeasureHttpTurns(new_connections, options_.server_core, options_.duration / 2);
    });
  }

  HttpWorkload& http_;
  const HttpOptions options_;
  Experiment experiment_;
};

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "tcp: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

int Main() {
  const absl::StatusOr<std::vector<int>> cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return Fail(cores.status(), 2);
  const bool quick = absl::GetFlag(FLAGS_quick);
  const int runs = quick ? 3 : absl::GetFlag(FLAGS_runs);
  if (runs < 1) return Fail(absl::InvalidArgumentError("--runs must be 1 at least"), 2);
  const auto http = HttpWorkload::Make();
  if (!http.ok()) return Fail(http.status(), 1);
  TcpExperiment tcp(**http, {.client_core = (*cores)[0],
                             .server_core = (*cores)[1],
                             .duration = quick ? absl::Seconds(1) : absl::GetFlag(FLAGS_duration)});
  tcp.AddAll();
  const Experiment& experiment = tcp.experiment();
  tcp.experiment().Run(runs);
  const Report report = experiment.ToReport();
  std::printf("load on core %d, server on core %d, medians of %d runs\n\n%s\n%s", (*cores)[0],
              (*cores)[1], runs, report.Table().c_str(), experiment.BarTable().c_str());
  return report.Finish("tcp", absl::GetFlag(FLAGS_json), experiment.failed());
}

std::vector<PeerRole> Roles() {
  return JoinRoles({HttpTurnsRoles(), StreamEchoRoles(), floors::Roles(), floors::DpdkRoles()});
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures small requests on weft's TCP, beside nginx, lwIP and the devices under it; "
      "docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
