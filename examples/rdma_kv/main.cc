// SPDX-License-Identifier: Apache-2.0
//
// A key-value store whose clients read the server's table by themselves: with one-sided reads over
// RDMA, by loads over shared memory, and by messages, as if, where a transport has neither. Puts
// and deletes are RPCs, and so are gets for as long as the table cannot be read.
//
//   rdma_kv serve &                                        over the kernel's UDP
//   rdma_kv put colour blue
//   rdma_kv get colour
//   rdma_kv load 1000                                      with figures
//   rdma_kv --transport shm serve &                        the same over shared memory
//   rdma_kv --config examples/configs/rdma-kv.textproto serve &      over RDMA
//   rdma_kv --config ... --local 10.77.0.2 get colour                from another address
//
// layout.h has how the table is read while it is written, store.h the server, client.h the client.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "weft/config/flags.h"
#include "weft/core/histogram.h"
#include "weft/core/task_group.h"
#include "weft/examples/rdma_kv/client.h"
#include "weft/examples/rdma_kv/store.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/service/service_options.h"
#include "weft/rpc/service/service_server.h"

ABSL_FLAG(std::string, listen, "",
          "serve: address to listen at; without it, the configuration's rpc.listen, or else port "
          "7300 of 127.0.0.1 or of the first of netstack.addresses or, over shared memory, "
          "shm:rdma_kv");
ABSL_FLAG(
    std::string, server, "",
    "address of the server; without it, the first of the configuration's rpc.servers, or else "
    "where it serves by itself");
ABSL_FLAG(std::string, local, "",
          "IP address of the client's own device, where there are several; default: any");
ABSL_FLAG(std::string, gets, "read", "how to get: read, wherever the table can be read; rpc");
ABSL_FLAG(uint32_t, slot_bytes, 256, "serve: room for a key with its value, and 24 bytes");
ABSL_FLAG(uint32_t, buckets, 64, "serve: of 4 slots, to begin with; doubled when they are full");

