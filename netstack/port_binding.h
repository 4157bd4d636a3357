// SPDX-License-Identifier: Apache-2.0
//
// PortBinding: where somebody listens, by UDP or TCP.
#ifndef WEFT_NETSTACK_PORT_BINDING_H_
#define WEFT_NETSTACK_PORT_BINDING_H_

#include <cstdint>

#include "weft/netstack/ip_address.h"

namespace weft::netstack {

// Where a port listens. An unspecified address takes every address of its family, and "::" IPv4
// too, as the kernel's sockets do.
struct PortBinding {
  IpAddress address;
  uint16_t port = 0;

  bool Takes(const IpAddress& destination) const {
    if (address == destination) return true;
    if (!address.is_unspecified()) return false;
    return address.is_v6() || destination.is_v4();
  }
  // Whether something that arrives is for both.
  bool Overlaps(const PortBinding& other) const {
    return port == other.port && (Takes(other.address) || other.Takes(address));
  }
  friend bool operator==(const PortBinding&, const PortBinding&) = default;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_PORT_BINDING_H_
