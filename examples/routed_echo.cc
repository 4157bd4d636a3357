// SPDX-License-Identifier: Apache-2.0
//
// A router at work: a client, the router, a fast and a slow server, in one program, over any
// transport. The servers join the router; it gives each request to one of them, and that one
// answers the client itself, as the addresses show that replies came from.
//
//   routed_echo
//   routed_echo --policy round_robin
//   routed_echo --transport shm

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/config/flags.h"
#include "weft/core/histogram.h"
#include "weft/core/task_group.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/router/router.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/server.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/registry.h"

ABSL_FLAG(std::string, policy, "", "who gets a request; without it, the configuration's, or jbsq");
ABSL_FLAG(int, requests, 2000, "how many, 1 at least");

namespace {

using weft::Address;

constexpr int kAskers = 8;  // requests at a time

struct Server {
  const char* name;
  absl::Duration takes;
  Address address = {};
  uint64_t requests = 0;
};

// What the parts of the program know of each other.
struct Show {
  std::string policy;
  uint32_t slots = 2;
  Address router;
  std::array<Server, 2> servers = {
      {{"fast", absl::Microseconds(100)}, {"slow", absl::Milliseconds(10)}}};
  std::map<std::string, uint64_t> senders;  // whom the client heard, and how often
  weft::Histogram latency;
};

// The client's port. It looks at who sends.
class WatchedPort final : public weft::DatagramDecorator {
 public:
  WatchedPort(std::unique_ptr<weft::DatagramPort> port, std::map<std::string, uint64_t>& senders)
      : DatagramDecorator(std::move(port)), senders_(senders) {}

  size_t Receive(absl::Span<weft::Datagram> burst) override {
    const size_t n = inner().Receive(burst);
    for (const weft::Datagram& datagram : burst.first(n)) {
      const absl::StatusOr<Address> sender = AddressOf(datagram.peer);
      if (sender.ok()) ++senders_[sender->ToString()];
    }
    return n;
  }

