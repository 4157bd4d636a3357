// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/kv_service/serve.h"

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/examples/kv_service/store.h"
#include "weft/host/host.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/metrics.h"
#include "weft/rpc/options.h"
#include "weft/rpc/peer_metrics.h"
#include "weft/rpc/service/service_metrics.h"
#include "weft/rpc/service/service_options.h"
#include "weft/rpc/service/service_server.h"

namespace kv {
namespace {

// What lives as long as the worker. Members are destroyed in reverse order: the server before the
// store that it serves.
struct Application {
  Store store;
  std::unique_ptr<weft::rpc::ServiceServer> server;
};

absl::StatusOr<std::shared_ptr<void>> SetUp(weft::Worker& worker) {
  const weft::config::Config& config = worker.config();
  auto address = weft::Address::Parse(config.rpc().listen());
  if (!address.ok()) return address.status();
  // Limits, formats, congestion control; who may connect, and what they may call.
  auto server_options = weft::rpc::ServerOptions::From(config);
  if (!server_options.ok()) return server_options.status();
  server_options->router.open_port = worker.PortOpener();
  auto service_options = weft::rpc::ServiceOptions::From(config.rpc());
  service_options.observers = worker.observers();  // metrics and traces of each method
  auto port = worker.OpenDatagramPort(*address);
  if (!port.ok()) return port.status();

  auto application = std::make_shared<Application>();
  auto server = weft::rpc::ServiceServer::Create(worker.loop(), *std::move(port), *server_options,
                                                 service_options, {&application->store});
  if (!server.ok()) return server.status();
  application->server = *std::move(server);

  // What others see of it: /metrics, /rpc, /status. From here on nothing can fail.
  weft::rpc::Server& rpc = application->server->server();
  worker.Show(rpc.port());
  worker.Show(weft::rpc::RegisterMetrics(worker.metrics(), rpc, worker.labels()));
  worker.Show(weft::rpc::RegisterMetrics(worker.metrics(), *application->server, worker.labels()));
  worker.Sample(weft::rpc::PeerSampler(rpc, worker.labels()));
  worker.Show("rpc", weft::rpc::Description(rpc));
  // A signal lets it answer what it has begun, and send its clients elsewhere, before it ends.
  worker.BeforeEnd([&rpc](auto done) { rpc.Drain(std::move(done)); });
  std::printf("listening on %s (%s)\n", rpc.port().local_address().ToString().c_str(),
              config.transport().name().c_str());
  std::fflush(stdout);
  return application;
}

}  // namespace

absl::Status Serve(const weft::config::Config& config) {
  // One store, and so one thread: with more, each would need a part of the keys, and clients would
  // have to know which.
  weft::config::Config own = config;
  own.mutable_host()->set_workers(1);
  auto host = weft::Host::Open(own);
  if (!host.ok()) return host.status();
  if (const std::string http = (*host)->http_address(); !http.empty()) {
    std::printf("status at http://%s/status\n", http.c_str());
  }
  return (*host)->Run(&SetUp);
}

}  // namespace kv
