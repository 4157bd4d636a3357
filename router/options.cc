// SPDX-License-Identifier: Apache-2.0
#include "weft/router/options.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "weft/netstack/ip_address.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/router/clients.h"
#include "weft/router/config_check.h"

namespace weft::router {
namespace {

absl::Status Wrong(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("router.", field, ": ", what));
}

absl::Status CheckRange(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Wrong(field, absl::StrCat(value, " is out of range; give ", min, " to ", max));
}

absl::Status CheckServerAt(const std::string& field, const Address& server, const Address& listen) {
  const absl::Status status = RouterOptions::CheckServer(server, listen);
  return status.ok() ? status : Wrong(field, status.message());
}

absl::Status ReadAddresses(const config::Router& config, RouterOptions* options) {
  absl::StatusOr<Address> listen = Address::Parse(config.listen());
  if (!listen.ok()) return Wrong("listen", listen.status().message());
  options->listen = *std::move(listen);
  if (!config.control().empty()) {
    absl::StatusOr<Address> control = Address::Parse(config.control());
    if (!control.ok()) return Wrong("control", control.status().message());
    options->control = *std::move(control);
    return absl::OkStatus();
  }
  options->control = DefaultControl(options->listen);
  return absl::OkStatus();
}

absl::Status ReadServer(const config::RouterServer& config, const std::string& field,
                        RouterOptions* options) {
  const absl::StatusOr<Address> first = Address::Parse(config.address());
  if (!first.ok()) return Wrong(field + ".address", first.status().message());
  if (config.count() > 1 && !first->is_ip()) {
    return Wrong(field + ".count",
                 absl::StrCat(first->ToString(), " has no ports to count; give 1"));
  }
  if (config.count() > 1 && first->port() + uint64_t{config.count()} - 1 > UINT16_MAX) {
    return Wrong(field + ".count",
                 absl::StrCat(config.count(), " ports from ", first->port(),
                              " on go beyond 65535; give at most ", 65536 - first->port()));
  }
  for (uint32_t i = 0; i < config.count(); ++i) {
    const auto port = static_cast<uint16_t>(first->port() + i);
    Address address = *first;
    if (address.kind() == Address::Kind::kIpv4) address = Address::Ipv4(first->ipv4(), port);
    if (address.kind() == Address::Kind::kIpv6) {
      address = Address::Ipv6(first->ipv6(), port, first->scope());
    }
    for (const RouterOptions::Server& other : options->servers) {
      if (other.address == address) {
        return Wrong(field + ".address", absl::StrCat(address.ToString(), " is there twice"));
      }
    }
    absl::Status status = CheckServerAt(field + ".address", address, options->listen);
    if (!status.ok()) return status;
    options->servers.push_back({address, config.slots(), config.weight()});
    if (options->servers.size() > options->servers_max) {
      return Wrong(field, absl::StrCat("with it there are more than servers_max = ",
                                       options->servers_max, " servers; raise that"));
    }
  }
  return absl::OkStatus();
}

RouterOptions::Forwarding ForwardingOf(const config::Router& config) {
  switch (config.forwarding()) {
    case config::Router::AUTO:
      return RouterOptions::Forwarding::kAuto;
    case config::Router::KEEP_SOURCE:
      return RouterOptions::Forwarding::kKeepSource;
    case config::Router::ADDRESS_IN_HEADER:
      return RouterOptions::Forwarding::kAddressInHeader;
  }
  return RouterOptions::Forwarding::kAuto;
}

absl::Status CheckTenants(const std::vector<RouterOptions::Tenant>& tenants) {
  if (tenants.size() > RouterOptions::kTenantsMax) {
    return Wrong("tenants", absl::StrCat("there are ", tenants.size(), "; give at most ",
                                         RouterOptions::kTenantsMax));
  }
  absl::flat_hash_set<absl::string_view> names;
  for (size_t i = 0; i < tenants.size(); ++i) {
    if (tenants[i].weight == 0) {
      return Wrong(absl::StrCat("tenants[", i, "].weight"), "is 0; give 1 or more");
    }
    if (!names.insert(tenants[i].name).second) {
      return Wrong(absl::StrCat("tenants[", i, "].name"),
                   absl::StrCat("'", tenants[i].name, "' is there twice"));
    }
  }
  const auto parsed = Tenants::From(tenants);
  return parsed.ok()
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat("router.", parsed.status().message()));
}

}  // namespace

