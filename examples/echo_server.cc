// SPDX-License-Identifier: Apache-2.0
//
// Answers each request by sending it back. The transport, the threads and the address come from the
// configuration; without one it serves one thread on 127.0.0.1:7000.
//
//   echo_server
//   echo_server --transport shm --listen shm:echo
//   echo_server --config examples/configs/linux.textproto

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "weft/config/flags.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/rpc/describe.h"
#include "weft/rpc/metrics.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"

ABSL_FLAG(std::string, listen, "",
          "address to serve at; without it, the configuration's rpc.listen, or else port 7000 of "
          "127.0.0.1 or of the first of netstack.addresses or, over shared memory, shm:echo");

namespace {

std::string ListenAddress(const weft::config::Config& config) {
  if (std::string flag = absl::GetFlag(FLAGS_listen); !flag.empty()) return flag;
  if (!config.rpc().listen().empty()) return config.rpc().listen();
  return weft::DefaultAddress(config);
}

// The application's part of a worker: each has a server of its own, over a port of its own.
absl::StatusOr<std::shared_ptr<void>> Serve(weft::Worker& worker) {
  auto address = weft::Address::Parse(ListenAddress(worker.config()));
  if (!address.ok()) return address.status();
  auto options = weft::rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  options->router.open_port = worker.PortOpener();
  auto port = worker.OpenDatagramPort(*address);
  if (!port.ok()) return port.status();
  auto server = weft::rpc::Server::Create(
      worker.loop(), *std::move(port), *options,
      [](weft::rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); });
  if (!server.ok()) return server.status();
  worker.Show((*server)->port());
  worker.Show(weft::rpc::RegisterMetrics(worker.metrics(), **server, worker.labels()));
  worker.Show("rpc", weft::rpc::Description(**server));  // for `weft rpc stats`
  worker.BeforeEnd([server = server->get()](auto done) { server->Drain(std::move(done)); });
  std::printf("listening on %s (%s)\n", (*server)->port().local_address().ToString().c_str(),
              worker.config().transport().name().c_str());
  std::fflush(stdout);
  return std::shared_ptr<void>(*std::move(server));
}

absl::Status Run() {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError(
        "a simulated network lives within one process, and this is one side only; "
        "examples/quickstart.cc has both");
  }
  return (*host)->Run(&Serve);  // until SIGINT or SIGTERM
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Answers each request by sending it back, until it is interrupted.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "echo_server: %s\n", std::string(status.message()).c_str());
  return 1;
}
