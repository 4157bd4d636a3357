// SPDX-License-Identifier: Apache-2.0
//
// A client and a server, over each transport of this machine: the code stays, the name changes.

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/histogram.h"
#include "weft/core/task_group.h"
#include "weft/examples/own_networks.h"
#include "weft/host/host.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace {

// Over each transport, or as many as there is time for: on a machine that has other things to do, a
// round trip between threads that never sleep may take a hundred times as long.
constexpr int kRoundTrips = 30000;
constexpr int64_t kTimeNs = 5'000'000'000;
// Of each call. The way to the server may take its time to be there: links come up, neighbours are
// asked for.
constexpr weft::rpc::CallOptions kPatiently = {.timeout = absl::Seconds(20)};

// The server: what to do with a request. This one sends it back.
void Echo(weft::rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); }

// The client: asks, waits for the reply, asks again.
weft::Task<void> Ask(weft::rpc::Client& client, weft::Peer server, weft::Worker& worker,
                     weft::Histogram& latency) {
  const std::array<uint8_t, 64> request = {};
  const weft::Clock& clock = worker.loop().clock();
  const int64_t end_ns = clock.NowNs() + kTimeNs;
  absl::Status status;
  for (int i = 0; i < kRoundTrips && status.ok(); ++i) {
    const int64_t start_ns = clock.NowNs();
    if (start_ns > end_ns) break;
    const absl::StatusOr<weft::BufferChain> reply =
        co_await client.Call(server, request, kPatiently);
    latency.Record(clock.NowNs() - start_ns);
    status = reply.status();
  }
  worker.Stop(status);
}

// A client with its coroutine, which ends first.
struct Asker {
  std::unique_ptr<weft::rpc::Client> client;
  weft::TaskGroup tasks;
};

using Application = absl::StatusOr<std::shared_ptr<void>>;

// The server's part of a program. `address` gets the one where it is reached.
Application Serve(weft::Worker& worker, const weft::Address& listen, weft::Address* address) {
  auto options = weft::rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  // Not worker.OpenDatagramPort(), by which workers share one address.
  auto port = worker.transport().OpenDatagramPort({.local = listen});
  if (!port.ok()) return port.status();
  *address = (*port)->local_address();
  auto server = weft::rpc::Server::Create(worker.loop(), *std::move(port), *options, &Echo);
  if (!server.ok()) return server.status();
  return std::shared_ptr<weft::rpc::Server>(*std::move(server));
}

// The client's.
Application Start(weft::Worker& worker, const weft::Address& address, weft::Histogram& latency) {
  auto options = weft::rpc::ClientOptions::From(worker.config());
  if (!options.ok()) return options.status();
  auto port = worker.transport().OpenDatagramPort({});
  if (!port.ok()) return port.status();
  auto client = weft::rpc::Client::Create(worker.loop(), *std::move(port), *options);
  if (!client.ok()) return client.status();
  auto server = (*client)->Resolve(address);
  if (!server.ok()) return server.status();
  auto asker = std::make_shared<Asker>(*std::move(client));
  asker->tasks.Spawn(Ask(*asker->client, *server, worker, latency));
  return asker;
}

// Both in one host: one worker serves, another asks. Each is a thread; a simulated network has them
// take turns.
absl::Status Run(const weft::config::Config& config, const weft::Address& listen,
                 weft::Histogram& latency) {
  auto host = weft::Host::Open(config);
  if (!host.ok()) return host.status();
  weft::Address address;
  return (*host)->Run([&](weft::Worker& worker) {
    return worker.index() == 0 ? Serve(worker, listen, &address) : Start(worker, address, latency);
  });
}

// Each in a host of its own, at the two ends of a network, as they would be on two machines.
absl::Status RunApart(const weft::examples::OwnNetwork& network, weft::Histogram& latency) {
  auto server = weft::Host::Open(network.server, {.handle_signals = false});
  if (!server.ok()) return server.status();
  std::promise<weft::Address> listens;
  std::future<weft::Address> address = listens.get_future();
  absl::Status served;
  std::thread thread([&] {
    weft::Address own;
    served = (*server)->Run([&](weft::Worker& worker) {
      Application application =
          Serve(worker, *weft::Address::Parse(network.server.rpc().listen()), &own);
      if (application.ok()) listens.set_value(own);
      return application;
    });
    if (own.kind() == weft::Address::Kind::kNone) listens.set_value(own);
  });
  const weft::Address to = address.get();
  absl::Status asked;
  if (to.kind() != weft::Address::Kind::kNone) {
    auto client = weft::Host::Open(network.client);
    asked = client.ok()
                ? (*client)->Run([&](weft::Worker& worker) { return Start(worker, to, latency); })
                : client.status();
  }
  (*server)->Stop();
  thread.join();
  served.Update(asked);
  return served;
}

// Somewhere that is free.
weft::Address ListenAddress(const weft::TransportPlugin& plugin) {
  switch (plugin.address_kinds.front()) {
    case weft::Address::Kind::kShm:
      return weft::Address::Shm("quickstart-" + std::to_string(getpid()));
    case weft::Address::Kind::kSim:
      return weft::Address::Sim("server");
    default:
      return weft::Address::Ipv4({127, 0, 0, 1}, 0);
  }
}

void PrintRow(const std::string& name, const std::string& summary, const absl::Status& status,
              const weft::Histogram& latency) {
  if (!status.ok()) {
    std::printf("%-10s not here: %s\n", name.c_str(), std::string(status.message()).c_str());
    return;
  }
  const weft::HistogramSnapshot seen = latency.Snapshot();
  std::printf("%-10s %7.1f us %7.1f us %12.0f   %s\n", name.c_str(),
              static_cast<double>(seen.Percentile(50)) / 1e3,
              static_cast<double>(seen.Percentile(99)) / 1e3, 1e9 / seen.mean(), summary.c_str());
  std::fflush(stdout);
}

// A transport that carries messages by itself.
void TryTransport(const weft::TransportPlugin& plugin) {
  weft::config::Config config;
  config.mutable_transport()->set_name(plugin.name);
  config.mutable_host()->set_workers(2);
  weft::Histogram latency;
  absl::Status status = plugin.probe();
  if (status.ok()) status = Run(config, ListenAddress(plugin), latency);
  PrintRow(plugin.name, plugin.summary, status, latency);
}

// Frames, with weft's own network stack above them.
void TryNetwork(const weft::examples::OwnNetwork& network, const absl::Status& entered) {
  weft::Histogram latency;
  // DPDK's two ends need no interface of the kernel's.
  absl::Status status = network.name == "dpdk" ? absl::OkStatus() : entered;
  if (status.ok()) status = RunApart(network, latency);
  PrintRow(network.name, network.summary, status, latency);
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("A client and a server over each transport of this machine.");
  absl::ParseCommandLine(argc, argv);
  std::printf("Up to %d requests of 64 bytes, one after the other, over each transport:\n\n",
              kRoundTrips);
  std::printf("%-10s %10s %10s %12s\n", "transport", "p50", "p99", "requests/s");
  for (const weft::TransportPlugin* plugin : weft::RegisteredTransports()) {
    if (plugin->capabilities.datagrams) TryTransport(*plugin);
  }
  // No thread is left, and the next ones inherit it.
  const absl::Status entered = weft::examples::EnterOwnNetwork();
  for (const auto& network : weft::examples::OwnNetworks()) TryNetwork(network, entered);
  std::printf(
      "\nThe same code each time: examples/quickstart.cc. Next, from two terminals:\n"
      "  bazel run //examples:echo_server\n"
      "  bazel run //cli:weft -- rpc ping 127.0.0.1:7000\n");
}
