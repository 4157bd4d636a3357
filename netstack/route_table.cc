// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/route_table.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft::netstack {
namespace {

bool IsConnectedRoute(const RouteTable::Route& route) { return route.gateway.is_unspecified(); }

}  // namespace

absl::Status RouteTable::Add(const IpPrefix& prefix, const IpAddress& gateway) {
  const Route route{{prefix.Network(), prefix.length}, gateway};
  if (route.prefix.length > 0 && route.prefix.address.is_multicast()) {
    return absl::InvalidArgumentError(
        absl::StrCat("route to ", prefix.ToString(), ": groups need no route"));
  }
  if (!IsConnectedRoute(route)) {
    absl::Status status = CheckGateway(prefix, gateway);
    if (!status.ok()) return status;
  }
  const auto same = std::find_if(routes_.begin(), routes_.end(),
                                 [&](const Route& other) { return other.prefix == route.prefix; });
  if (same != routes_.end()) {
    if (IsConnectedRoute(*same) && IsConnectedRoute(route)) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat("there is a route to ", route.prefix.ToString(), " already: ",
                     IsConnectedRoute(*same) ? "the network is connected"
                                             : absl::StrCat("by ", same->gateway.ToString())));
  }
  if (routes_.size() >= kRoutesMax) {
    return absl::ResourceExhaustedError(absl::StrCat("no room for a route to ", prefix.ToString(),
                                                     ": there are ", kRoutesMax,
                                                     "; join networks to shorter prefixes"));
  }
  const auto behind = std::find_if(routes_.begin(), routes_.end(), [&](const Route& other) {
    return other.prefix.length < route.prefix.length;
  });
  routes_.insert(behind, route);
  return absl::OkStatus();
}

absl::Status RouteTable::CheckGateway(const IpPrefix& prefix, const IpAddress& gateway) const {
  const std::string what =
      absl::StrCat("route to ", prefix.ToString(), " by ", gateway.ToString(), ": ");
  if (gateway.is_v4() != prefix.address.is_v4()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, "one is of IPv4 and the other of IPv6; both must be of one family"));
  }
  if (gateway.is_multicast() || gateway.is_limited_broadcast() || gateway.is_loopback()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, "the gateway must be a neighbour's address"));
  }
  std::vector<std::string> connected;
  for (const Route& route : routes_) {
    if (!IsConnectedRoute(route)) continue;
    if (route.prefix.Contains(gateway)) {
      if (route.prefix.Broadcast() != gateway || !gateway.is_v4()) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(what, "the gateway is the broadcast address of ", route.prefix.ToString()));
    }
    connected.push_back(route.prefix.ToString());
  }
  return absl::InvalidArgumentError(absl::StrCat(
      what, "the gateway is in no connected network; ",
      connected.empty() ? "there is none: give the interface an address"
                        : absl::StrCat("connected are ", absl::StrJoin(connected, ", "))));
}

std::optional<NextHop> RouteTable::Lookup(const IpAddress& destination) const {
  for (const Route& route : routes_) {
    if (!route.prefix.Contains(destination)) continue;
    const bool connected = IsConnectedRoute(route);
    return NextHop{connected ? destination : route.gateway, connected};
  }
  return std::nullopt;
}

bool RouteTable::IsConnected(const IpAddress& ip) const {
  return std::any_of(routes_.begin(), routes_.end(), [&ip](const Route& route) {
    return IsConnectedRoute(route) && route.prefix.Contains(ip);
  });
}

}  // namespace weft::netstack
