// SPDX-License-Identifier: Apache-2.0
//
// The two processes that gRPC is measured with.

#ifndef WEFT_BENCHMARKS_GRPC_ROLES_H_
#define WEFT_BENCHMARKS_GRPC_ROLES_H_

#include "absl/status/status.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks::grpc_peer {

// OK, or what to install.
absl::Status Available();

// Arguments: the API, the address to listen at, the directory of certificates (empty: plain text).
// Reports its port, or 0, and serves until it is killed.
absl::Status Serve(Peer& peer);

// Arguments: the API, the server's address, the directory of certificates, the figure's number, the
// duration in nanoseconds. Reports the figure.
absl::Status Ask(Peer& peer);

}  // namespace weft::benchmarks::grpc_peer

#endif  // WEFT_BENCHMARKS_GRPC_ROLES_H_
