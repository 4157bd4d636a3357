// SPDX-License-Identifier: Apache-2.0
//
// Traffic for captures: a client and a server in one program that do what there is to do, each
// thing once. The configuration given first says over which transport, and with which decorators;
// the address given second is where the server listens.
//
//   calls_to_capture sim.cfg sim:server

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/config/loader.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/host/host.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"
#include "weft/transports/address.h"

namespace {

using Application = absl::StatusOr<std::shared_ptr<void>>;

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// The first letter of a request says what becomes of it.
weft::Task<void> Handle(weft::rpc::ServerCall call) {
  switch (call.request().ToString().front()) {
    case 'd':
      call.Drop();
      break;
    case 's':  // until nobody waits any more
      co_await call.loop().Sleep(absl::Hours(1));
      break;
    case 'u':  // never answered
      break;
    default:
      (void)call.Reply(std::move(call.request()));
  }
}

weft::Task<void> Ask(weft::rpc::Client& client, weft::Peer server, weft::Worker& worker) {
  const std::string requests[] = {
      "echo", std::string(20'000, 'e'), "drop", "unanswered", "sleep",
  };
  for (const std::string& request : requests) {
    const absl::StatusOr<weft::BufferChain> reply =
        co_await client.Call(server, Bytes(request), {.timeout = absl::Milliseconds(200)});
    std::printf("%s %s\n", request.substr(0, 16).c_str(),
                absl::StatusCodeToString(reply.status().code()).c_str());
  }
  worker.Stop(absl::OkStatus());
}

struct Asker {
  std::unique_ptr<weft::rpc::Client> client;
  weft::TaskGroup tasks;
};

Application Serve(weft::Worker& worker, weft::Address& address) {
  auto options = weft::rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  auto port = worker.transport().OpenDatagramPort({.local = address});
  if (!port.ok()) return port.status();
  address = (*port)->local_address();
  auto server = weft::rpc::Server::Create(worker.loop(), *std::move(port), *options, &Handle);
  if (!server.ok()) return server.status();
  return std::shared_ptr<weft::rpc::Server>(*std::move(server));
}

Application Start(weft::Worker& worker, const weft::Address& address) {
  auto options = weft::rpc::ClientOptions::From(worker.config());
  if (!options.ok()) return options.status();
  auto port = worker.transport().OpenDatagramPort({});
  if (!port.ok()) return port.status();
  auto client = weft::rpc::Client::Create(worker.loop(), *std::move(port), *options);
  if (!client.ok()) return client.status();
  auto server = (*client)->Resolve(address);
  if (!server.ok()) return server.status();
  auto asker = std::make_shared<Asker>(*std::move(client));
  asker->tasks.Spawn(Ask(*asker->client, *server, worker));
  return asker;
}

absl::Status Run(const char* config_file, const char* listen) {
  absl::StatusOr<weft::config::Config> config = weft::config::LoadFile(config_file);
  if (!config.ok()) return config.status();
  config->mutable_host()->set_workers(2);
  absl::StatusOr<weft::Address> address = weft::Address::Parse(listen);
  if (!address.ok()) return address.status();
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  return (*host)->Run([&](weft::Worker& worker) {
    return worker.index() == 0 ? Serve(worker, *address) : Start(worker, *address);
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: calls_to_capture CONFIG ADDRESS\n");
    return 2;
  }
  const absl::Status status = Run(argv[1], argv[2]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
