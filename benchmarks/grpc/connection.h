// SPDX-License-Identifier: Apache-2.0
//
// How the two sides of gRPC reach one another.

#ifndef WEFT_BENCHMARKS_GRPC_CONNECTION_H_
#define WEFT_BENCHMARKS_GRPC_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace weft::benchmarks::grpc_peer {

// `certificates`: the directory with the files of rpc::WriteTestCertificates(); empty: plain text.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(
    const std::string& certificates);

// Limits and windows for messages of kLongBytes, several of them on their way.
void SetLimits(grpc::ServerBuilder* builder);

// A channel that is connected.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const std::string& address,
                                                       const std::string& certificates);

}  // namespace weft::benchmarks::grpc_peer

#endif  // WEFT_BENCHMARKS_GRPC_CONNECTION_H_
