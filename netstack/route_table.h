// SPDX-License-Identifier: Apache-2.0
//
// RouteTable: which neighbour a packet is given to on its way to a destination, by the longest
// prefix that contains it. One interface, both families.
//
//   RouteTable routes;
//   routes.Add(*IpPrefix::Parse("10.0.0.2/24"));                                 // connected
//   routes.Add(*IpPrefix::Parse("0.0.0.0/0"), *IpAddress::Parse("10.0.0.1"));
//   routes.Lookup(*IpAddress::Parse("192.0.2.7"))->neighbor;                     // 10.0.0.1
#ifndef WEFT_NETSTACK_ROUTE_TABLE_H_
#define WEFT_NETSTACK_ROUTE_TABLE_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

struct NextHop {
  IpAddress neighbor;  // the destination itself in a connected network, else a gateway
  bool connected = true;
};

// A plain value; one thread.
class RouteTable {
 public:
  static constexpr size_t kRoutesMax = 1024;

  struct Route {
    IpPrefix prefix;    // its address is that of the network
    IpAddress gateway;  // unspecified: the network is connected
  };

  // Without `gateway`: a network whose hosts are neighbours; bits behind the prefix are ignored,
  // and adding it again changes nothing, as an interface may have several addresses in a network.
  // With it: InvalidArgument if it is no single host, of the other family, or in no connected
  // network (which are added first); AlreadyExists if there is a route to that network.
  // ResourceExhausted beyond kRoutesMax.
  absl::Status Add(const IpPrefix& prefix, const IpAddress& gateway = IpAddress());

  // None if no route leads there. Linear in the number of routes: ask once a destination, not once
  // a packet. Groups and broadcasts are the caller's.
  std::optional<NextHop> Lookup(const IpAddress& destination) const;

  // Whether `ip` is in a connected network.
  bool IsConnected(const IpAddress& ip) const;

  // The longest prefixes first; of the same length, in the order in which they were added.
  const std::vector<Route>& Snapshot() const { return routes_; }

 private:
  absl::Status CheckGateway(const IpPrefix& prefix, const IpAddress& gateway) const;

  std::vector<Route> routes_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_ROUTE_TABLE_H_
