// SPDX-License-Identifier: Apache-2.0

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"

namespace weft::cli {
namespace {

absl::StatusOr<std::unique_ptr<rpc::Server>> StartEcho(Loop& loop, Endpoint& endpoint) {
  absl::StatusOr<rpc::ServerOptions> options = rpc::ServerOptions::From(endpoint.config.rpc());
  if (!options.ok()) return options.status();
  absl::StatusOr<std::unique_ptr<DatagramPort>> port =
      endpoint.transport->OpenDatagramPort({.local = endpoint.address});
  if (!port.ok()) return port.status();
  return rpc::Server::Create(loop, *std::move(port), *options, [](rpc::ServerCall call) {
    (void)call.Reply(std::move(call.request()));  // the server counts what it cannot send
  });
}

void PrintStatistics(const rpc::ServerStats& stats, int64_t elapsed_ns) {
  std::printf("served %llu requests in %.1f s; %llu malformed, %llu expired, %llu not sent\n",
              static_cast<unsigned long long>(stats.replies.value()), static_cast<double>(elapsed_ns) / 1e9,
              static_cast<unsigned long long>(stats.malformed.value()),
              static_cast<unsigned long long>(stats.expired.value() + stats.evicted.value()),
              static_cast<unsigned long long>(stats.send_overflows.value()));
}

}  // namespace

int RpcServe(Arguments arguments) {
  EndpointOptions options;
  Flags flags("rpc serve",
              "Answers each request by sending it back, until it is interrupted.\n"
              "The kind of the address chooses the transport if nothing else does.");
  flags.Text(
      "listen", "ADDRESS",
      "such as 127.0.0.1:7000, [::1]:0 (any free port) or shm:echo; without it, the\n"
      "                         configuration's rpc.listen, or else 127.0.0.1:7000 or shm:echo",
      &options.address);
  flags.Config(&options.config, &options.transport);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  absl::StatusOr<Endpoint> endpoint = OpenEndpoint(options);
  if (!endpoint.ok()) {
    flags.UsageError(endpoint.status().message());
    return ExitStatus(endpoint.status());
  }
  Loop loop(LoopOptionsOf(endpoint->config), RealClock());
  absl::StatusOr<std::unique_ptr<rpc::Server>> server = StartEcho(loop, *endpoint);
  if (!server.ok()) {
    flags.UsageError(server.status().message());
    return ExitStatus(server.status());
  }
  const StopOnSignal stop_on_signal(loop);
  std::printf("listening on %s (%s)\n", (*server)->port().local_address().ToString().c_str(),
              std::string(endpoint->transport->name()).c_str());
  std::fflush(stdout);
  const int64_t begin_ns = loop.clock().NowNs();
  loop.Run();
  PrintStatistics((*server)->stats(), loop.clock().NowNs() - begin_ns);
  return kExitOk;
}

}  // namespace weft::cli
