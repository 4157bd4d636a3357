// SPDX-License-Identifier: Apache-2.0
//
// The transport "sim": datagrams, streams and frames over a simulated network (network.h).
//
// A program gets it by name, with settings from the configuration; transports that name the same
// network meet on it. A test makes a network of its own and so can look at it and change it while
// it runs:
//
//   weft::sim::Network network(/*seed=*/7);
//   auto transport = weft::sim::OpenTransport(&network);
//   auto port = transport->OpenDatagramPort({.local = weft::Address::Sim("server")});
#ifndef WEFT_TRANSPORTS_SIM_SIM_TRANSPORT_H_
#define WEFT_TRANSPORTS_SIM_SIM_TRANSPORT_H_

#include <memory>

#include "weft/core/buffer.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_bulk.h"
#include "weft/transports/transport.h"

namespace weft::sim {

// A transport over `network`, which must outlive it. `buffers` are those of each port, and `bulk`
// is what its datagram ports have for long messages: nothing, unless it says otherwise.
std::unique_ptr<Transport> OpenTransport(Network* network, const BufferPoolOptions& buffers = {},
                                         const BulkOptions& bulk = {});

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SIM_TRANSPORT_H_
