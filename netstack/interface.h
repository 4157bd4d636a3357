// SPDX-License-Identifier: Apache-2.0
//
// Who a stack is on its network: MAC and IP addresses, MTU, VLAN.
#ifndef WEFT_NETSTACK_INTERFACE_H_
#define WEFT_NETSTACK_INTERFACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "weft/netstack/ip_address.h"

namespace weft::netstack {

struct Interface {
  std::string name;  // the device's
  MacAddress mac = {};
  uint16_t vlan = 0;  // 0: none
  size_t mtu = 0;     // of IP packets
  uint8_t ttl = 64;
  std::vector<IpPrefix> addresses;

  bool Has(const IpAddress& ip) const {
    for (const IpPrefix& own : addresses) {
      if (own.address == ip) return true;
    }
    return false;
  }
  bool HasFamily(bool v4) const {
    for (const IpPrefix& own : addresses) {
      if (own.address.is_v4() == v4) return true;
    }
    return false;
  }
  // All hosts of the network, or of one of its prefixes.
  bool IsBroadcast(const IpAddress& ip) const;
  // The address to talk to `destination` from: of the same network, or else the first of the
  // family, link-local ones last (the rules of RFC 6724, section 5, that matter with one
  // interface). Nobody where the interface has none of the family.
  IpAddress SourceFor(const IpAddress& destination) const;
  // "eth0 (10.0.0.2/24, fe80::1/64)": for messages.
  std::string ToString() const;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_INTERFACE_H_
