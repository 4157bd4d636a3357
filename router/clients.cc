// SPDX-License-Identifier: Apache-2.0
#include "weft/router/clients.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace weft::router {

absl::StatusOr<Tenants> Tenants::From(const std::vector<RouterOptions::Tenant>& tenants) {
  Tenants result;
  result.weights_.clear();
  for (size_t i = 0; i < tenants.size(); ++i) {
    const auto tenant = static_cast<uint16_t>(i);
    result.weights_.push_back(tenants[i].weight);
    for (size_t k = 0; k < tenants[i].clients.size(); ++k) {
      const std::string& client = tenants[i].clients[k];
      if (absl::StartsWith(client, "shm:") || absl::StartsWith(client, "sim:")) {
        result.names_.push_back({client, tenant});
        continue;
      }
      const auto prefix = netstack::IpPrefix::Parse(client);
      if (!prefix.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("tenants[", i, "].clients[", k, "]: ", prefix.status().message(),
                         "; names begin with their kind, as in \"shm:batch-\""));
      }
      result.prefixes_.push_back({*prefix, tenant});
    }
  }
  result.weights_.push_back(1);
  std::ranges::stable_sort(result.prefixes_, std::ranges::greater(),
                           [](const Prefix& p) { return p.prefix.length; });
  std::ranges::stable_sort(result.names_, std::ranges::greater(),
                           [](const Name& n) { return n.begin.size(); });
  return result;
}

uint16_t Tenants::Of(const Address& address) const {
  if (address.is_ip()) {
    const netstack::IpAddress ip = netstack::IpAddress::From(address);
    for (const Prefix& p : prefixes_) {
      if (p.prefix.Contains(ip)) return p.tenant;
    }
  } else if (!names_.empty()) {
    const std::string text = address.ToString();
    for (const Name& name : names_) {
      if (absl::StartsWith(text, name.begin)) return name.tenant;
    }
  }
  return static_cast<uint16_t>(weights_.size() - 1);
}

void Clients::Find(const Peer& peer, Client* client) const {
  absl::StatusOr<Address> address = port_.AddressOf(peer);
  client->peer = peer;
  client->address = address.ok() ? *std::move(address) : Address();
  client->id = is_ip_ ? r2p2::ClientIdOf(peer) : r2p2::ClientIdOf(client->address);
  client->tenant = tenants_.Of(client->address);
}

}  // namespace weft::router
