// SPDX-License-Identifier: Apache-2.0
#ifndef WEFT_EXAMPLES_RDMA_KV_REACHABLE_H_
#define WEFT_EXAMPLES_RDMA_KV_REACHABLE_H_

#include "weft/transports/address.h"

namespace rdma_kv {

// Where others reach a port at `address` of the machine that answers them at `machine`: there, or,
// if it is at any address of its machine (0.0.0.0), at that one.
inline weft::Address ReachableAt(const weft::Address& address, const weft::Address& machine) {
  if (!address.is_any() || !machine.is_ip()) return address;
  return machine.kind() == weft::Address::Kind::kIpv4
             ? weft::Address::Ipv4(machine.ipv4(), address.port())
             : weft::Address::Ipv6(machine.ipv6(), address.port(), machine.scope());
}

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_REACHABLE_H_
