// SPDX-License-Identifier: Apache-2.0
//
// Flow: what tells a connection from all others.
#ifndef WEFT_TCP_FLOW_H_
#define WEFT_TCP_FLOW_H_

#include <cstdint>

#include "weft/netstack/ip_address.h"

namespace weft::tcp {

// Both ends of a connection; addresses of one family.
struct Flow {
  netstack::IpAddress local;
  netstack::IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;

  friend bool operator==(const Flow&, const Flow&) = default;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_FLOW_H_
