// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/rpc_workload.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/server.h"

namespace weft::benchmarks {
namespace {

constexpr absl::Duration kFirstReplyTimeout = absl::Milliseconds(20);

absl::StatusOr<RpcResult> ResultOf(const rpc::LoadGenerator& load) {
  const rpc::LoadStats& stats = load.stats();
  if (stats.unanswered() > 0 || stats.replies == 0) {
    return absl::UnavailableError(
        absl::StrCat(stats.unanswered(), " of ", stats.sent,
                     " requests were not answered: ", load.first_error().message()));
  }
  const HistogramSnapshot latency = load.latency().Snapshot();
  return RpcResult{.p50_us = static_cast<double>(latency.Percentile(50)) / 1e3,
                   .p99_us = static_cast<double>(latency.Percentile(99)) / 1e3,
                   .replies_per_s = static_cast<double>(stats.replies) * 1e9 /
                                    static_cast<double>(stats.end_ns - stats.begin_ns)};
}

// As an argument of a process, and back.
std::string PerMillion(std::optional<double> loss) {
  return absl::StrCat(loss.has_value() ? std::llround(*loss * 1e6) : -1);
}
std::optional<double> LossOf(int64_t per_million) {
  if (per_million < 0) return std::nullopt;
  return static_cast<double>(per_million) / 1e6;
}

// Arguments: transport, mode, address to listen at, packets of a million that are lost (below 0:
// no decorator). Reports the port that it got, or 0.
absl::Status Serve(Peer& peer) {
  absl::StatusOr<LoopOptions> loop_options = LoopOptionsOf(peer.arguments()[1]);
  if (!loop_options.ok()) return loop_options.status();
  absl::StatusOr<Endpoint> endpoint = OpenEndpoint({.transport = peer.arguments()[0],
                                                    .local = peer.arguments()[2],
                                                    .loss = LossOf(peer.Number(3))});
  if (!endpoint.ok()) return endpoint.status();
  return ServeRpc(*loop_options, std::move(endpoint->port),
                  [&](uint16_t number) { peer.Report(number); });
}

Task<void> RunFor(Loop& loop, rpc::LoadGenerator& load, absl::Duration duration) {
  load.Start(nullptr);
  co_await loop.Sleep(duration);
  load.Stop();
  while (!load.done()) co_await loop.Sleep(absl::Microseconds(20));
}

// The way to the server may take its time to be there: links come up, neighbours are asked for.
Task<absl::Status> AwaitServer(rpc::Client& client, ::weft::Peer server) {
  const std::vector<uint8_t> request(64);
  const rpc::CallOptions options = {.timeout = kFirstReplyTimeout};
  const int64_t give_up_ns =
      client.loop().clock().NowNs() + absl::ToInt64Nanoseconds(kStartTimeout);
  absl::Status status;
  do {
    const absl::StatusOr<BufferChain> reply = co_await client.Call(server, request, options);
    status = reply.status();
    if (!status.ok()) co_await client.loop().Sleep(absl::Milliseconds(1));
  } while (!status.ok() && client.loop().clock().NowNs() < give_up_ns);
  co_return status;
}

Task<void> WarmUpAndMeasure(rpc::Client& client, ::weft::Peer server, rpc::LoadOptions load_options,
                            absl::Duration duration, absl::StatusOr<RpcResult>* result) {
  if (absl::Status there = co_await AwaitServer(client, server); there.ok()) {
    rpc::LoadGenerator warm_up(client, server, load_options);
    co_await RunFor(client.loop(), warm_up, duration / 10);
    rpc::LoadGenerator load(client, server, load_options);
    co_await RunFor(client.loop(), load, duration);
    *result = ResultOf(load);
  } else {
    *result = there;
  }
  client.loop().Stop();
}

// Arguments: transport, mode, the server's address, bytes, outstanding, rate, duration in
// nanoseconds, wire, packets of a million that are lost (see above). Reports the fields of
// RpcResult.
absl::Status Ask(Peer& peer) {
  absl::StatusOr<LoopOptions> loop_options = LoopOptionsOf(peer.arguments()[1]);
  if (!loop_options.ok()) return loop_options.status();
  absl::StatusOr<Address> address = Address::Parse(peer.arguments()[2]);
  if (!address.ok()) return address.status();
  absl::StatusOr<rpc::Wire> wire = WireOf(peer.arguments()[7]);
  if (!wire.ok()) return wire.status();
  absl::StatusOr<Endpoint> endpoint =
      OpenEndpoint({.transport = peer.arguments()[0], .loss = LossOf(peer.Number(8))});
  if (!endpoint.ok()) return endpoint.status();
  absl::StatusOr<RpcResult> result = AskRpc(*loop_options, std::move(endpoint->port),
                                            {.server = *address,
                                             .wire = *wire,
                                             .bytes = static_cast<uint64_t>(peer.Number(3)),
                                             .outstanding = static_cast<uint64_t>(peer.Number(4)),
                                             .rate = static_cast<uint64_t>(peer.Number(5)),
                                             .duration = absl::Nanoseconds(peer.Number(6))});
  if (!result.ok()) return result.status();
  for (const double value : {result->p50_us, result->p99_us, result->replies_per_s}) {
    peer.Report(value);
  }
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"rpc-server", &Serve}, {"rpc-client", &Ask}};

}  // namespace

