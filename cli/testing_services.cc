// SPDX-License-Identifier: Apache-2.0
//
// Serves what the tests of services use, until it is interrupted:
//
//   testing_services ADDRESS [CONFIG]

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/cli/endpoint.h"
#include "weft/host/host.h"
#include "weft/rpc/options.h"
#include "weft/rpc/service/echo_service.h"
#include "weft/rpc/service/service_server.h"
#include "weft/rpc/service/stream_service.h"

namespace weft::cli {
namespace {

struct Services {
  rpc::testing::EchoServer echo;
  rpc::testing::StreamServer streams;
  std::unique_ptr<rpc::ServiceServer> server;
};

absl::StatusOr<std::shared_ptr<void>> Serve(Worker& worker, const Address& address) {
  absl::StatusOr<rpc::ServerOptions> options = rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = worker.OpenDatagramPort(address);
  if (!port.ok()) return port.status();
  auto services = std::make_shared<Services>();
  auto server = rpc::ServiceServer::Create(worker.loop(), *std::move(port), *options,
                                           rpc::ServiceOptions::From(worker.config().rpc()),
                                           {&services->echo, &services->streams});
  if (!server.ok()) return server.status();
  services->server = *std::move(server);
  std::printf("listening on %s (%s)\n",
              services->server->server().port().local_address().ToString().c_str(),
              worker.config().transport().name().c_str());
  std::fflush(stdout);
  return services;
}

absl::Status Run(const EndpointOptions& options) {
  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(options);
  if (!endpoint.ok()) return endpoint.status();
  absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(endpoint->config);
  if (!host.ok()) return host.status();
  return (*host)->Run([&](Worker& worker) { return Serve(worker, endpoint->address); });
}

}  // namespace
}  // namespace weft::cli

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const absl::Status status =
      weft::cli::Run({.config = argc > 2 ? argv[2] : "", .transport = "", .address = argv[1]});
  if (!status.ok()) std::fprintf(stderr, "testing_services: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
