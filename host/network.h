// SPDX-License-Identifier: Apache-2.0
//
// The network that a configuration describes: a transport, with weft's own stack above its frames,
// TCP included, where there is a `netstack` section. Programs with a weft::Host have it from there.
//
//   absl::StatusOr<Network> network = OpenNetwork(config);
//   if (!network.ok()) return network.status();
//   auto port = network->transport->OpenDatagramPort({.local = address});
#ifndef WEFT_HOST_NETWORK_H_
#define WEFT_HOST_NETWORK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/tcp/tcp_transport.h"
#include "weft/transports/transport.h"

namespace weft {

struct Network {
  std::unique_ptr<Transport> transport;
  // What `transport` is made of where it is weft's own stack, else null.
  netstack::NetstackTransport* netstack = nullptr;
  tcp::TcpTransport* tcp = nullptr;
};

// Opens it for `host.workers` threads. Errors: those of OpenTransport(), NetstackTransport::Open()
// and TcpTransport::Open().
absl::StatusOr<Network> OpenNetwork(const config::Config& config);

// Where a program serves, and its clients look for it, that was told nothing about it: "shm:echo",
// port 7000 at the first of `netstack.addresses`, or "127.0.0.1:7000"; or with another port and
// name.
std::string DefaultAddress(const config::Config& config, uint16_t port = 7000,
                           absl::string_view shm_name = "echo");

}  // namespace weft

#endif  // WEFT_HOST_NETWORK_H_