absl::StatusOr<RouterOptions> RouterOptions::From(const config::Config& config) {
  if (!config.has_router()) {
    return absl::InvalidArgumentError(
        "router: the section is missing; give at least `router { listen: \"10.0.0.1:8000\" }`");
  }
  const config::Router& router = config.router();
  RouterOptions options;
  if (absl::Status status = ReadAddresses(router, &options); !status.ok()) return status;
  options.policy = router.policy();
  options.slots = router.slots();
  options.queue_max = router.queue_max();
  options.lease = absl::Microseconds(router.lease_us());
  options.keepalive = absl::Microseconds(router.keepalive_us());
  options.servers_max = router.servers_max();
  options.forwarding = ForwardingOf(router);
  options.join = router.join();
  for (int i = 0; i < router.servers_size(); ++i) {
    absl::Status status = ReadServer(router.servers(i), absl::StrCat("servers[", i, "]"), &options);
    if (!status.ok()) return status;
  }
  for (const config::Tenant& tenant : router.tenants()) {
    options.tenants.push_back(
        {tenant.name(), {tenant.clients().begin(), tenant.clients().end()}, tenant.weight()});
  }
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return options;
}

absl::Status RouterOptions::CheckServer(const Address& server, const Address& listen) {
  const std::string text = server.ToString();
  if (server.kind() == Address::Kind::kNone) {
    return absl::InvalidArgumentError("there is none; give the address that the server listens at");
  }
  if (server == listen) {
    return absl::InvalidArgumentError(absl::StrCat(text, " is where the router itself listens"));
  }
  if (listen.kind() != Address::Kind::kNone && server.is_ip() != listen.is_ip()) {
    return absl::InvalidArgumentError(absl::StrCat(
        text, " cannot be reached from ", listen.ToString(), ": they are of different kinds"));
  }
  if (!server.is_ip()) return absl::OkStatus();
  const netstack::IpAddress ip = netstack::IpAddress::From(server);
  if (ip.is_unspecified() || ip.is_multicast() || ip.is_limited_broadcast()) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, " is no one's address; give that of one server"));
  }
  if (server.port() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(text, " has port 0; give the one that the server listens at"));
  }
  return absl::OkStatus();
}

absl::Status RouterOptions::Validate() const {
  const auto policies = r2p2::MakePolicy(policy, 0);
  if (!policies.ok()) return Wrong("policy", policies.status().message());
  absl::Status status;
  status.Update(CheckRange("slots", slots, 1, 65535));
  status.Update(CheckRange("queue_max", static_cast<int64_t>(queue_max), 1, 1 << 20));
  status.Update(CheckRange("lease_us", absl::ToInt64Microseconds(lease), 100, 3'600'000'000));
  status.Update(CheckRange("keepalive_us", absl::ToInt64Microseconds(keepalive), 1000, 60'000'000));
  status.Update(CheckRange("servers_max", static_cast<int64_t>(servers_max), 1, 65536));
  if (!status.ok()) return status;
  if (servers.size() > servers_max) {
    return Wrong("servers",
                 absl::StrCat("there are ", servers.size(), "; servers_max allows ", servers_max));
  }
  absl::flat_hash_set<Address> seen;
  for (size_t i = 0; i < servers.size(); ++i) {
    const std::string field = absl::StrCat("servers[", i, "].address");
    status = CheckServerAt(field, servers[i].address, listen);
    if (!status.ok()) return status;
    if (!seen.insert(servers[i].address).second) {
      return Wrong(field, absl::StrCat(servers[i].address.ToString(), " is there twice"));
    }
  }
  return CheckTenants(tenants);
}

}  // namespace weft::router
