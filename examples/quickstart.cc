// SPDX-License-Identifier: Apache-2.0
//
// One client and one server, over each transport of this machine: the code does not change, only a
// name does. No arguments.

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/core/histogram.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace {

constexpr int kRoundTrips = 3000;

// The server: what to do with a request. This one sends it back, without a copy.
void Echo(weft::rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); }

// The client: asks, waits for the reply, asks again.
weft::Task<void> AskManyTimes(weft::rpc::Client& client, weft::Peer server,
                              weft::Histogram& latency, absl::Status& result) {
  const std::array<uint8_t, 64> request = {};
  for (int i = 0; i < kRoundTrips && result.ok(); ++i) {
    const int64_t start_ns = client.loop().clock().NowNs();
    absl::StatusOr<weft::BufferChain> reply = co_await client.Call(server, request);
    latency.Record(client.loop().clock().NowNs() - start_ns);
    result = reply.status();
  }
  client.loop().Stop();
}

// Runs both over `transport`: each on a thread of its own or, where time is simulated, taking
// turns.
absl::Status Run(weft::Transport& transport, const weft::Address& listen,
                 weft::Histogram& latency) {
  weft::VirtualTime* const virtual_time = transport.virtual_time();
  const weft::Clock& clock = virtual_time != nullptr ? *virtual_time : weft::RealClock();

  weft::Loop server_loop({}, clock);
  auto server_port = transport.OpenDatagramPort({.local = listen});
  if (!server_port.ok()) return server_port.status();
  auto server = weft::rpc::Server::Create(server_loop, *std::move(server_port), {}, &Echo);
  if (!server.ok()) return server.status();

  weft::Loop client_loop({}, clock);
  auto client_port = transport.OpenDatagramPort({});
  if (!client_port.ok()) return client_port.status();
  auto client = weft::rpc::Client::Create(client_loop, *std::move(client_port), {});
  if (!client.ok()) return client.status();

  const auto run_server = [&] {
    (*server)->port().BindToThisThread();
    server_loop.Run();
  };
  std::thread server_thread = virtual_time == nullptr ? std::thread(run_server) : std::thread();

  absl::Status result;
  auto peer = (*client)->Resolve((*server)->port().local_address());
  if (peer.ok()) {
    weft::TaskGroup tasks;
    tasks.Spawn(AskManyTimes(**client, *peer, latency, result));
    if (virtual_time == nullptr) {
      client_loop.Run();
    } else {
      RunVirtual(*virtual_time, {&server_loop, &client_loop},
                 [&] { return client_loop.stopped(); });
    }
  }
  server_loop.Stop();
  if (server_thread.joinable()) server_thread.join();
  return peer.ok() ? result : peer.status();
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

void PrintRow(const std::string& name, const weft::TransportPlugin& plugin) {
  weft::config::Transport config;
  config.set_name(name);
  weft::Histogram latency;
  absl::Status status = plugin.probe();
  if (status.ok()) {
    auto transport = weft::OpenPlainTransport(config);
    status = transport.ok() ? Run(**transport, ListenAddress(plugin), latency) : transport.status();
  }
  if (!status.ok()) {
    std::printf("%-10s not here: %s\n", name.c_str(), std::string(status.message()).c_str());
    return;
  }
  const weft::HistogramSnapshot seen = latency.Snapshot();
  std::printf("%-10s %7.1f us %7.1f us %12.0f   %s\n", name.c_str(),
              static_cast<double>(seen.Percentile(50)) / 1e3,
              static_cast<double>(seen.Percentile(99)) / 1e3, 1e9 / seen.mean(),
              plugin.summary.c_str());
}

}  // namespace

int main() {
  std::printf("%d requests of 64 bytes, one after the other, over each transport:\n\n",
              kRoundTrips);
  std::printf("%-10s %10s %10s %12s\n", "transport", "p50", "p99", "requests/s");
  for (const weft::TransportPlugin* plugin : weft::RegisteredTransports()) {
    PrintRow(plugin->name, *plugin);
  }
  std::printf(
      "\nThe code is examples/quickstart.cc: the same for each. Next:\n"
      "  bazel run //examples:echo_server                   a server in a process of its own\n"
      "  bazel run //cli:weft -- rpc ping 127.0.0.1:7000    ask it, from another terminal\n");
}