std::string RpcWorkload::Name() const {
  std::string name =
      absl::StrCat("rpc ", wire == "original" ? "" : wire + " ", transport, " ", mode);
  if (request_bytes != 64) absl::StrAppend(&name, ", ", request_bytes, " B");
  if (rate != 0) absl::StrAppend(&name, ", ", rate, "/s");
  // In an open loop it is only a limit.
  if (outstanding != 1 && rate == 0) absl::StrAppend(&name, ", ", outstanding, " outstanding");
  if (loss.has_value()) absl::StrAppend(&name, ", ", *loss * 100, " % lost");
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
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration)), workload.wire,
                     PerMillion(workload.loss)},
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
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  const std::string listen = ListenAddress(workload.transport);
  auto server = PeerProcess::Start(
      {.role = "rpc-server",
       .core = options.server_core,
       .arguments = {workload.transport, workload.mode, listen, PerMillion(workload.loss)},
       .lifetime = options.duration + 3 * kStartTimeout});
  if (!server.ok()) return server.status();
  const absl::StatusOr<double> port = (*server)->AwaitReport(kStartTimeout);
  if (!port.ok()) return port.status();
  return MeasureRpcAt(ServerAddress(listen, *port), workload, options);
}

absl::Span<const PeerRole> RpcRoles() { return kRoles; }

absl::Status ServeRpc(const LoopOptions& loop_options, std::unique_ptr<DatagramPort> port,
                      absl::FunctionRef<void(uint16_t)> on_ready) {
  Loop loop(loop_options, RealClock());
  // Over frames, the two ends look like two machines.
  auto server = rpc::Server::Create(
      loop, std::move(port), {.security = rpc::Plaintext()},
      [](rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); });
  if (!server.ok()) return server.status();
  on_ready((*server)->port().local_address().port());
  loop.Run();
  return absl::OkStatus();
}

absl::StatusOr<RpcResult> AskRpc(const LoopOptions& loop_options,
                                 std::unique_ptr<DatagramPort> port, const RpcRequests& requests) {
  Loop loop(loop_options, RealClock());
  // A machine that is busy with something else may make a reply late, not lose it.
  auto client = rpc::Client::Create(
      loop, std::move(port),
      {.timeout = absl::Seconds(10), .wire = requests.wire, .security = rpc::Plaintext()});
  if (!client.ok()) return client.status();
  absl::StatusOr<::weft::Peer> server = (*client)->Resolve(requests.server);
  if (!server.ok()) return server.status();
  absl::StatusOr<RpcResult> result;
  TaskGroup tasks;
  tasks.Spawn(WarmUpAndMeasure(**client, *server,
                               {.request_bytes = static_cast<size_t>(requests.bytes),
                                .outstanding_max = static_cast<size_t>(requests.outstanding),
                                .rate_per_s = static_cast<double>(requests.rate)},
                               requests.duration, &result));
  loop.Run();
  return result;
}

}  // namespace weft::benchmarks
