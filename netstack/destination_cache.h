// SPDX-License-Identifier: Apache-2.0
//
// What a packet to an address needs in front of it, ready to be copied: the answers of routes,
// neighbours, path MTU and source selection in one place. The Destination Cache of RFC 4861, 5.1.
//
//   if (const Destination* to = cache.Find(ip, now_ns)) {
//     std::memcpy(frame.Prepend(to->header_bytes), to->header, to->header_bytes);
//   } else {
//     switch (cache.Look(ip, now_ns).kind) ...  // says why not
//   }
#ifndef WEFT_NETSTACK_DESTINATION_CACHE_H_
#define WEFT_NETSTACK_DESTINATION_CACHE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "weft/netstack/interface.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/neighbor_cache.h"
#include "weft/netstack/path_mtu.h"
#include "weft/netstack/route_table.h"

namespace weft::netstack {

struct alignas(64) Destination {
  enum class Kind : uint8_t {
    kNone,        // not looked up
    kReady,       // `header` may be used
    kLocal,       // an address of this interface
    kUnresolved,  // `next_hop` is to be asked for its MAC address
    kNoRoute,     // no network or gateway, or no address of the family to send from
  };

  // Room for Ethernet with a VLAN tag and an IPv6 header, in whole words.
  static constexpr size_t kHeaderRoom = 64;

  IpAddress ip;
  int64_t valid_until_ns = 0;
  uint64_t generation = 0;
  Kind kind = Kind::kNone;
  bool v4 = true;
  uint8_t ethernet_bytes = 0;
  uint8_t header_bytes = 0;  // with the IP header
  uint16_t mtu = 0;          // of the path
  IpAddress source;
  IpAddress next_hop;
  // Ethernet and IP header, the IP header without source, lengths and (IPv4) checksum.
  uint8_t header[kHeaderRoom] = {};
  uint64_t ip_sum = 0;           // IPv4: of the header as it is above
  uint64_t destination_sum = 0;  // of the address: for pseudo-headers
};

class DestinationCache {
 public:
  // All outlive the cache. The interface and the routes must be complete.
  DestinationCache(const Interface* interface, const RouteTable* routes, NeighborCache* neighbors,
                   PathMtuCache* path_mtu);

  // A destination of kind kReady, or null. The pointer is good until the next call.
  const Destination* Find(const IpAddress& ip, int64_t now_ns) {
    Destination& entry = table_[Index(ip)];
    if (entry.ip == ip && entry.generation == Generation() && now_ns < entry.valid_until_ns)
        [[likely]] {
      return &entry;
    }
    return Renew(ip, now_ns, entry);
  }

  // The same, but of any kind.
  const Destination& Look(const IpAddress& ip, int64_t now_ns) {
    Destination& entry = table_[Index(ip)];
    if (Find(ip, now_ns) == nullptr) entry.valid_until_ns = 0;
    return entry;
  }

  // Whether something was sent there of late: errors about packets to others are not believed.
  bool Knows(const IpAddress& ip) const {
    const Destination& entry = table_[Index(ip)];
    return entry.ip == ip && entry.kind != Destination::Kind::kNone;
  }

 private:
  static constexpr size_t kEntries = 512;

  static size_t Index(const IpAddress& ip) {
    const uint64_t mixed =
        (ip.words()[0] ^ (ip.words()[1] * 0x9e3779b97f4a7c15u)) * 0xff51afd7ed558ccdu;
    return mixed >> 55;
  }
  static_assert(kEntries == 1u << (64 - 55));

  uint64_t Generation() const { return neighbors_->generation() + path_mtu_->generation(); }
  const Destination* Renew(const IpAddress& ip, int64_t now_ns, Destination& entry);
  void WriteHeader(const MacAddress& mac, Destination& entry) const;

  const Interface* const interface_;
  const RouteTable* const routes_;
  NeighborCache* const neighbors_;
  PathMtuCache* const path_mtu_;
  const std::unique_ptr<Destination[]> table_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_DESTINATION_CACHE_H_
