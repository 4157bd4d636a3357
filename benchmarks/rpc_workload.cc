// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/rpc_workload.h"

#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(10);

absl::StatusOr<LoopOptions> LoopOptionsOf(const std::string& mode) {
  for (const auto& [name, value] :
       {std::pair("busy", LoopMode::kBusy), std::pair("adaptive", LoopMode::kAdaptive),
        std::pair("sleep", LoopMode::kSleep)}) {
    if (mode == name) return LoopOptions{.mode = value};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no mode '", mode, "'; there are busy, adaptive and sleep"));
}

absl::StatusOr<std::unique_ptr<Transport>> OpenByName(const std::string& name) {
  config::Transport config;
  config.set_name(name);
  return OpenPlainTransport(config);
}

// Arguments: transport, mode, address to listen at. Reports the port that it got, or 0.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<LoopOptions> loop_options = LoopOptionsOf(peer.arguments()[1]);
  if (!loop_options.ok()) return loop_options.status();
  Loop loop(*loop_options, RealClock());
  auto transport = OpenByName(peer.arguments()[0]);
  if (!transport.ok()) return transport.status();
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[2]);
  if (!address.ok()) return address.status();
  auto port = (*transport)->OpenDatagramPort({.local = *address});
  if (!port.ok()) return port.status();
  auto server = rpc::Server::Create(loop, *std::move(port), {}, [](rpc::ServerCall call) {
    (void)call.Reply(std::move(call.request()));
  });
  if (!server.ok()) return server.status();
  peer.Report((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

Task<void> RunFor(Loop& loop, rpc::LoadGenerator& load, absl::Duration duration) {
  load.Start(nullptr);
  co_await loop.Sleep(duration);
  load.Stop();
  while (!load.done()) co_await loop.Sleep(absl::Microseconds(20));
}

Task<void> WarmUpAndMeasure(rpc::Client& client, ::weft::Peer server, rpc::LoadOptions load_options,
                            absl::Duration duration, absl::StatusOr<RpcResult>* result) {
  rpc::LoadGenerator warm_up(client, server, load_options);
  co_await RunFor(client.loop(), warm_up, duration / 10);
  rpc::LoadGenerator load(client, server, load_options);
  co_await RunFor(client.loop(), load, duration);
  const rpc::LoadStats& stats = load.stats();
  if (stats.unanswered() > 0 || stats.replies == 0) {
    *result = absl::UnavailableError(
        absl::StrCat(stats.unanswered(), " of ", stats.sent,
                     " requests were not answered: ", load.first_error().message()));
  } else {
    const HistogramSnapshot latency = load.latency().Snapshot();
    *result = RpcResult{.p50_us = static_cast<double>(latency.Percentile(50)) / 1e3,
                        .p99_us = static_cast<double>(latency.Percentile(99)) / 1e3,
                        .replies_per_s = static_cast<double>(stats.replies) * 1e9 /
                                         static_cast<double>(stats.end_ns - stats.begin_ns)};
  }
  client.loop().Stop();
}

// Arguments: transport, mode, the server's address, bytes, outstanding, rate, duration in
// nanoseconds. Reports the fields of RpcResult.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<LoopOptions> loop_options = LoopOptionsOf(peer.arguments()[1]);
  if (!loop_options.ok()) return loop_options.status();
  Loop loop(*loop_options, RealClock());
  auto transport = OpenByName(peer.arguments()[0]);
  if (!transport.ok()) return transport.status();
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[2]);
  if (!address.ok()) return address.status();
  auto port = (*transport)->OpenDatagramPort({});
  if (!port.ok()) return port.status();
  // A machine that is busy with something else may make a reply late, not lose it.
  auto client = rpc::Client::Create(loop, *std::move(port), {.timeout = absl::Seconds(10)});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(*address);
  if (!server.ok()) return server.status();

  absl::StatusOr<RpcResult> result;
  TaskGroup tasks;
  tasks.Spawn(WarmUpAndMeasure(**client, *server,
                               {.request_bytes = static_cast<size_t>(peer.Number(3)),
                                .outstanding_max = static_cast<size_t>(peer.Number(4)),
                                .rate_per_s = static_cast<double>(peer.Number(5))},
                               absl::Nanoseconds(peer.Number(6)), &result));
  loop.Run();
  if (!result.ok()) return result.status();
  for (const double value : {result->p50_us, result->p99_us, result->replies_per_s}) {
    peer.Report(value);
  }
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"rpc-server", &Serve}, {"rpc-client", &Ask}};

}  // namespace

std::string RpcWorkload::Name() const {
  std::string name = absl::StrCat("rpc ", transport, " ", mode);
  if (request_bytes != 64) absl::StrAppend(&name, ", ", request_bytes, " B");
  if (rate != 0) absl::StrAppend(&name, ", ", rate, "/s");
  // In an open loop it is only a limit.
  if (outstanding != 1 && rate == 0) absl::StrAppend(&name, ", ", outstanding, " outstanding");
  return name;
}

absl::StatusOr<RpcResult> MeasureRpcAt(const std::string& address, const RpcWorkload& workload,
                                       const RpcOptions& options) {
  auto client = PeerProcess::Start(
      {.role = "rpc-client",
       .core = options.client_core,
       .arguments = {workload.transport, workload.mode, address,
                     absl::StrCat(workload.request_bytes), absl::StrCat(workload.outstanding),
                     absl::StrCat(workload.rate),
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
       .lifetime = options.duration + 2 * kStartTimeout});
  if (!client.ok()) return client.status();
  RpcResult result;
  for (double* value : {&result.p50_us, &result.p99_us, &result.replies_per_s}) {
    absl::StatusOr<double> report = (*client)->AwaitReport(options.duration + kStartTimeout);
    if (!report.ok()) return report.status();
    *value = *report;
  }
  return result;
}

absl::StatusOr<RpcResult> MeasureRpc(const RpcWorkload& workload, const RpcOptions& options) {
  const TransportPlugin* plugin = FindTransport(workload.transport);
  if (plugin != nullptr) {
    if (absl::Status here = plugin->probe(); !here.ok()) return here;
  }
  const bool shm = plugin != nullptr && plugin->address_kinds.front() == Address::Kind::kShm;
  const std::string listen =
      shm ? absl::StrCat("shm:rpc-echo-", getpid()) : std::string("127.0.0.1:0");
  auto server = PeerProcess::Start({.role = "rpc-server",
                                    .core = options.server_core,
                                    .arguments = {workload.transport, workload.mode, listen},
                                    .lifetime = options.duration + 3 * kStartTimeout});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  return MeasureRpcAt(shm ? listen : absl::StrCat("127.0.0.1:", static_cast<int>(*port)), workload,
                      options);
}

absl::Span<const PeerRole> RpcRoles() { return kRoles; }

}  // namespace weft::benchmarks
