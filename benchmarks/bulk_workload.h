// SPDX-License-Identifier: Apache-2.0
//
// How fast weft's RPC moves long messages: client and server in two processes, each pinned to a
// core and busy; one call at a time. What is sent lies in memory of the application and is not
// copied for it.

#ifndef WEFT_BENCHMARKS_BULK_WORKLOAD_H_
#define WEFT_BENCHMARKS_BULK_WORKLOAD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct BulkWorkload {
  // Which of the two messages of a call is long; the other has a byte.
  enum class Direction { kRequests, kReplies };
  std::string transport;
  Direction direction = Direction::kRequests;
  uint64_t bytes = uint64_t{8} << 20;

  // "rpc extended linux busy, requests of 8 MiB".
  std::string Name() const;
};

// Payload in GB/s (10^9 bytes). Fails if the transport is not available, and if a call fails.
absl::StatusOr<double> MeasureBulk(const BulkWorkload& workload, const RpcOptions& options);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> BulkRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_BULK_WORKLOAD_H_
