// SPDX-License-Identifier: Apache-2.0
//
// One measurement of RemoteMemory: who uses it and who has it are two threads of one process, each
// with a port of its own and pinned to a core.

#ifndef WEFT_BENCHMARKS_MEMORY_WORKLOAD_H_
#define WEFT_BENCHMARKS_MEMORY_WORKLOAD_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"
#include "weft/transports/remote_memory.h"

namespace weft::benchmarks {

struct MemoryWorkload {
  std::string transport;
  // Where the two ports are: "10.77.0.1:0", "shm:a".
  std::string owner_address;
  std::string user_address;
  MemoryOperation::Kind kind = MemoryOperation::Kind::kRead;
  size_t bytes = 64;    // of a read or write; cut to the longest operation
  int outstanding = 1;  // operations under way
};

struct MemoryResult {
  double p50_us = 0;
  double bytes_per_s = 0;
};

absl::StatusOr<MemoryResult> MeasureMemory(const MemoryWorkload& workload,
                                           const RpcOptions& options);

absl::Span<const PeerRole> MemoryRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_MEMORY_WORKLOAD_H_
