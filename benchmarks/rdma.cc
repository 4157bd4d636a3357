// SPDX-License-Identifier: Apache-2.0
//
// RDMA as weft uses it beside perftest's programs on the same devices, in the same run, and remote
// memory over other transports beside what lies beneath: docs/performance.md explains each figure.
//
//   rdma                                 on this machine's devices
//   rdma_vm                              on Soft-RoCE devices in a virtual machine
//   rdma --transports=shm,linux          remote memory over these
//
// Ends with 1 if a bar is missed.

#include <algorithm>
#include <cstdio>
#include <functional>
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
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/cores.h"
#include "weft/benchmarks/experiment.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/memory_workload.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/perftest.h"
#include "weft/benchmarks/rdma_rpc.h"
#include "weft/benchmarks/runtime_directory.h"
#include "weft/transports/rdma/device.h"

using Words = std::vector<std::string>;

ABSL_FLAG(Words, transports, Words({"rdma", "shm", "linux"}), "measure these");
ABSL_FLAG(Words, parts, {}, "of what is measured over rdma; default: all but rendezvous");
ABSL_FLAG(std::string, server, "",
          "IP address of the server's RDMA device; default: of the first that is up");
ABSL_FLAG(std::string, client, "",
          "IP address of the client's; default: of the second that is up, or else the server's");
ABSL_FLAG(std::string, cores, "",
          "client's and server's core, as in 0,1; default: the first two allowed");
ABSL_FLAG(std::string, json, "", "also write the figures to this file");
ABSL_FLAG(bool, quick, false, "3 runs of 100 ms: less than half a minute, less exact");
ABSL_FLAG(int, runs, 5, "runs of each measurement, interleaved; the median counts");
ABSL_FLAG(absl::Duration, duration, absl::Milliseconds(500), "of each run");

namespace weft::benchmarks {
namespace {

using Kind = MemoryOperation::Kind;

constexpr size_t kMib = size_t{1} << 20;
constexpr int kLongOutstanding = 8;
constexpr double kLatencyMax = 1.3;
constexpr double kBandwidthMin = 0.8;
// Work for each small RPC and side. A little more than 1, for what is sent now and then beside
// calls.
constexpr double kPostsMax = 1.02;
constexpr double kSignalledMax = 0.25;

struct Plan {
  Words transports;
  Words parts;  // none: those by default
  int runs = 0;
  bool quick = false;
  RpcOptions options;
};

// Where the two ends of the measurements over RDMA are.
struct Ends {
  PerftestEnd server;
  PerftestEnd client;
};

// The end at a device's port, by its GID of RoCEv2.
std::optional<PerftestEnd> EndOf(const rdma::DeviceInfo& device, const rdma::PortInfo& port,
                                 const std::string& ip) {
  for (const rdma::GidEntry& gid : port.gids) {
    const std::string text = rdma::GidText(gid.gid);
    if (gid.type != rdma::GidType::kRoceV2 || !rdma::IsIpv4(gid.gid)) continue;
    if (!ip.empty() && text != ip) continue;
    return PerftestEnd{.device = device.name,
                       .port = port.number,
                       .gid_index = static_cast<int>(gid.index),
                       .ip = text};
  }
  return std::nullopt;
}

std::vector<PerftestEnd> EndsAt(const std::vector<rdma::DeviceInfo>& devices,
                                const std::string& ip) {
  std::vector<PerftestEnd> ends;
  for (const rdma::DeviceInfo& device : devices) {
    for (const rdma::PortInfo& port : device.ports) {
      if (port.state != rdma::PortInfo::State::kActive) continue;
      if (auto end = EndOf(device, port, ip)) ends.push_back(*std::move(end));
    }
  }
  return ends;
}

absl::StatusOr<Ends> FindEnds(const Plan& plan) {
  const auto devices = rdma::ListDevices();
  if (!devices.ok()) return devices.status();
  const std::vector<PerftestEnd> servers = EndsAt(*devices, absl::GetFlag(FLAGS_server));
  const std::vector<PerftestEnd> clients = EndsAt(*devices, absl::GetFlag(FLAGS_client));
  if (servers.empty() || clients.empty()) {
    return absl::NotFoundError("no RDMA port is up that has such an IPv4 address (RoCEv2)");
  }
  Ends ends = {servers.front(), clients.front()};
  for (const PerftestEnd& client : clients) {
    if (client.device != ends.server.device) ends.client = client;
  }
  ends.server.core = plan.options.server_core;
  ends.client.core = plan.options.client_core;
  return ends;
}

// The figures over RDMA, each next to the one that it is compared with.
class RdmaFigures {
 public:
  RdmaFigures(const Plan& plan, Ends ends, Experiment* experiment)
      : plan_(plan), ends_(std::move(ends)), experiment_(*experiment) {}

