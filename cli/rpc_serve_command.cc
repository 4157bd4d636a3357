// SPDX-License-Identifier: Apache-2.0

#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/core/clock.h"
#include "weft/host/host.h"
#include "weft/rpc/metrics.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"

namespace weft::cli {
namespace {

// Of all workers.
struct Totals {
  std::mutex mutex;
  uint64_t replies = 0;
  uint64_t malformed = 0;
  uint64_t expired = 0;
  uint64_t not_sent = 0;
};

// A worker's server; what it has counted goes to the totals when it ends.
class EchoServer {
 public:
  EchoServer(std::unique_ptr<rpc::Server> server, Totals& totals)
      : server_(std::move(server)), totals_(totals) {}
  ~EchoServer() {
    const rpc::ServerStats& stats = server_->stats();
    const std::lock_guard<std::mutex> lock(totals_.mutex);
    totals_.replies += stats.replies.value();
    totals_.malformed += stats.malformed.value();
    totals_.expired += stats.expired.value() + stats.evicted.value();
    totals_.not_sent += stats.send_overflows.value();
  }

 private:
  const std::unique_ptr<rpc::Server> server_;
  Totals& totals_;
};

// `address` becomes the one where the first worker listens, so that the others join it there.
absl::StatusOr<std::shared_ptr<void>> Serve(Worker& worker, Address& address, Totals& totals) {
  absl::StatusOr<rpc::ServerOptions> options = rpc::ServerOptions::From(worker.config().rpc());
  if (!options.ok()) return options.status();
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = worker.OpenDatagramPort(address);
  if (!port.ok()) return port.status();
  address = (*port)->local_address();
  absl::StatusOr<std::unique_ptr<rpc::Server>> server =
      rpc::Server::Create(worker.loop(), *std::move(port), *options, [](rpc::ServerCall call) {
        (void)call.Reply(std::move(call.request()));  // the server counts what it cannot send
      });
  if (!server.ok()) return server.status();
  worker.Show((*server)->port());
  worker.Show(rpc::RegisterMetrics(worker.metrics(), **server, worker.labels()));
  if (worker.index() + 1 == worker.count()) {
    absl::PrintF("listening on %s (%s)\n", address.ToString(), worker.config().transport().name());
    std::fflush(stdout);
  }
  return std::make_shared<EchoServer>(*std::move(server), totals);
}

absl::Status ServeUntilSignal(Endpoint& endpoint) {
  absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(endpoint.config);
  if (!host.ok()) return host.status();
  if (const std::string http = (*host)->http_address(); !http.empty()) {
    absl::PrintF("metrics at http://%s/metrics\n", http);
  }
  Totals totals;
  const int64_t begin_ns = RealClock().NowNs();
  absl::Status status =
      (*host)->Run([&](Worker& worker) { return Serve(worker, endpoint.address, totals); });
  if (!status.ok()) return status;
  absl::PrintF("served %d requests in %.1f s; %d malformed, %d expired, %d not sent\n",
               totals.replies, static_cast<double>(RealClock().NowNs() - begin_ns) / 1e9,
               totals.malformed, totals.expired, totals.not_sent);
  return absl::OkStatus();
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
      "                         configuration's rpc.listen, or else 127.0.0.1:7000, port 7000 of\n"
      "                         the first of netstack.addresses, or shm:echo",
      &options.address);
  flags.Config(&options.config, &options.transport);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(options);
  const absl::Status status = endpoint.ok() ? ServeUntilSignal(*endpoint) : endpoint.status();
  if (status.ok()) return kExitOk;
  flags.Complain(status.message());
  return ExitStatus(status);
}

}  // namespace weft::cli
