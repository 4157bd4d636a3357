// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/endpoint.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/config/config.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {

absl::StatusOr<LoopOptions> LoopOptionsOf(const std::string& mode) {
  for (const auto& [name, value] :
       {std::pair("busy", LoopMode::kBusy), std::pair("adaptive", LoopMode::kAdaptive),
        std::pair("sleep", LoopMode::kSleep)}) {
    if (mode == name) return LoopOptions{.mode = value};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no mode '", mode, "'; there are busy, adaptive and sleep"));
}

absl::StatusOr<rpc::Wire> WireOf(const std::string& name) {
  for (const auto& [known, value] :
       {std::pair("auto", rpc::Wire::kAuto), std::pair("original", rpc::Wire::kOriginal),
        std::pair("extended", rpc::Wire::kExtended)}) {
    if (name == known) return value;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no wire '", name, "'; there are auto, original and extended"));
}

absl::StatusOr<Endpoint> OpenEndpoint(const EndpointOptions& options) {
  config::Transport config;
  config.set_name(options.transport);
  if (options.buffers > 0) config.mutable_buffers()->set_count(options.buffers);
  if (options.loss.has_value()) {
    config::Fault& fault = *config.add_decorators()->mutable_fault();
    fault.set_loss(*options.loss);
    // Both ends of a path must not lose packets in the same rhythm.
    fault.set_seed(options.local.empty() ? 1 : 2);
  }
  PortOptions port_options;
  if (!options.local.empty()) {
    absl::StatusOr<Address> local = Address::Parse(options.local);
    if (!local.ok()) return local.status();
    port_options.local = *std::move(local);
  }
  absl::StatusOr<std::unique_ptr<Transport>> transport = OpenTransport(config);
  if (!transport.ok()) return transport.status();
  auto port = (*transport)->OpenDatagramPort(port_options);
  if (!port.ok()) return port.status();
  return Endpoint{*std::move(transport), *std::move(port)};
}

absl::Status TransportIsHere(const std::string& transport) {
  const TransportPlugin* const plugin = FindTransport(transport);
  // Opening one that there is not says which there are.
  return plugin == nullptr ? absl::OkStatus() : plugin->probe();
}

std::string ListenAddress(const std::string& transport) {
  const TransportPlugin* const plugin = FindTransport(transport);
  const bool shm = plugin != nullptr && plugin->address_kinds.front() == Address::Kind::kShm;
  return shm ? absl::StrCat("shm:rpc-server-", getpid()) : "127.0.0.1:0";
}

std::string ServerAddress(const std::string& listen, double port_number) {
  if (absl::StartsWith(listen, "shm:")) return listen;
  return absl::StrCat(listen.substr(0, listen.rfind(':') + 1), static_cast<int>(port_number));
}

}  // namespace weft::benchmarks
