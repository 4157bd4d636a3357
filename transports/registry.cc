// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/registry.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {
namespace {

// Made on first use, as registrars run before main() in no particular order; never destroyed.
// std::map keeps the plugins in place and sorted; its heterogeneous lookup takes no
// absl::string_view, hence the strings.
std::map<std::string, TransportPlugin>& Plugins() {
  static auto* plugins = new std::map<std::string, TransportPlugin>;
  return *plugins;
}

}  // namespace

TransportRegistrar::TransportRegistrar(TransportPlugin plugin) {
  const std::string name = plugin.name;
  if (!Plugins().emplace(name, std::move(plugin)).second) {
    std::fprintf(stderr, "weft: two transports named '%s' are linked into this program\n",
                 name.c_str());
    std::abort();
  }
}

std::vector<const TransportPlugin*> RegisteredTransports() {
  std::vector<const TransportPlugin*> all;
  for (const auto& [name, plugin] : Plugins()) all.push_back(&plugin);
  return all;
}

const TransportPlugin* FindTransport(absl::string_view name) {
  auto it = Plugins().find(std::string(name));
  return it == Plugins().end() ? nullptr : &it->second;
}

const TransportPlugin* FindTransportFor(Address::Kind kind) {
  for (const auto& [name, plugin] : Plugins()) {
    // Frames have no addresses: those of their kinds are a network stack's.
    const Capabilities& offered = plugin.capabilities;
    if (offered.frames && !offered.datagrams && !offered.streams) continue;
    const auto& kinds = plugin.address_kinds;
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return &plugin;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<Transport>> OpenPlainTransport(const config::Transport& config) {
  if (const TransportPlugin* plugin = FindTransport(config.name())) return plugin->open(config);
  const auto all = RegisteredTransports();
  return absl::NotFoundError(absl::StrCat(
      "no transport '", config.name(), "' in this program; it has ",
      all.empty() ? "none: depend on //transports:all"
                  : absl::StrJoin(all, ", ", [](std::string* out, const TransportPlugin* plugin) {
                      out->append(plugin->name);
                    })));
}

}  // namespace weft
