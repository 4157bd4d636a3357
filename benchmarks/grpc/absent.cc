// SPDX-License-Identifier: Apache-2.0
//
// In place of server.cc and client.cc where the machine has no gRPC.

#include "weft/benchmarks/grpc/roles.h"

namespace weft::benchmarks::grpc_peer {

absl::Status Available() {
  return absl::UnimplementedError(
      "not installed: install libgrpc++-dev protobuf-compiler-grpc and run bazel sync --configure");
}
absl::Status Serve(Peer&) { return Available(); }
absl::Status Ask(Peer&) { return Available(); }

}  // namespace weft::benchmarks::grpc_peer
