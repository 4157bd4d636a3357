// SPDX-License-Identifier: Apache-2.0

// A project of its own that uses single libraries of weft: servers of bytes and of a typed service,
// and a client that calls both, over the transport named on the command line, or else the kernel's
// UDP.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "greeter.weft.h"
#include "rpc/client.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/rpc/service/service_server.h"
#include "weft/transports/registry.h"

namespace {

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class Greeter final : public consumer::GreeterService {
 public:
  weft::Task<absl::Status> Greet(weft::rpc::ServerContext&, const consumer::GreetRequest& request,
                                 consumer::GreetResponse* response) override {
    response->set_greeting("hello, " + request.name());
    co_return absl::OkStatus();
  }
};

weft::Task<absl::Status> CallBoth(weft::rpc::Client& client, weft::Peer bytes_server,
                                  weft::Peer greeter_server) {
  const std::string greeting = "hello";
  absl::StatusOr<weft::BufferChain> reply = co_await client.Call(bytes_server, Bytes(greeting));
  if (!reply.ok()) co_return reply.status();
  std::printf("%s and %s\n", consumer::OwnClient(), reply->ToString().c_str());

  weft::rpc::Channel channel(client, greeter_server);
  consumer::GreeterClient greeter(channel);
  consumer::GreetRequest request;
  request.set_name("consumer");
  consumer::GreetResponse response;
  absl::Status status = co_await greeter.Greet(request, &response);
  if (status.ok()) std::printf("%s\n", response.greeting().c_str());
  co_return status;
}

weft::Task<void> Run(weft::rpc::Client& client, weft::Peer bytes_server, weft::Peer greeter_server,
                     absl::Status* outcome) {
  *outcome = co_await CallBoth(client, bytes_server, greeter_server);
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

  Greeter greeter;
  auto greeter_port = (*transport)->OpenDatagramPort(loopback);
  if (!greeter_port.ok()) return greeter_port.status();
  auto greeter_server =
      weft::rpc::ServiceServer::Create(loop, *std::move(greeter_port), {}, {}, {&greeter});
  if (!greeter_server.ok()) return greeter_server.status();

  auto client_port = (*transport)->OpenDatagramPort({});
  if (!client_port.ok()) return client_port.status();
  auto client = weft::rpc::Client::Create(loop, *std::move(client_port), {});
  if (!client.ok()) return client.status();
  absl::StatusOr<weft::Peer> peer = (*client)->Resolve((*server)->port().local_address());
  if (!peer.ok()) return peer.status();

  absl::StatusOr<weft::Peer> greeter_peer =
      (*client)->Resolve((*greeter_server)->server().port().local_address());
  if (!greeter_peer.ok()) return greeter_peer.status();

  absl::Status outcome;
  weft::TaskGroup tasks;
  tasks.Spawn(Run(**client, *peer, *greeter_peer, &outcome));
  loop.Run();
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "linux");
  if (!status.ok()) std::fprintf(stderr, "consumer: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