  struct Part {
    absl::string_view name;
    void (RdmaFigures::*add)();
    bool by_default = true;
  };
  static absl::Span<const Part> Parts() {
    static constexpr Part kParts[] = {{"latency", &RdmaFigures::AddLatency},
                                      {"rate", &RdmaFigures::AddRate},
                                      {"bandwidth", &RdmaFigures::AddBandwidth},
                                      {"memory", &RdmaFigures::AddMemory},
                                      {"rendezvous", &RdmaFigures::AddRendezvous, false}};
    return kParts;
  }

  void AddChosen() {
    for (const Part& part : Parts()) {
      const bool chosen =
          plan_.parts.empty() ? part.by_default : absl::c_linear_search(plan_.parts, part.name);
      if (chosen) (this->*part.add)();
    }
  }

 private:
  std::string At(const PerftestEnd& end) const { return absl::StrCat(end.ip, ":0"); }

  // `scale`: to the unit of the figure. `keep`: its latest value, or why there is none.
  std::string AddPerftest(std::string name, std::string unit, Perftest test, PerftestFigure figure,
                          double scale, absl::StatusOr<double>* keep = nullptr) {
    experiment_.Add(
        name, std::move(unit),
        [this, test = std::move(test), figure, scale, keep]() -> absl::StatusOr<double> {
          absl::StatusOr<double> value =
              MeasurePerftest(test, figure, ends_.server, ends_.client, absl::Seconds(30));
          if (value.ok()) *value *= scale;
          if (keep != nullptr) *keep = value;
          return value;
        });
    return name;
  }
  Words Iterations(int count) const {
    return {"-n", absl::StrCat(plan_.quick ? std::max(count / 5, 10) : count)};
  }
  static Words Joined(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::string AddRpc(std::string name, std::string unit, const RdmaRpcWorkload& workload,
                     std::function<double(const RdmaRpcResult&)> value,
                     RdmaRpcResult* keep = nullptr) {
    experiment_.Add(name, std::move(unit),
                    [this, workload, value = std::move(value), keep]() -> absl::StatusOr<double> {
                      const auto result = MeasureRdmaRpc(workload, plan_.options);
                      if (!result.ok()) return result.status();
                      if (keep != nullptr) *keep = *result;
                      return value(*result);
                    });
    return name;
  }
  RdmaRpcWorkload Small(int outstanding) const {
    return {.transport = "rdma",
            .server_address = At(ends_.server),
            .client_address = At(ends_.client),
            .outstanding = outstanding};
  }

  void AddLatency() {
    const std::string raw =
        AddPerftest("ib_send_lat UD, 64 B, there and back", "us",
                    {"ib_send_lat", Joined({"-c", "UD", "-s", "64"}, Iterations(1000))},
                    PerftestFigure::kTypicalUs, 2);
    const std::string rpc = AddRpc(
        "rpc rdma, 64 B, p50", "us", Small(1),
        [](const RdmaRpcResult& result) { return result.p50_us; }, &small_);
    experiment_.AtMost(rpc, raw, kLatencyMax);
    AddWork();
  }

  void AddRate() {
    AddPerftest("ib_send_bw UD, 64 B", "messages/s",
                {"ib_send_bw", Joined({"-c", "UD", "-s", "64"}, Iterations(5000))},
                PerftestFigure::kMessagesPerSecond, 1);
    AddRpc("rpc rdma, 64 B, 32 outstanding", "requests/s", Small(32),
           [](const RdmaRpcResult& result) { return result.replies_per_s; });
  }

  // What the small RPCs of AddLatency() asked of the devices.
  void AddWork() {
    const auto add = [this](std::string name, double RdmaRpcResult::*field, double at_most) {
      experiment_.Add(name, "an RPC", [this, field] { return small_.*field; });
      experiment_.AtMost(name, at_most);
    };
    add("rpc rdma, sends posted", &RdmaRpcResult::send_posts, kPostsMax);
    add("rpc rdma, doorbells of sends", &RdmaRpcResult::send_doorbells, kPostsMax);
    add("rpc rdma, completions of sends (signalled)", &RdmaRpcResult::send_completions,
        kSignalledMax);
    add("rpc rdma, completions of receives", &RdmaRpcResult::receive_completions, kPostsMax);
    add("rpc rdma, doorbells of receives", &RdmaRpcResult::receive_doorbells, kSignalledMax);
  }

  void AddBandwidth() {
    const auto gb = [](const RdmaRpcResult& result) { return result.replies_per_s * kMib / 1e9; };
    const std::string read =
        AddPerftest("ib_read_bw, 1 MiB", "GB/s",
                    {"ib_read_bw", Joined({"-s", absl::StrCat(kMib)}, Iterations(100))},
                    PerftestFigure::kBytesPerSecond, 1e-9);
    RdmaRpcWorkload workload = Small(kLongOutstanding);
    workload.request_bytes = kMib;
    const std::string requests =
        AddRpc("rpc rdma, requests of 1 MiB", "GB/s", workload, gb, &long_);
    std::swap(workload.request_bytes, workload.reply_bytes);
    const std::string replies = AddRpc("rpc rdma, replies of 1 MiB", "GB/s", workload, gb);
    AddPerftest("ib_write_bw, 1 MiB", "GB/s",
                {"ib_write_bw", Joined({"-s", absl::StrCat(kMib)}, Iterations(100))},
                PerftestFigure::kBytesPerSecond, 1e-9);
    experiment_.AtLeast(requests, read, kBandwidthMin);
    experiment_.AtLeast(replies, read, kBandwidthMin);
    for (const auto& [name, field] :
         {std::pair("rpc rdma, requests of 1 MiB, bytes copied", &RdmaRpcResult::copied_bytes),
          std::pair("rpc rdma, requests of 1 MiB, allocations", &RdmaRpcResult::allocations)}) {
      experiment_.Add(name, "an RPC", [this, field = field] { return long_.*field; });
      experiment_.AtMost(name, 0);
    }
  }

  void AddMemory() {
    const auto add = [this](const std::string& name, Kind kind, const std::string& raw) {
      const MemoryWorkload workload = {.transport = "rdma",
                                       .owner_address = At(ends_.server),
                                       .user_address = At(ends_.client),
                                       .kind = kind};
      experiment_.Add(name, "us", [this, workload]() -> absl::StatusOr<double> {
        const auto result = MeasureMemory(workload, plan_.options);
        if (!result.ok()) return result.status();
        return result->p50_us;
      });
      experiment_.AtMost(name, raw, kLatencyMax);
    };
    const Words bytes = Joined({"-s", "64"}, Iterations(1000));
    add("memory rdma, read of 64 B, p50", Kind::kRead,
        AddPerftest("ib_read_lat, 64 B", "us", {"ib_read_lat", bytes}, PerftestFigure::kTypicalUs,
                    1));
    add("memory rdma, write of 64 B, p50", Kind::kWrite,
        AddPerftest("ib_write_lat, 64 B, there and back", "us", {"ib_write_lat", bytes},
                    PerftestFigure::kTypicalUs, 2));
    add("memory rdma, fetch and add, p50", Kind::kFetchAdd,
        AddPerftest("ib_atomic_lat", "us",
                    {"ib_atomic_lat", Joined({"-A", "FETCH_AND_ADD"}, Iterations(1000))},
                    PerftestFigure::kTypicalUs, 1));
  }

  // What it takes until the receiver of a long message has it, put together from what perftest
  // says of the steps: announced and read, or announced, granted and written. A write has to be
  // told of besides, which is not counted.
  void AddRendezvous() {
    AddPerftest("ib_send_lat UD, 64 B, one way", "us",
                {"ib_send_lat", Joined({"-c", "UD", "-s", "64"}, Iterations(1000))},
                PerftestFigure::kTypicalUs, 1, &rendezvous_.told_us);
    for (const auto& [bytes, size] :
         {std::pair(size_t{16'384}, "16 KiB"), std::pair(size_t{65'536}, "64 KiB"),
          std::pair(kMib, "1 MiB")}) {
      const Words lengths = Joined({"-s", absl::StrCat(bytes)}, Iterations(100));
      const auto name = [size = size](const char* what) { return absl::StrCat(what, ", ", size); };
      AddPerftest(name("ib_read_lat"), "us", {"ib_read_lat", lengths}, PerftestFigure::kTypicalUs,
                  1, &rendezvous_.read_us);
      AddPerftest(name("ib_write_lat"), "us", {"ib_write_lat", lengths}, PerftestFigure::kTypicalUs,
                  1, &rendezvous_.written_us);
      experiment_.Add(name("announced and read"), "us",
                      [this] { return After(1, rendezvous_.told_us, rendezvous_.read_us); });
      experiment_.Add(name("announced, granted and written"), "us",
                      [this] { return After(2, rendezvous_.told_us, rendezvous_.written_us); });
      AddPerftest(name("ib_read_bw"), "GB/s", {"ib_read_bw", lengths},
                  PerftestFigure::kBytesPerSecond, 1e-9);
      AddPerftest(name("ib_write_bw"), "GB/s", {"ib_write_bw", lengths},
                  PerftestFigure::kBytesPerSecond, 1e-9);
    }
  }

  // `last` after so many times `step`, if both were measured.
  static absl::StatusOr<double> After(int times, const absl::StatusOr<double>& step,
                                      const absl::StatusOr<double>& last) {
    if (!step.ok()) return step.status();
    if (!last.ok()) return last.status();
    return times * *step + *last;
  }

  // Steps of a long message's way, as last measured.
  struct Rendezvous {
    absl::StatusOr<double> told_us;
    absl::StatusOr<double> read_us;
    absl::StatusOr<double> written_us;
  };

  const Plan& plan_;
  const Ends ends_;
  Experiment& experiment_;
  RdmaRpcResult small_;  // of the last run
  RdmaRpcResult long_;
  Rendezvous rendezvous_;
};

std::string AddFloor(floors::Floor floor, const char* unit, const Plan& plan,
                     Experiment* experiment) {
  experiment->Add(floors::Name(floor), unit, [floor, &plan]() -> absl::StatusOr<double> {
    const auto figure = floors::Measure(
        floor, {plan.options.client_core, plan.options.server_core, plan.options.duration});
    if (!figure.ok()) return figure.status();
    return figure->value;
  });
  return floors::Name(floor);
}

// Remote memory of a transport that has it, or over the datagrams of one that has not.
void AddOther(const std::string& transport, const Plan& plan, Experiment* experiment) {
  const bool shm = transport == "shm";
  MemoryWorkload workload = {.transport = transport,
                             .owner_address = shm ? "shm:rdma-bench-owner" : "127.0.0.1:0",
                             .user_address = shm ? "shm:rdma-bench-user" : "127.0.0.1:0"};
  const std::string prefix = absl::StrCat("memory ", transport, shm ? ", " : " emulated, ");
  AddFloor(shm ? floors::Floor::kRingLatency : floors::Floor::kUdpSpinningLatency, "us", plan,
           experiment);
  for (const auto& [kind, name] :
       {std::pair(Kind::kRead, "read of 64 B"), std::pair(Kind::kWrite, "write of 64 B"),
        std::pair(Kind::kFetchAdd, "fetch and add")}) {
    workload.kind = kind;
    experiment->Add(absl::StrCat(prefix, name, ", p50"), "us",
                    [workload, &plan]() -> absl::StatusOr<double> {
                      const auto result = MeasureMemory(workload, plan.options);
                      if (!result.ok()) return result.status();
                      return result->p50_us;
                    });
  }
  AddFloor(shm ? floors::Floor::kMemcpyBandwidth : floors::Floor::kUdpSegmentedBandwidth, "GB/s",
           plan, experiment);
  workload.kind = Kind::kRead;
  workload.bytes = kMib;
  workload.outstanding = kLongOutstanding;
  experiment->Add(absl::StrCat(prefix, "reads of 1 MiB"), "GB/s",
                  [workload, &plan]() -> absl::StatusOr<double> {
                    const auto result = MeasureMemory(workload, plan.options);
                    if (!result.ok()) return result.status();
                    return result->bytes_per_s / 1e9;
                  });
}

absl::StatusOr<Plan> MakePlan() {
  const absl::StatusOr<std::vector<int>> cores = ClientAndServerCores(absl::GetFlag(FLAGS_cores));
  if (!cores.ok()) return cores.status();
  const bool quick = absl::GetFlag(FLAGS_quick);
  Plan plan = {
      .transports = absl::GetFlag(FLAGS_transports),
      .parts = absl::GetFlag(FLAGS_parts),
      .runs = quick ? std::min(3, absl::GetFlag(FLAGS_runs)) : absl::GetFlag(FLAGS_runs),
      .quick = quick,
      .options = {.client_core = (*cores)[0],
                  .server_core = (*cores)[1],
                  .duration = quick ? absl::Milliseconds(100) : absl::GetFlag(FLAGS_duration)}};
  if (plan.runs < 1) return absl::InvalidArgumentError("--runs must be 1 at least");
  for (const std::string& transport : plan.transports) {
    if (transport != "rdma" && transport != "shm" && transport != "linux") {
      return absl::InvalidArgumentError(
          absl::StrCat("--transports: no '", transport, "'; there are rdma, shm and linux"));
    }
  }
  const auto add_name = [](std::string* out, const RdmaFigures::Part& part) {
    absl::StrAppend(out, part.name);
  };
  for (const std::string& name : plan.parts) {
    const auto parts = RdmaFigures::Parts();
    if (absl::c_none_of(parts, [&](const auto& part) { return part.name == name; })) {
      return absl::InvalidArgumentError(absl::StrCat("--parts: no '", name, "'; there are ",
                                                     absl::StrJoin(parts, ", ", add_name)));
    }
  }
  return plan;
}

int Fail(const absl::Status& status, int exit_status) {
  std::fprintf(stderr, "rdma: %s\n", std::string(status.message()).c_str());
  return exit_status;
}

int Main() {
  const absl::StatusOr<Plan> plan = MakePlan();
  if (!plan.ok()) return Fail(plan.status(), 2);
  const absl::StatusOr<std::unique_ptr<RuntimeDirectory>> directory = RuntimeDirectory::Make();
  if (!directory.ok()) return Fail(directory.status(), 1);
  Experiment experiment;
  std::optional<RdmaFigures> rdma;
  for (const std::string& transport : plan->transports) {
    if (transport != "rdma") {
      AddOther(transport, *plan, &experiment);
    } else if (absl::StatusOr<Ends> ends = FindEnds(*plan); ends.ok()) {
      rdma.emplace(*plan, *std::move(ends), &experiment);
      rdma->AddChosen();
    } else {
      experiment.Add("rdma", "", [why = ends.status()]() -> absl::StatusOr<double> {
        return absl::UnimplementedError(
            absl::StrCat("not here: ", why.message(), " (rdma_vm measures in a virtual machine)"));
      });
    }
  }
  experiment.Run(plan->runs);
  const Report report = experiment.ToReport();
  std::printf("client on core %d, server on core %d, medians of %d runs of %s\n\n%s\n%s",
              plan->options.client_core, plan->options.server_core, plan->runs,
              absl::FormatDuration(plan->options.duration).c_str(), report.Table().c_str(),
              experiment.BarTable().c_str());
  return report.Finish("rdma", absl::GetFlag(FLAGS_json),
                       experiment.failed() || !experiment.bars_met());
}

std::vector<PeerRole> Roles() {
  return JoinRoles({RdmaRpcRoles(), MemoryRoles(), PerftestRoles(), floors::Roles()});
}

}  // namespace
}  // namespace weft::benchmarks

int main(int argc, char** argv) {
  using namespace weft::benchmarks;  // NOLINT: main() is all there is here
  if (IsPeer(argc, argv)) return RunPeer(argc, argv, Roles());
  absl::SetProgramUsageMessage(
      "Measures RPC and remote memory over RDMA beside perftest, and remote memory over others; "
      "docs/performance.md explains.");
  absl::ParseCommandLine(argc, argv);
  return Main();
}
