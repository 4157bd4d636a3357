// SPDX-License-Identifier: Apache-2.0
//
// What typed services, streams, encryption and observation cost, and how all of it compares with
// gRPC, measured in the same run: docs/performance.md explains each figure.
//
//   rpc_services                            everything, about two minutes
//   rpc_services --quick                    the same figures in less than half a minute, less exact
//   rpc_services --transports=shm --heats   also how each way to use gRPC did

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/experiment.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/grpc/grpc_peer.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/report.h"
#include "weft/benchmarks/rpc_workload.h"
#include "weft/benchmarks/runtime_directory.h"
#include "weft/benchmarks/service_workload.h"
#include "weft/rpc/security/test_certificates.h"

using Words = std::vector<std::string>;

ABSL_FLAG(Words, transports, Words({"linux", "shm"}), "measure weft over these");
ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "3 runs of 50 ms: less than half a minute, less exact");
ABSL_FLAG(bool, grpc, true, "measure gRPC too");
ABSL_FLAG(bool, heats, false, "also show how each way to use gRPC did");
ABSL_FLAG(int, runs, 5, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Milliseconds(300), "of each run");

namespace weft::benchmarks {
namespace {

struct Plan {
  Words transports;
  int runs = 0;
  bool quick = false;
  RpcOptions rpc;
  absl::Duration heat;
  std::string directory = {};  // for certificates and traces
};

absl::StatusOr<Plan> MakePlan() {
  const absl::StatusOr<std::vector<int>> cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return cores.status();
  const bool quick = absl::GetFlag(FLAGS_quick);
  Plan plan = {.transports = absl::GetFlag(FLAGS_transports),
               .runs = quick ? 3 : absl::GetFlag(FLAGS_runs),
               .quick = quick,
               .rpc = {.client_core = (*cores)[0],
                       .server_core = (*cores)[1],
                       .duration = quick ? absl::Milliseconds(50) : absl::GetFlag(FLAGS_duration)},
               .heat = absl::Milliseconds(quick ? 50 : 150)};
  if (plan.runs < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  return plan;
}

// gRPC in plain text and with TLS.
struct Grpc {
  std::string name;  // "gRPC", "gRPC TLS"
  grpc_peer::Contest contest;

  std::string P50() const { return name + ", p50"; }
  std::string SpinningP50() const { return name + " spinning, p50"; }
  std::string Throughput() const { return name + ", 32 outstanding"; }
  std::string Bandwidth() const { return name + ", echo of 8 MiB"; }
  std::string Streaming() const { return name + ", stream of 64 B"; }
};

void AddGrpc(Grpc* grpc, Experiment* experiment) {
  using grpc_peer::Figure;
  const auto add = [&](std::string figure, const char* unit, Figure kind, double units) {
    experiment->Add(std::move(figure), unit, [grpc, kind, units]() -> absl::StatusOr<double> {
      const absl::StatusOr<double> value = grpc->contest.Measure(kind);
      if (!value.ok()) return value;
      return *value / units;
    });
  };
  add(grpc->P50(), "us", Figure::kLatency, 1e3);
  add(grpc->SpinningP50(), "us", Figure::kSpinningLatency, 1e3);
  add(grpc->Throughput(), "requests/s", Figure::kThroughput, 1);
  add(grpc->Bandwidth(), "GB/s", Figure::kBandwidth, 1e9);
  add(grpc->Streaming(), "messages/s", Figure::kStreaming, 1);
}

// Calls of bytes, which typed ones are compared with.
std::string AddRaw(const std::string& transport, const Plan& plan, Experiment* experiment) {
  const RpcWorkload workload = {.transport = transport, .wire = "extended"};
  const std::string p50 = workload.Name() + ", p50";
  experiment->Add(p50, "us", [workload, &plan]() -> absl::StatusOr<double> {
    const absl::StatusOr<RpcResult> result = MeasureRpc(workload, plan.rpc);
    if (!result.ok()) return result.status();
    return result->p50_us;
  });
  return p50;
}

using Guise = ServiceWorkload::Guise;
using Kind = ServiceWorkload::Kind;

// Returns the figure's name.
std::string AddTyped(const ServiceWorkload& workload, const Plan& plan, Experiment* experiment) {
  experiment->Add(workload.Name(), workload.Unit(),
                  [workload, &plan] { return MeasureService(workload, plan.directory, plan.rpc); });
  return workload.Name();
}

// What the bars ask of a transport. Figures that are compared follow one another.
void AddTransport(const std::string& transport, const Plan& plan, const Grpc& plain_grpc,
                  const Grpc& tls_grpc, Experiment* experiment) {
  const bool shm = transport == "shm";
  const std::string raw_p50 = AddRaw(transport, plan, experiment);
  const std::string p50 = AddTyped({transport, Kind::kLatency}, plan, experiment);
  const std::string tls_p50 = AddTyped({transport, Kind::kLatency, Guise::kTls}, plan, experiment);
  experiment->AtMost(p50, raw_p50, shm ? 1.5 : 1.1);
  if (!shm) experiment->AtMost(tls_p50, p50, 1.25);

  const std::string calls = AddTyped({transport, Kind::kThroughput}, plan, experiment);
  const std::string tls_calls =
      AddTyped({transport, Kind::kThroughput, Guise::kTls}, plan, experiment);
  const std::string observed =
      AddTyped({transport, Kind::kThroughput, Guise::kObserved}, plan, experiment);
  if (shm) experiment->AtLeast(observed, calls, 0.95);

  const std::string echo = AddTyped({transport, Kind::kBandwidth}, plan, experiment);
  const std::string tls_echo =
      AddTyped({transport, Kind::kBandwidth, Guise::kTls}, plan, experiment);
  if (!shm) experiment->AtLeast(tls_echo, echo, 0.6);

  const std::string stream = AddTyped({transport, Kind::kStreaming}, plan, experiment);
  const std::string tls_stream =
      AddTyped({transport, Kind::kStreaming, Guise::kTls}, plan, experiment);

  for (const bool tls : {false, true}) {
    const Grpc& grpc = tls ? tls_grpc : plain_grpc;
    experiment->TimesLower(tls ? tls_p50 : p50, grpc.P50(), 8);
    experiment->TimesLower(tls ? tls_p50 : p50, grpc.SpinningP50(), 8);
    experiment->AtLeast(tls ? tls_calls : calls, grpc.Throughput(), 10);
    experiment->AtLeast(tls ? tls_echo : echo, grpc.Bandwidth(), 1.5);
    experiment->AtLeast(tls ? tls_stream : stream, grpc.Streaming(), 5);
  }
}

grpc_peer::Options GrpcOptions(const Plan& plan, std::string certificates) {
  return {.client_core = plan.rpc.client_core,
          .server_core = plan.rpc.server_core,
          .duration = plan.rpc.duration,
          .certificates = std::move(certificates)};
}

void ShowHeats(const Grpc& grpc) {
  using grpc_peer::Figure;
  for (const auto& [figure, name] : {std::pair(Figure::kLatency, grpc.P50()),
                                     std::pair(Figure::kSpinningLatency, grpc.SpinningP50()),
                                     std::pair(Figure::kThroughput, grpc.Throughput()),
                                     std::pair(Figure::kBandwidth, grpc.Bandwidth()),
                                     std::pair(Figure::kStreaming, grpc.Streaming())}) {
    std::printf("\n%s (ns, or each second)\n%s", name.c_str(), grpc.contest.Heat(figure).c_str());
  }
}

absl::StatusOr<Report> MeasureAndShow(const Plan& plan, bool* failed) {
  if (auto written = rpc::WriteTestCertificates(plan.directory); !written.ok()) return written;
  Grpc plain = {"gRPC", {GrpcOptions(plan, ""), plan.heat, plan.quick}};
  Grpc tls = {"gRPC TLS", {GrpcOptions(plan, plan.directory), plan.heat, plan.quick}};
  Experiment experiment;
  // Tells how far apart the two cores are.
  experiment.Add(floors::Name(floors::Floor::kRingLatency), "us", [&]() -> absl::StatusOr<double> {
    const auto figure =
        floors::Measure(floors::Floor::kRingLatency,
                        {plan.rpc.client_core, plan.rpc.server_core, plan.rpc.duration});
    if (!figure.ok()) return figure.status();
    return figure->value;
  });
  if (absl::GetFlag(FLAGS_grpc)) {
    AddGrpc(&plain, &experiment);
    AddGrpc(&tls, &experiment);
  }
  for (const std::string& transport : plan.transports) {
    AddTransport(transport, plan, plain, tls, &experiment);
  }
  experiment.Run(plan.runs);
  const Report report = experiment.ToReport();
  std::printf("client on core %d, server on core %d, medians of %d runs of %s\n\n%s\n%s",
              plan.rpc.client_core, plan.rpc.server_core, plan.runs,
              absl::FormatDuration(plan.rpc.duration).c_str(), report.Table().c_str(),
              experiment.BarTable().c_str());
  if (absl::GetFlag(FLAGS_heats)) {
    ShowHeats(plain);
    ShowHeats(tls);
  }
  *failed = experiment.failed();
  return report;
}

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "rpc_services: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

int Main() {
  absl::StatusOr<Plan> plan = MakePlan();
  if (!plan.ok()) return Fail(plan.status(), 2);
  const absl::StatusOr<std::unique_ptr<RuntimeDirectory>> directory = RuntimeDirectory::Make();
  if (!directory.ok()) return Fail(directory.status(), 1);
  plan->directory = (*directory)->path();
  bool failed = false;
  const absl::StatusOr<Report> report = MeasureAndShow(*plan, &failed);
  if (!report.ok()) return Fail(report.status(), 1);
  return report->Finish("rpc_services", absl::GetFlag(FLAGS_json), failed);
}

std::vector<PeerRole> Roles() { return JoinRoles({RpcRoles(), ServiceRoles(), floors::Roles()}); }

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures typed services, streams, encryption and observation beside raw calls and gRPC; "
      "docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
