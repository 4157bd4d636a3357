// SPDX-License-Identifier: Apache-2.0
//
// In place of grpc_floor.cc where the machine has no gRPC.

#include "weft/benchmarks/floors/roles.h"

namespace weft::benchmarks::floors {
namespace {

absl::Status NotAvailable() {
  return absl::UnimplementedError(
      "not available: install libgrpc++-dev protobuf-compiler-grpc and run bazel sync --configure");
}

}  // namespace

absl::Status GrpcAvailable() { return NotAvailable(); }
absl::Status ServeGrpc(Peer&) { return NotAvailable(); }
absl::Status AskGrpc(Peer&) { return NotAvailable(); }

}  // namespace weft::benchmarks::floors
