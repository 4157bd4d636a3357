// SPDX-License-Identifier: Apache-2.0

// A project of its own that uses single libraries of weft: a server and a client that calls it,
// over the transport named on the command line, or else the kernel's UDP.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "rpc/client.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace {

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

weft::Task<void> Greet(weft::rpc::Client& client, weft::Peer server, absl::Status* outcome) {
  const std::string greeting = "hello";
  absl::StatusOr<weft::BufferChain> reply = co_await client.Call(server, Bytes(greeting));
  if (reply.ok()) std::printf("%s and %s\n", consumer::OwnClient(), reply->ToString().c_str());
  *outcome = reply.status();
  client.loop().Stop();
}

absl::Status Run(const std::string& transport_name) {
  weft::config::Transport config;
  config.set_name(transport_name);
  absl::StatusOr<std::unique_ptr<weft::Transport>> transport = weft::OpenPlainTransport(config);
  if (!transport.ok()) return transport.status();

  weft::Loop loop({}, weft::RealClock());

  weft::PortOptions loopback;
  loopback.local = weft::Address::Ipv4({127, 0, 0, 1}, 0);
  auto server_port = (*transport)->OpenDatagramPort(loopback);
  if (!server_port.ok()) return server_port.status();
  auto server =
      weft::rpc::Server::Create(loop, *std::move(server_port), {}, [](weft::rpc::ServerCall call) {
        const std::string reply = "weft's: " + call.request().ToString();
        if (absl::Status sent = call.Reply(Bytes(reply)); !sent.ok()) call.Drop();
      });
  if (!server.ok()) return server.status();

  auto client_port = (*transport)->OpenDatagramPort({});
  if (!client_port.ok()) return client_port.status();
  auto client = weft::rpc::Client::Create(loop, *std::move(client_port), {});
  if (!client.ok()) return client.status();
  absl::StatusOr<weft::Peer> peer = (*client)->Resolve((*server)->port().local_address());
  if (!peer.ok()) return peer.status();

  absl::Status outcome;
  weft::TaskGroup tasks;
  tasks.Spawn(Greet(**client, *peer, &outcome));
  loop.Run();
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "linux");
  if (!status.ok()) std::fprintf(stderr, "consumer: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
