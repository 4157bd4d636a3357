// SPDX-License-Identifier: Apache-2.0
//
// The RDMA transport over a simulated device, in virtual time: for tests and simulations.
#ifndef WEFT_TRANSPORTS_RDMA_SIM_WORLD_H_
#define WEFT_TRANSPORTS_RDMA_SIM_WORLD_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/rdma_transport.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rdma {

// `network` and `nic` outlive what is opened. Ports meet over the same network, at sim:NAME; those
// without an address get one of their own.
inline RdmaWorld SimWorld(sim::Network* network, SimNic* nic) {
  RdmaWorld world;
  world.path_mtu_bytes = nic->limits().path_mtu_bytes;
  world.memory_windows = nic->limits().memory_windows;
  world.is_software = nic->limits().is_software;
  world.atomic_with_processor = nic->limits().atomic_with_processor;
  world.address_kinds = {Address::Kind::kSim};
  world.choose_address = [](const Address& wanted) { return wanted; };
  world.open_nic = [nic](const Address&) -> absl::StatusOr<std::shared_ptr<Nic>> {
    return std::shared_ptr<Nic>(nic, [](Nic*) {});
  };
  std::shared_ptr<Transport> datagrams = sim::OpenTransport(network, {.count = 1024, .bytes = 768});
  world.open_rendezvous = [datagrams](const PortOptions& options) {
    return datagrams->OpenDatagramPort(options);
  };
  world.random = [network] { return network->random().Next(); };
  world.clock = network;
  world.time = network;
  return world;
}

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_SIM_WORLD_H_
