// SPDX-License-Identifier: Apache-2.0

#include "weft/cli/endpoint.h"

#include <atomic>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/cli/command.h"
#include "weft/config/loader.h"
#include "weft/config/settings.h"
#include "weft/transports/registry.h"

namespace weft::cli {
namespace {

std::atomic<Loop*> loop_to_stop{nullptr};

void OnSignal(int) {
  if (Loop* loop = loop_to_stop.load()) loop->Stop();
}

absl::string_view DefaultAddress(const config::Config& config) {
  const TransportPlugin* plugin = FindTransport(config.transport().name());
  const bool shm = plugin != nullptr && plugin->address_kinds.front() == Address::Kind::kShm;
  return shm ? "shm:echo" : "127.0.0.1:7000";
}

bool NamesTransport(const config::Config& config) {
  return config.transport().has_name() ||
         config.transport().settings_case() != config::Transport::SETTINGS_NOT_SET;
}

}  // namespace

absl::StatusOr<Endpoint> OpenEndpoint(const EndpointOptions& options) {
  absl::StatusOr<config::Config> config = config::LoadChosen(options.config, options.transport);
  if (!config.ok()) return config.status();
  const std::string& listen = config->rpc().listen();
  absl::StatusOr<Address> address = Address::Parse(!options.address.empty() ? options.address
                                                   : !listen.empty()        ? listen
                                                                     : DefaultAddress(*config));
  if (!address.ok()) return address.status();
  if (!NamesTransport(*config)) {
    if (const TransportPlugin* plugin = FindTransportFor(address->kind())) {
      config::SelectTransport(plugin->name, config->mutable_transport());
    }
  }
  const TransportPlugin* plugin = FindTransport(config->transport().name());
  if (plugin != nullptr && plugin->capabilities.virtual_time) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a network of transport '", plugin->name, "' exists only within one process, which runs ",
        "both client and server; 'bazel run //examples:quickstart' shows it"));
  }
  absl::StatusOr<std::unique_ptr<Transport>> transport = OpenPlainTransport(config->transport());
  if (!transport.ok()) return transport.status();
  return Endpoint{*std::move(config), *std::move(address), *std::move(transport)};
}

int ExitStatus(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnimplemented:
      return kExitUsage;
    default:
      return kExitFailed;
  }
}

StopOnSignal::StopOnSignal(Loop& loop) {
  loop_to_stop = &loop;
  struct sigaction action = {};
  action.sa_handler = &OnSignal;
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

StopOnSignal::~StopOnSignal() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  loop_to_stop = nullptr;
}

LoopOptions LoopOptionsOf(const config::Config& config) {
  const config::Loop& loop = config.host().loop();
  LoopOptions options{.spin = absl::Microseconds(loop.spin_us())};
  switch (loop.mode()) {
    case config::Loop::BUSY:
      options.mode = LoopMode::kBusy;
      break;
    case config::Loop::ADAPTIVE:
      options.mode = LoopMode::kAdaptive;
      break;
    case config::Loop::SLEEP:
      options.mode = LoopMode::kSleep;
      break;
  }
  return options;
}

}  // namespace weft::cli
