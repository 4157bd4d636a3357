// SPDX-License-Identifier: Apache-2.0
//
// How the processes of a benchmark open their ports, and where they meet.

#ifndef WEFT_BENCHMARKS_ENDPOINT_H_
#define WEFT_BENCHMARKS_ENDPOINT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/rpc/options.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/transport.h"

namespace weft::benchmarks {

// Options of a loop that waits as `mode` says: busy, adaptive or sleep.
absl::StatusOr<LoopOptions> LoopOptionsOf(const std::string& mode);

// Of the name as in a configuration: auto, original or extended.
absl::StatusOr<rpc::Wire> WireOf(const std::string& name);

struct EndpointOptions {
  std::string transport;   // a name in the registry
  std::string local = {};  // address; empty for a client
  // Probability that what is sent is lost, each on its own; none: without the decorator that does
  // it, which costs a little.
  std::optional<double> loss = std::nullopt;
  uint32_t buffers = 0;  // of the port; 0: the default
};

// A port; the transport must stay as long as it.
struct Endpoint {
  std::unique_ptr<Transport> transport;
  std::unique_ptr<DatagramPort> port;
};
absl::StatusOr<Endpoint> OpenEndpoint(const EndpointOptions& options);

// Whether the transport can be used here; if not, why.
absl::Status TransportIsHere(const std::string& transport);

// An address for a server on this machine, with a port of the system's choice if it has ports...
std::string ListenAddress(const std::string& transport);
// ... and where clients find that server, once it has reported the number of its port.
std::string ServerAddress(const std::string& listen, double port_number);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_ENDPOINT_H_