 private:
  std::map<std::string, uint64_t>& senders_;
};

// Of each call. On a machine that has other things to do, a round trip may take long.
constexpr weft::rpc::CallOptions kPatiently = {.timeout = absl::Seconds(20)};

using Part = absl::StatusOr<std::shared_ptr<void>>;

// Somewhere that is free.
Address Listen(const weft::Worker& worker, const std::string& name) {
  const std::string transport = worker.config().transport().name();
  if (transport == "shm") return Address::Shm(absl::StrCat(name, "-", getpid()));
  if (transport == "sim") return Address::Sim(name);
  const absl::StatusOr<Address> own = Address::Parse(weft::DefaultAddress(worker.config()));
  if (own.ok() && own->kind() == Address::Kind::kIpv6) {
    return Address::Ipv6(own->ipv6(), 0, own->scope());
  }
  return own.ok() ? Address::Ipv4(own->ipv4(), 0) : Address::Ipv4({127, 0, 0, 1}, 0);
}

// Parts of one program each have a port of their own: not worker.OpenDatagramPort(), by which
// workers share an address.
absl::StatusOr<std::unique_ptr<weft::DatagramPort>> Open(weft::Worker& worker,
                                                         const Address& local) {
  return worker.transport().OpenDatagramPort({.local = local});
}

Part Route(weft::Worker& worker, Show& show) {
  auto port = Open(worker, Listen(worker, "router"));
  if (!port.ok()) return port.status();
  weft::router::RouterOptions options;
  options.listen = options.control = (*port)->local_address();  // one port for all
  options.policy = show.policy;
  options.slots = show.slots;
  options.join = true;  // it begins without servers
  // On a busy machine, a server may be silent for a while.
  options.keepalive = absl::Seconds(2);
  show.router = options.listen;
  auto router = weft::router::Router::Create(worker.loop(), *std::move(port), nullptr, options);
  if (!router.ok()) return router.status();
  worker.Show("router", (*router)->Description());
  return std::shared_ptr<weft::router::Router>(*std::move(router));
}

weft::Task<void> Echo(weft::rpc::ServerCall call, Server& server) {
  ++server.requests;
  co_await call.loop().Sleep(server.takes);
  (void)call.Reply(std::move(call.request()));
}

Part Serve(weft::Worker& worker, Show& show, Server& server) {
  auto options = weft::rpc::ServerOptions::From(worker.config());
  if (!options.ok()) return options.status();
  // What `rpc { router { control: "..." join: true } }` says in a configuration.
  options->router.control = {show.router};
  options->router.join = true;
  auto port = Open(worker, Listen(worker, server.name));
  if (!port.ok()) return port.status();
  server.address = (*port)->local_address();
  auto made = weft::rpc::Server::Create(
      worker.loop(), *std::move(port), *options,
      [&server](weft::rpc::ServerCall call) { return Echo(std::move(call), server); });
  if (!made.ok()) return made.status();
  return std::shared_ptr<weft::rpc::Server>(*std::move(made));
}

// Asks until there are no requests left. The router refuses them as long as nobody has joined.
weft::Task<absl::Status> Ask(weft::rpc::Client& client, weft::Peer router, Show& show, int* left) {
  const std::array<uint8_t, 64> request = {};
  while (*left > 0) {
    --*left;
    const int64_t start_ns = client.loop().clock().NowNs();
    const absl::StatusOr<weft::BufferChain> reply =
        co_await client.Call(router, request, kPatiently);
    if (!reply.ok()) co_return reply.status();
    show.latency.Record(client.loop().clock().NowNs() - start_ns);
  }
  co_return absl::OkStatus();
}

weft::Task<void> AskAll(weft::Worker& worker, weft::rpc::Client& client, weft::Peer router,
                        Show& show) {
  const std::array<uint8_t, 64> request = {};
  absl::Status status;
  int patience = 1000;
  do {
    co_await client.loop().Sleep(absl::Milliseconds(5));  // servers join meanwhile
    status = (co_await client.Call(router, request)).status();
  } while (!status.ok() && --patience > 0);
  int left = absl::GetFlag(FLAGS_requests);
  std::vector<absl::Status> ends(kAskers);
  int asking = kAskers;
  weft::TaskGroup askers;
  const auto ask = [&](size_t i) -> weft::Task<void> {
    ends[i] = co_await Ask(client, router, show, &left);
    --asking;
  };
  for (size_t i = 0; i < ends.size() && status.ok(); ++i) askers.Spawn(ask(i));
  while (status.ok() && asking > 0) co_await client.loop().Sleep(absl::Milliseconds(1));
  for (const absl::Status& end : ends) status.Update(end);
  worker.Stop(status);
}

// A client with its coroutine, which ends first.
struct Asker {
  std::unique_ptr<weft::rpc::Client> client;
  weft::TaskGroup tasks;
};

Part Start(weft::Worker& worker, Show& show) {
  auto options = weft::rpc::ClientOptions::From(worker.config());
  if (!options.ok()) return options.status();
  auto port = Open(worker, {});
  if (!port.ok()) return port.status();
  auto client = weft::rpc::Client::Create(
      worker.loop(), std::make_unique<WatchedPort>(*std::move(port), show.senders), *options);
  if (!client.ok()) return client.status();
  auto router = (*client)->Resolve(show.router);
  if (!router.ok()) return router.status();
  auto asker = std::make_shared<Asker>(*std::move(client));
  asker->tasks.Spawn(AskAll(worker, *asker->client, *router, show));
  return asker;
}

// The parts of a worker. The last one made is the first to go.
struct Parts {
  ~Parts() {
    while (!all.empty()) all.pop_back();
  }
  std::vector<std::shared_ptr<void>> all;
};

Part SetUp(weft::Worker& worker, Show& show) {
  auto parts = std::make_shared<Parts>();
  for (int part = worker.index(); part < 4; part += worker.count()) {
    Part made = part == 0   ? Route(worker, show)
                : part == 1 ? Serve(worker, show, show.servers[0])
                : part == 2 ? Serve(worker, show, show.servers[1])
                            : Start(worker, show);
    if (!made.ok()) return made.status();
    parts->all.push_back(*std::move(made));
  }
  return parts;
}

void Print(const Show& show, const std::string& transport) {
  const double all = static_cast<double>(show.servers[0].requests + show.servers[1].requests) / 100;
  std::printf("%-8s %-24s %8s %10s %6s   %s\n", "server", "address", "takes", "requests", "%",
              "datagrams that the client got from it");
  for (const Server& server : show.servers) {
    const std::string address = server.address.ToString();
    const auto heard = show.senders.find(address);
    std::printf("%-8s %-24s %8s %10llu %6.1f   %llu\n", server.name, address.c_str(),
                absl::FormatDuration(server.takes).c_str(),
                static_cast<unsigned long long>(server.requests),
                static_cast<double>(server.requests) / all,
                static_cast<unsigned long long>(heard == show.senders.end() ? 0 : heard->second));
  }
  const std::string router = show.router.ToString();
  const auto heard = show.senders.find(router);
  std::printf("%-8s %-24s %8s %10s %6s   %llu\n", "router", router.c_str(), "", "", "",
              static_cast<unsigned long long>(heard == show.senders.end() ? 0 : heard->second));
  const weft::HistogramSnapshot latency = show.latency.Snapshot();
  std::printf("\nover %s with policy %s: p50 %.0f us, p99 %.0f us\n", transport.c_str(),
              show.policy.c_str(), static_cast<double>(latency.Percentile(50)) / 1e3,
              static_cast<double>(latency.Percentile(99)) / 1e3);
}

absl::Status Run() {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  if (absl::GetFlag(FLAGS_requests) < 1) {
    return absl::InvalidArgumentError("--requests: give 1 or more");
  }
  if (!config->host().has_workers() && !config->has_netstack()) {
    config->mutable_host()->set_workers(4);  // one for each part
  }
  Show show;
  show.policy = absl::GetFlag(FLAGS_policy);
  if (show.policy.empty()) show.policy = config->router().policy();
  show.slots = config->router().slots();
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  const absl::Status status =
      (*host)->Run([&](weft::Worker& worker) { return SetUp(worker, show); });
  if (status.ok()) Print(show, config->transport().name());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("A client, a router and two servers, over any transport.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "routed_echo: %s\n", std::string(status.message()).c_str());
  return 1;
}
