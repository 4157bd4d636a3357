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
#include "absl/time/time.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/host/host.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/metrics.h"
#include "weft/rpc/options.h"
#include "weft/rpc/peer_metrics.h"
#include "weft/rpc/server.h"
#include "weft/rpc/session_log.h"

namespace weft::cli {
namespace {

// Of all workers.
struct Totals {
  std::mutex mutex;
  uint64_t replies = 0;
  uint64_t sessions = 0;
  uint64_t sessions_lost = 0;
  uint64_t refused = 0;
  uint64_t cancelled = 0;
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
    totals_.sessions += stats.sessions_opened.value();
    totals_.sessions_lost += stats.sessions_lost.value();
    totals_.refused += stats.refused.value();
    totals_.cancelled += stats.cancelled.value() + stats.deadlines.value();
    totals_.malformed += stats.malformed.value();
    totals_.expired += stats.expired.value() + stats.evicted.value();
    totals_.not_sent += stats.send_overflows.value();
  }

 private:
  const std::unique_ptr<rpc::Server> server_;
  Totals& totals_;
};

Task<void> EchoLater(rpc::ServerCall call, absl::Duration delay) {
  co_await call.loop().Sleep(delay);
  (void)call.Reply(std::move(call.request()));
}

absl::StatusOr<std::unique_ptr<rpc::Server>> MakeServer(Loop& loop,
                                                        std::unique_ptr<DatagramPort> port,
                                                        const rpc::ServerOptions& options,
                                                        absl::Duration delay) {
  if (delay > absl::ZeroDuration()) {
    return rpc::Server::Create(loop, std::move(port), options, [delay](rpc::ServerCall call) {
      return EchoLater(std::move(call), delay);
    });
  }
  return rpc::Server::Create(loop, std::move(port), options, [](rpc::ServerCall call) {
    (void)call.Reply(std::move(call.request()));  // the server counts what it cannot send
  });
}

// `address` becomes the one where the first worker listens, so that the others join it there.
absl::StatusOr<std::shared_ptr<void>> Serve(Worker& worker, Address& address, absl::Duration delay,
                                            Totals& totals) {
  absl::StatusOr<rpc::ServerOptions> options = rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  options->router.open_port = worker.PortOpener();
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = worker.OpenDatagramPort(address);
  if (!port.ok()) return port.status();
  address = (*port)->local_address();
  absl::StatusOr<std::unique_ptr<rpc::Server>> server =
      MakeServer(worker.loop(), *std::move(port), *options, delay);
  if (!server.ok()) return server.status();
  (*server)->set_session_events([port = &(*server)->port()](const rpc::SessionEvent& event) {
    rpc::LogSessionEvent(event, *port);
  });
  worker.Show((*server)->port());
  worker.Show(rpc::RegisterMetrics(worker.metrics(), **server, worker.labels()));
  worker.Show("rpc", rpc::Description(**server));
  worker.Sample(rpc::PeerSampler(**server, worker.labels()));
  worker.BeforeEnd([server = server->get()](auto done) { server->Drain(std::move(done)); });
  if (worker.index() + 1 == worker.count()) {
    absl::PrintF("listening on %s (%s)\n", address.ToString(), worker.config().transport().name());
    std::fflush(stdout);
  }
  return std::make_shared<EchoServer>(*std::move(server), totals);
}

absl::Status ServeUntilSignal(Endpoint& endpoint, absl::Duration delay) {
  absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(endpoint.config);
  if (!host.ok()) return host.status();
  if (const std::string http = (*host)->http_address(); !http.empty()) {
    absl::PrintF("metrics at http://%s/metrics\n", http);
  }
  Totals totals;
  const int64_t begin_ns = RealClock().NowNs();
  absl::Status status =
      (*host)->Run([&](Worker& worker) { return Serve(worker, endpoint.address, delay, totals); });
  if (!status.ok()) return status;
  absl::PrintF(
      "served %d requests in %.1f s; %d sessions, %d lost; %d refused, %d cancelled, %d malformed, "
      "%d expired, %d not sent\n",
      totals.replies, static_cast<double>(RealClock().NowNs() - begin_ns) / 1e9, totals.sessions,
      totals.sessions_lost, totals.refused, totals.cancelled, totals.malformed, totals.expired,
      totals.not_sent);
  return absl::OkStatus();
}

}  // namespace

int RpcServe(Arguments arguments) {
  EndpointOptions options;
  absl::Duration delay;
  uint64_t size = 0;
  Flags flags("rpc serve",
              "Answers each request by sending it back, until it is interrupted. It then answers\n"
              "what it has taken and asks clients to go elsewhere, for a second at most.\n"
              "The kind of the address chooses the transport if nothing else does.");
  flags.Text(
      "listen", "ADDRESS",
      "such as 127.0.0.1:7000, [::1]:0 (any free port) or shm:echo; without it, the\n"
      "                         configuration's rpc.listen, or else 127.0.0.1:7000, port 7000 of\n"
      "                         the first of netstack.addresses, or shm:echo",
      &options.address);
  flags.Number("size", "BYTES",
               "have buffers for requests of such a size, if the configuration has no\n"
               "                         transport.buffers.count",
               &size, 0, kMessageBytesMax);
  flags.Duration("delay", "wait before each reply, to try timeouts out (0)", &delay);
  flags.Config(&options.config, &options.transport, &options.plaintext);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(options);
  if (endpoint.ok()) ProvideBuffers(size, endpoint->config.mutable_transport());
  const absl::Status status =
      endpoint.ok() ? ServeUntilSignal(*endpoint, delay) : endpoint.status();
  if (status.ok()) return kExitOk;
  flags.Complain(status.message());
  return ExitStatus(status);
}

}  // namespace weft::cli
