// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/options.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/netstack/wire/ipv4.h"

namespace weft::netstack {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kNsPerS = 1'000'000'000;

absl::Status In(const std::string& field, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat("netstack.", field, ": ", status.message()));
}

absl::Status Wrong(const std::string& field, const std::string& what) {
  return In(field, absl::InvalidArgumentError(what));
}

// "10.0.0.0/24", where all hosts were before they were at its end, and "fd00::/64", where all
// routers are (RFC 4291, 2.6.1). In the shortest networks each address is a host's (RFC 3021, RFC
// 6164).
bool IsNetworkItself(const IpPrefix& prefix) {
  const int bits = prefix.address.is_v4() ? 32 : 128;
  return prefix.length < bits - 1 && prefix.address == prefix.Network();
}

absl::Status ReadAddresses(const config::Netstack& config, StackOptions* options) {
  for (int i = 0; i < config.addresses_size(); ++i) {
    const std::string field = absl::StrCat("addresses[", i, "]");
    const auto prefix = IpPrefix::Parse(config.addresses(i));
    if (!prefix.ok()) return In(field, prefix.status());
    const IpAddress& ip = prefix->address;
    if (ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || ip.is_limited_broadcast() ||
        ip == prefix->Broadcast() || IsNetworkItself(*prefix)) {
      return Wrong(field, absl::StrCat(config.addresses(i), " is not the address of an interface"));
    }
    for (const IpPrefix& other : options->addresses) {
      if (other.address == ip) return Wrong(field, absl::StrCat(ip.ToString(), " is there twice"));
    }
    options->addresses.push_back(*prefix);
  }
  if (options->addresses.empty() && !config.link_local()) {
    return Wrong("addresses", "there is none; give one such as \"10.0.0.2/24\"");
  }
  return absl::OkStatus();
}

absl::Status ReadRoutes(const config::Netstack& config, StackOptions* options) {
  for (int i = 0; i < config.routes_size(); ++i) {
    const std::string field = absl::StrCat("routes[", i, "].");
    const auto destination = IpPrefix::Parse(config.routes(i).destination());
    if (!destination.ok()) return In(field + "destination", destination.status());
    const auto gateway = IpAddress::Parse(config.routes(i).gateway());
    if (!gateway.ok()) return In(field + "gateway", gateway.status());
    options->routes.push_back({*destination, *gateway});
  }
  return absl::OkStatus();
}

absl::Status ReadNeighbors(const config::Netstack& config, StackOptions* options) {
  for (int i = 0; i < config.neighbors_size(); ++i) {
    const std::string field = absl::StrCat("neighbors[", i, "].");
    const auto ip = IpAddress::Parse(config.neighbors(i).address());
    if (!ip.ok()) return In(field + "address", ip.status());
    const auto mac = ParseMac(config.neighbors(i).mac());
    if (!mac.ok()) return In(field + "mac", mac.status());
    if (ip->is_multicast() || ip->is_unspecified()) {
      return Wrong(field + "address", absl::StrCat(ip->ToString(), " is no neighbour's address"));
    }
    if (((*mac)[0] & 1) != 0 || *mac == MacAddress{}) {
      return Wrong(field + "mac", absl::StrCat(MacToString(*mac), " is no station's address"));
    }
    options->neighbors.emplace_back(*ip, *mac);
  }
  return absl::OkStatus();
}

absl::Status ReadGroups(const config::Netstack& config, StackOptions* options) {
  for (int i = 0; i < config.groups_size(); ++i) {
    const std::string field = absl::StrCat("groups[", i, "]");
    const auto group = IpAddress::Parse(config.groups(i));
    if (!group.ok()) return In(field, group.status());
    if (!group->is_multicast()) {
      return Wrong(field, absl::StrCat(group->ToString(),
                                       " is no multicast group such as 239.1.2.3 or ff05::123"));
    }
    options->groups.push_back(*group);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StackOptions> StackOptions::From(const config::Netstack& config) {
  StackOptions options;
  for (const auto read : {&ReadAddresses, &ReadRoutes, &ReadNeighbors, &ReadGroups}) {
    if (absl::Status status = read(config, &options); !status.ok()) return status;
  }
  if (config.ephemeral_port_min() > config.ephemeral_port_max()) {
    return Wrong("ephemeral_port_min",
                 absl::StrCat(config.ephemeral_port_min(), " is above ephemeral_port_max, ",
                              config.ephemeral_port_max()));
  }
  if (config.mtu() != 0 && config.mtu() < kIpv4MtuMin) {
    return Wrong("mtu", absl::StrCat(config.mtu(), " is less than IP needs, ", kIpv4MtuMin));
  }
  options.link_local = config.link_local();
  options.mtu = config.mtu();
  options.vlan = static_cast<uint16_t>(config.vlan());
  options.ttl = static_cast<uint8_t>(config.ttl());
  options.datagram_bytes_max = config.datagram_bytes_max();
  options.udp_checksum = config.udp_checksum();
  options.ephemeral_port_min = static_cast<uint16_t>(config.ephemeral_port_min());
  options.ephemeral_port_max = static_cast<uint16_t>(config.ephemeral_port_max());
  options.receive_queue_packets = config.receive_queue_packets();
  options.neighbor_cache = NeighborOptions::From(config.neighbor_cache());
  options.reassembly.packets_max = config.reassembly().packets_max();
  options.reassembly.packets_per_source_max = config.reassembly().packets_per_source_max();
  options.reassembly.timeout_ns = config.reassembly().timeout_ms() * kNsPerMs;
  options.echo_reply = config.icmp().echo_reply();
  options.icmp_errors_per_s = config.icmp().errors_per_s();
  options.icmp_errors_burst = config.icmp().errors_burst();
  options.echo_replies_per_s = config.icmp().echo_replies_per_s();
  options.path_mtu_ns = config.icmp().path_mtu_s() * kNsPerS;
  options.paths_max = config.icmp().paths_max();
  options.exception_tap = config.exception_tap();
  options.receive_packet_steering = config.receive_packet_steering();
  return options;
}

}  // namespace weft::netstack
