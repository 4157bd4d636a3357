// SPDX-License-Identifier: Apache-2.0
//
// For the quickstart: networks within this process's own reach, on which weft's own stack speaks
// over frames. Each has a configuration for the server and one for the client.
#ifndef WEFT_EXAMPLES_OWN_NETWORKS_H_
#define WEFT_EXAMPLES_OWN_NETWORKS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weft/config/config.h"

namespace weft::examples {

// Moves this process to a network namespace of its own, which nobody else sees and which goes with
// it, with loopback and the veth pair weft0 and weft1. Without root it is root of a user namespace
// from then on. While there is only one thread. The error says why the user may not; all else works
// the same.
absl::Status EnterOwnNetwork();

struct OwnNetwork {
  std::string name;
  std::string summary;
  config::Config server;  // which listens at rpc.listen
  config::Config client;
};

// Over packet sockets, AF_XDP, TAP and DPDK.
std::vector<OwnNetwork> OwnNetworks();

}  // namespace weft::examples

#endif  // WEFT_EXAMPLES_OWN_NETWORKS_H_