namespace rdma_kv {
namespace {

using Words = std::vector<std::string>;
using weft::Address;
using Application = absl::StatusOr<std::shared_ptr<void>>;

std::string Default(const weft::config::Config& config) {
  return weft::DefaultAddress(config, 7300, "rdma_kv");
}

// Where a port for memory is beside one for RPC at `address`: of the same machine or device.
Address MemoryAddress(const Address& address) {
  switch (address.kind()) {
    case Address::Kind::kIpv4:
      return Address::Ipv4(address.ipv4(), 0);
    case Address::Kind::kIpv6:
      return Address::Ipv6(address.ipv6(), 0, address.scope());
    case Address::Kind::kShm:
      return Address::Shm(address.name() + "-memory");
    default:
      return {};
  }
}

// --- The server.

// What lives as long as the worker; destroyed from the last to the first.
struct Server {
  ~Server() {
    if (store == nullptr) return;
    const StoreStats& stats = store->stats();
    std::printf(
        "%zu keys; %llu puts, %llu deletes, %llu gets by RPC, %llu moves; the table was "
        "shown %llu times\n",
        store->table().size(), static_cast<unsigned long long>(stats.puts),
        static_cast<unsigned long long>(stats.deletes), static_cast<unsigned long long>(stats.gets),
        static_cast<unsigned long long>(stats.moves),
        static_cast<unsigned long long>(stats.attached));
  }
  std::optional<weft::MemoryClient> memory;
  std::unique_ptr<Store> store;
  std::unique_ptr<weft::rpc::ServiceServer> rpc;
};

Application SetUpServer(weft::Worker& worker) {
  const weft::config::Config& config = worker.config();
  std::string listen = absl::GetFlag(FLAGS_listen);
  if (listen.empty()) listen = config.rpc().listen();
  const auto address = Address::Parse(listen.empty() ? Default(config) : listen);
  if (!address.ok()) return address.status();
  auto server_options = weft::rpc::ServerOptions::From(config);
  if (!server_options.ok()) return server_options.status();
  auto service_options = weft::rpc::ServiceOptions::From(config.rpc());
  service_options.observers = worker.observers();
  auto port = worker.OpenDatagramPort(*address);
  if (!port.ok()) return port.status();
  auto memory = worker.OpenRemoteMemory(MemoryAddress((*port)->local_address()));
  if (!memory.ok()) return memory.status();

  auto server = std::make_shared<Server>();
  server->memory.emplace(worker.loop(), *std::move(memory));
  StoreOptions options = {.slot_bytes = absl::GetFlag(FLAGS_slot_bytes),
                          .buckets = absl::GetFlag(FLAGS_buckets)};
  options.address_of = [&rpc = server->rpc](const weft::Peer& peer) {
    return rpc->server().port().AddressOf(peer);
  };
  auto store = Store::Create(&*server->memory, options);
  if (!store.ok()) return store.status();
  server->store = *std::move(store);
  auto rpc = weft::rpc::ServiceServer::Create(worker.loop(), *std::move(port), *server_options,
                                              service_options, {server->store.get()});
  if (!rpc.ok()) return rpc.status();
  server->rpc = *std::move(rpc);
  worker.Show(server->rpc->server().port());
  worker.Show(server->memory->memory());
  std::printf("listening on %s (%s), table at %s\n",
              server->rpc->server().port().local_address().ToString().c_str(),
              config.transport().name().c_str(),
              server->memory->memory().local_address().ToString().c_str());
  std::fflush(stdout);
  return server;
}

// --- The client.

weft::Task<absl::Status> Get(StoreClient& store, const Words& words) {
  StoreClient::Value value;
  absl::Status status = co_await store.Get(words[1], &value);
  if (status.ok()) std::printf("%s\n", value.bytes.c_str());
  co_return status;
}

weft::Task<absl::Status> Put(StoreClient& store, const Words& words) {
  const auto written = co_await store.Put(words[1], words[2]);
  if (written.ok()) std::printf("%s\n", written->existed ? "replaced" : "new");
  co_return written.status();
}

weft::Task<absl::Status> Delete(StoreClient& store, const Words& words) {
  const auto deleted = co_await store.Delete(words[1]);
  if (deleted.ok()) std::printf("%s\n", *deleted ? "deleted" : "was not there");
  co_return deleted.status();
}

void PrintFigures(const char* what, const weft::Histogram& latency) {
  const weft::HistogramSnapshot seen = latency.Snapshot();
  if (seen.count() == 0) return;
  std::printf("%-20s %8llu %9.1f us %9.1f us\n", what,
              static_cast<unsigned long long>(seen.count()),
              static_cast<double>(seen.Percentile(50)) / 1e3,
              static_cast<double>(seen.Percentile(99)) / 1e3);
}

// Puts so many rows and gets each ten times.
weft::Task<absl::Status> Load(StoreClient& store, const weft::Clock& clock, const Words& words) {
  uint64_t count = 0;
  if (!absl::SimpleAtoi(words[1], &count)) {
    co_return absl::InvalidArgumentError(absl::StrCat("'", words[1], "' is no number of rows"));
  }
  weft::Histogram puts;
  weft::Histogram reads;
  weft::Histogram rpcs;
  StoreClient::Value value;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key = absl::StrCat("row/", i);
    int64_t begin_ns = clock.NowNs();
    const auto written = co_await store.Put(key, key);
    if (!written.ok()) co_return written.status();
    puts.Record(clock.NowNs() - begin_ns);
    for (int again = 0; again < 10; ++again) {
      begin_ns = clock.NowNs();
      absl::Status status = co_await store.Get(key, &value);
      if (!status.ok()) co_return status;
      if (value.bytes != key) co_return absl::DataLossError("another value");
      (value.by_read ? reads : rpcs).Record(clock.NowNs() - begin_ns);
    }
  }
  std::printf("%-20s %8s %12s %12s\n", "", "number", "p50", "p99");
  PrintFigures("puts", puts);
  PrintFigures("gets, one-sided", reads);
  PrintFigures("gets by RPC", rpcs);
  const StoreClientStats& stats = store.stats();
  std::printf("%llu buckets read, %llu of them while they were written; attached %llu times\n",
              static_cast<unsigned long long>(stats.buckets_read),
              static_cast<unsigned long long>(stats.torn),
              static_cast<unsigned long long>(stats.attached));
  co_return absl::OkStatus();
}

struct Client {
  std::unique_ptr<weft::rpc::Client> rpc;
  std::optional<weft::rpc::Channel> channel;
  std::optional<weft::MemoryClient> memory;
  std::optional<StoreClient> store;
  weft::TaskGroup tasks;
};

weft::Task<absl::Status> Execute(weft::Worker& worker, StoreClient& store, const Words& words) {
  // So that the first get may be a read. Without, it would be an RPC, and the next one a read.
  const bool reads = words[0] == "get" || words[0] == "load";
  if (reads && absl::GetFlag(FLAGS_gets) == "read") (void)co_await store.Attach();
  if (reads) std::fprintf(stderr, "gets: %s\n", store.way().c_str());
  if (words[0] == "get" && words.size() == 2) co_return co_await Get(store, words);
  if (words[0] == "put" && words.size() == 3) co_return co_await Put(store, words);
  if (words[0] == "delete" && words.size() == 2) co_return co_await Delete(store, words);
  if (words[0] == "load" && words.size() == 2) {
    co_return co_await Load(store, worker.loop().clock(), words);
  }
  co_return absl::InvalidArgumentError(
      absl::StrCat("no such command as '", words[0], "', or with other arguments: --help"));
}

weft::Task<void> ExecuteAndStop(weft::Worker& worker, StoreClient& store, const Words& words) {
  worker.Stop(co_await Execute(worker, store, words));
}

// Where the client's own ports are: any address, of this machine for a server on it.
absl::StatusOr<Address> LocalAddress(const Address& server) {
  const std::string local = absl::GetFlag(FLAGS_local);
  if (!local.empty()) return Address::Parse(absl::StrCat(local, ":0"));
  return server.is_ip() && server.is_within_machine() ? MemoryAddress(server) : Address();
}

Application SetUpClient(weft::Worker& worker, const Words& words) {
  const weft::config::Config& config = worker.config();
  std::string text = absl::GetFlag(FLAGS_server);
  if (text.empty() && config.rpc().servers_size() > 0) text = config.rpc().servers(0);
  const auto address = Address::Parse(text.empty() ? Default(config) : text);
  if (!address.ok()) return address.status();
  const auto local = LocalAddress(*address);
  if (!local.ok()) return local.status();
  auto options = weft::rpc::ClientOptions::From(config);
  if (!options.ok()) return options.status();
  auto port = worker.OpenDatagramPort(*local);
  if (!port.ok()) return port.status();
  auto rpc = weft::rpc::Client::Create(worker.loop(), *std::move(port), *options);
  if (!rpc.ok()) return rpc.status();
  const auto server = (*rpc)->Resolve(*address);
  if (!server.ok()) return server.status();
  auto client = std::make_shared<Client>();
  client->rpc = *std::move(rpc);
  client->channel.emplace(*client->rpc, *server);
  if (absl::GetFlag(FLAGS_gets) == "read") {
    auto memory = worker.OpenRemoteMemory(*local);
    if (!memory.ok()) return memory.status();
    client->memory.emplace(worker.loop(), *std::move(memory));
  }
  client->store.emplace(*client->channel, client->memory ? &*client->memory : nullptr,
                        StoreClientOptions{.server = *address});
  client->tasks.Spawn(ExecuteAndStop(worker, *client->store, words));
  return client;
}

absl::Status Run(const Words& words) {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  const std::string gets = absl::GetFlag(FLAGS_gets);
  if (gets != "read" && gets != "rpc") {
    return absl::InvalidArgumentError(absl::StrCat("--gets: '", gets, "'; give read or rpc"));
  }
  const bool serve = words.empty() || words[0] == "serve";
  config->mutable_host()->set_workers(1);  // one writer of the table
  if (!serve) config->clear_metrics();     // the server's, where both have one file
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError("a simulated network lives within one process");
  }
  if (serve) return (*host)->Run(&SetUpServer);  // until SIGINT or SIGTERM
  return (*host)->Run([&](weft::Worker& worker) { return SetUpClient(worker, words); });
}

}  // namespace
}  // namespace rdma_kv

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "rdma_kv --config FILE [COMMAND]\n"
      "  serve             the store, until it is interrupted; without a command too\n"
      "  put KEY VALUE     get KEY     delete KEY\n"
      "  load COUNT        puts so many rows, gets each ten times, and prints how long that took");
  std::vector<std::string> words;
  for (const char* word : absl::ParseCommandLine(argc, argv)) words.emplace_back(word);
  words.erase(words.begin());
  const absl::Status status = rdma_kv::Run(words);
  if (status.ok()) return 0;
  std::fprintf(stderr, "rdma_kv: %s\n",
               status.ToString(absl::StatusToStringMode::kWithNoExtraData).c_str());
  return 1;
}
