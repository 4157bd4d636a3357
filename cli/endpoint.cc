// SPDX-License-Identifier: Apache-2.0

#include "weft/cli/endpoint.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/cli/command.h"
#include "weft/config/loader.h"
#include "weft/config/settings.h"
#include "weft/host/network.h"
#include "weft/router/config_check.h"
#include "weft/transports/registry.h"

namespace weft::cli {
namespace {

// What every transport has by default: more costs some of them memory.
constexpr uint64_t kBuffersAnywhere = 4096;

bool NamesTransport(const config::Config& config) {
  return config.transport().has_name() ||
         config.transport().settings_case() != config::Transport::SETTINGS_NOT_SET;
}

}  // namespace

absl::StatusOr<Endpoint> ChooseEndpoint(const EndpointOptions& options) {
  absl::StatusOr<config::Config> config = config::LoadChosen(
      options.config, options.transport, options.plaintext, &router::FindProblems);
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
  return Endpoint{*std::move(config), *std::move(address)};
}

void ProvideBuffers(uint64_t message_bytes, config::Transport* transport) {
  if (transport->buffers().has_count()) return;
  config::Buffers& buffers = *transport->mutable_buffers();
  // Of each, a part is headroom, and a packet may be shorter than it could be.
  const uint64_t wanted = 2 * (message_bytes / (buffers.bytes() / 2) + 1);
  if (wanted <= kBuffersAnywhere) return;
  buffers.set_count(std::max(buffers.count(), static_cast<uint32_t>(wanted)));
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

}  // namespace weft::cli
