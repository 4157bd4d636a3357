// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/destination_cache.h"

#include <algorithm>

#include "weft/netstack/wire/ethernet.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {
namespace {

// A group has no neighbour that could change; a path's MTU may be forgotten, though.
constexpr int64_t kGroupValidNs = 1'000'000'000;

using Kind = Destination::Kind;

}  // namespace

DestinationCache::DestinationCache(const Interface* interface, const RouteTable* routes,
                                   NeighborCache* neighbors, PathMtuCache* path_mtu)
    : interface_(interface),
      routes_(routes),
      neighbors_(neighbors),
      path_mtu_(path_mtu),
      table_(new Destination[kEntries]) {}

const Destination* DestinationCache::Renew(const IpAddress& ip, int64_t now_ns,
                                           Destination& entry) {
  entry.ip = ip;
  entry.valid_until_ns = 0;
  entry.v4 = ip.is_v4();
  entry.source = interface_->SourceFor(ip);
  entry.kind = Kind::kNoRoute;
  if (interface_->Has(ip)) {
    entry.kind = Kind::kLocal;
    return nullptr;
  }
  if (!entry.source || ip.is_unspecified()) return nullptr;
  entry.mtu = static_cast<uint16_t>(
      std::min({path_mtu_->Get(ip, now_ns), interface_->mtu, size_t{UINT16_MAX}}));

  MacAddress mac;
  int64_t valid_until_ns = now_ns + kGroupValidNs;
  if (interface_->IsBroadcast(ip)) {
    mac = kBroadcastMac;
  } else if (ip.is_multicast()) {
    mac = MulticastMac(ip);
  } else {
    const auto hop = routes_->Lookup(ip);
    if (!hop) return nullptr;
    entry.next_hop = hop->neighbor;
    const MacAddress* known = neighbors_->Lookup(entry.next_hop, now_ns, &valid_until_ns);
    if (known == nullptr) {
      entry.kind = Kind::kUnresolved;
      return nullptr;
    }
    mac = *known;
    // So that a path MTU that is forgotten is noticed.
    valid_until_ns = std::min(valid_until_ns, now_ns + kGroupValidNs);
  }
  WriteHeader(mac, entry);
  entry.kind = Kind::kReady;
  entry.valid_until_ns = valid_until_ns;
  // Behind Lookup(), which may have changed it.
  entry.generation = Generation();
  return &entry;
}

void DestinationCache::WriteHeader(const MacAddress& mac, Destination& entry) const {
  const IpAddress nobody = entry.v4 ? IpAddress::V4(uint32_t{0}) : IpAddress();
  const bool local_group = entry.ip.is_multicast();
  // A group is not left by accident (RFC 1112, 6.1).
  const uint8_t ttl = local_group ? 1 : interface_->ttl;
  entry.ethernet_bytes = static_cast<uint8_t>(EthernetHeaderBytes(interface_->vlan));
  WriteEthernet(entry.header, mac, interface_->mac, interface_->vlan,
                entry.v4 ? EtherType::kIpv4 : EtherType::kIpv6);
  uint8_t* const ip = entry.header + entry.ethernet_bytes;
  if (entry.v4) {
    Ipv4Fields{.dont_fragment = true, .ttl = ttl, .source = nobody, .destination = entry.ip}.Write(
        ip);
    StoreBig16(ip + 10, 0);
    entry.ip_sum = AddToChecksum(0, {ip, kIpv4HeaderBytes});
    entry.destination_sum = AddToChecksum(0, {entry.ip.bytes() + 12, 4});
  } else {
    Ipv6Fields{.hop_limit = ttl, .source = nobody, .destination = entry.ip}.Write(ip);
    entry.ip_sum = 0;
    entry.destination_sum = AddToChecksum(0, {entry.ip.bytes(), 16});
  }
  entry.header_bytes =
      static_cast<uint8_t>(entry.ethernet_bytes + (entry.v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes));
}

}  // namespace weft::netstack
