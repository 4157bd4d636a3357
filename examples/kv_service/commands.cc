// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/kv_service/commands.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/core/task_group.h"
#include "weft/examples/kv_service/kv.weft.h"
#include "weft/host/host.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/service/channel.h"

namespace kv {
namespace {

using Words = std::vector<std::string>;

weft::Task<absl::Status> Get(KeyValueClient& store, const Words& words) {
  GetRequest request;
  request.set_key(words[1]);
  GetResponse response;
  const absl::Status status = co_await store.Get(request, &response);
  if (status.ok()) std::printf("%s\n", response.value().c_str());
  co_return status;
}

weft::Task<absl::Status> Put(KeyValueClient& store, const Words& words) {
  PutRequest request;
  request.set_key(words[1]);
  request.set_value(words[2]);
  PutResponse response;
  // A call may have a deadline of its own, metadata, a trace.
  weft::rpc::ClientContext context;
  context.set_timeout(absl::Seconds(2));
  const absl::Status status = co_await store.Put(request, &response, &context);
  if (status.ok()) std::printf("%s\n", response.replaced() ? "replaced" : "new");
  co_return status;
}

weft::Task<absl::Status> Delete(KeyValueClient& store, const Words& words) {
  DeleteRequest request;
  request.set_key(words[1]);
  DeleteResponse response;
  const absl::Status status = co_await store.Delete(request, &response);
  if (status.ok()) std::printf("%s\n", response.deleted() ? "deleted" : "was not there");
  co_return status;
}

weft::Task<absl::Status> Scan(KeyValueClient& store, const Words& words) {
  ScanRequest request;
  if (words.size() > 1) request.set_prefix(words[1]);
  weft::rpc::ClientReader<Row> rows = store.Scan(request);
  Row row;
  while (co_await rows.Read(&row)) std::printf("%s=%s\n", row.key().c_str(), row.value().c_str());
  co_return co_await rows.Finish();
}

weft::Task<absl::Status> Read(KeyValueClient& store, const Words& words) {
  ReadRequest request;
  request.set_key(words[1]);
  weft::BufferChain value;  // in the buffers that the network filled
  const absl::Status status = co_await store.Read(request, &value);
  for (const absl::Span<const uint8_t> piece : value) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
  }
  co_return status;
}

// Puts so many rows of 100 bytes and gets each: something for `weft rpc top` to show.
weft::Task<absl::Status> Load(KeyValueClient& store, const Words& words) {
  uint64_t count = 0;
  if (!absl::SimpleAtoi(words[1], &count)) {
    co_return absl::InvalidArgumentError(absl::StrCat("'", words[1], "' is no number of rows"));
  }
  PutRequest put;
  put.set_value(std::string(100, 'x'));
  PutResponse done;
  GetRequest get;
  GetResponse got;
  for (uint64_t i = 0; i < count; ++i) {
    put.set_key(absl::StrCat("row/", i));
    get.set_key(put.key());
    absl::Status status = co_await store.Put(put, &done);
    if (status.ok()) status = co_await store.Get(get, &got);
    if (!status.ok()) co_return status;
  }
  std::printf("%llu rows\n", static_cast<unsigned long long>(count));
  co_return absl::OkStatus();
}

struct Command {
  const char* name;
  size_t words_min;
  size_t words_max;
  weft::Task<absl::Status> (*run)(KeyValueClient& store, const Words& words);
};
constexpr Command kCommands[] = {{"get", 2, 2, &Get},       {"put", 3, 3, &Put},
                                 {"delete", 2, 2, &Delete}, {"scan", 1, 2, &Scan},
                                 {"read", 2, 2, &Read},     {"load", 2, 2, &Load}};

// What lives as long as the worker; destroyed from the last to the first.
struct Application {
  std::unique_ptr<weft::rpc::Client> client;
  std::unique_ptr<weft::rpc::Balancer> balancer;
  std::unique_ptr<weft::rpc::Channel> channel;
  std::unique_ptr<KeyValueClient> store;
  weft::TaskGroup tasks;
};

weft::Task<void> RunAndStop(weft::Worker& worker, KeyValueClient& store, const Command& command,
                            const Words& words) {
  worker.Stop(co_await command.run(store, words));
}

// A channel to the first of the servers; with `rpc.balancer`, to the one that it picks for each
// call.
absl::Status OpenChannel(const weft::config::Rpc& config, const weft::rpc::ChannelOptions& options,
                         Application* application) {
  weft::rpc::Client& client = *application->client;
  if (config.has_balancer()) {
    auto balancer = weft::rpc::Balancer::Create(client, config);
    if (!balancer.ok()) return balancer.status();
    application->balancer = *std::move(balancer);
    application->channel = std::make_unique<weft::rpc::Channel>(*application->balancer, options);
    return absl::OkStatus();
  }
  auto address = weft::Address::Parse(config.servers(0));
  if (!address.ok()) return address.status();
  auto server = client.Resolve(*address);
  if (!server.ok()) return server.status();
  application->channel = std::make_unique<weft::rpc::Channel>(client, *server, options);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<void>> SetUp(weft::Worker& worker, const Command& command,
                                            const Words& words) {
  const weft::config::Config& config = worker.config();
  if (config.rpc().servers().empty()) {
    return absl::InvalidArgumentError("the configuration has no rpc.servers");
  }
  auto options = weft::rpc::ClientOptions::From(config);
  if (!options.ok()) return options.status();
  auto port = worker.OpenDatagramPort();
  if (!port.ok()) return port.status();
  auto client = weft::rpc::Client::Create(worker.loop(), *std::move(port), *options);
  if (!client.ok()) return client.status();

  auto channel_options = weft::rpc::ChannelOptions::From(config.rpc());
  channel_options.observers = worker.observers();
  auto application = std::make_shared<Application>();
  application->client = *std::move(client);
  absl::Status opened = OpenChannel(config.rpc(), channel_options, application.get());
  if (!opened.ok()) return opened;
  application->store = std::make_unique<KeyValueClient>(*application->channel);
  application->tasks.Spawn(RunAndStop(worker, *application->store, command, words));
  return application;
}

}  // namespace

absl::Status RunCommand(const weft::config::Config& config, const Words& words) {
  for (const Command& command : kCommands) {
    if (words[0] != command.name) continue;
    if (words.size() < command.words_min || words.size() > command.words_max) {
      return absl::InvalidArgumentError(absl::StrCat("'", words[0], "' has other arguments"));
    }
    weft::config::Config own = config;
    own.mutable_host()->set_workers(1);
    own.clear_metrics();  // the server's, where both have one file
    auto host = weft::Host::Open(own);
    if (!host.ok()) return host.status();
    return (*host)->Run([&](weft::Worker& worker) { return SetUp(worker, command, words); });
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no command '", words[0], "'"));
}

}  // namespace kv
