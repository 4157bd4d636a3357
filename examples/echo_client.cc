// SPDX-License-Identifier: Apache-2.0
//
// Sends one text to an echo server and prints what comes back.
//
//   echo_client hello
//   echo_client --transport shm --server shm:echo hello
//   echo_client --config examples/configs/linux.textproto hello

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "weft/config/flags.h"
#include "weft/core/task_group.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"

ABSL_FLAG(
    std::string, server, "",
    "address of the server; without it, the first of the configuration's rpc.servers, or "
    "else where echo_server serves by itself: 127.0.0.1:7000 or, over shared memory, shm:echo");

namespace {

std::string ServerAddress(const weft::config::Config& config) {
  if (std::string flag = absl::GetFlag(FLAGS_server); !flag.empty()) return flag;
  if (config.rpc().servers_size() > 0) return config.rpc().servers(0);
  return weft::DefaultAddress(config);
}

// What lives as long as the worker. Members are destroyed in reverse order: tasks before the client
// that they use.
struct Application {
  std::unique_ptr<weft::rpc::Client> client;
  weft::TaskGroup tasks;
};

weft::Task<void> Ask(weft::Worker& worker, weft::rpc::Client& client, weft::Peer server,
                     const std::string& text) {
  const absl::Span<const uint8_t> request(reinterpret_cast<const uint8_t*>(text.data()),
                                          text.size());
  const absl::StatusOr<weft::BufferChain> reply = co_await client.Call(server, request);
  if (reply.ok()) std::printf("%s\n", reply->ToString().c_str());
  worker.Stop(reply.status());
}

absl::Status Run(const std::string& text) {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  config->mutable_host()->set_workers(1);
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError(
        "a simulated network lives within one process, and this is one side only; "
        "examples/quickstart.cc has both");
  }
  return (*host)->Run([&](weft::Worker& worker) -> absl::StatusOr<std::shared_ptr<void>> {
    auto address = weft::Address::Parse(ServerAddress(worker.config()));
    if (!address.ok()) return address.status();
    auto options = weft::rpc::ClientOptions::From(worker.config());
    if (!options.ok()) return options.status();
    auto port = worker.OpenDatagramPort();
    if (!port.ok()) return port.status();
    auto client = weft::rpc::Client::Create(worker.loop(), *std::move(port), *options);
    if (!client.ok()) return client.status();
    auto server = (*client)->Resolve(*address);
    if (!server.ok()) return server.status();
    auto application = std::make_shared<Application>();
    application->client = *std::move(client);
    application->tasks.Spawn(Ask(worker, *application->client, *server, text));
    return application;
  });
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Sends a text to an echo server and prints what comes back.");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  const std::string text = absl::StrJoin(words.begin() + 1, words.end(), " ");
  const absl::Status status = Run(text.empty() ? "hello" : text);
  if (status.ok()) return 0;
  std::fprintf(stderr, "echo_client: %s\n", std::string(status.message()).c_str());
  return 1;
}
