// SPDX-License-Identifier: Apache-2.0
//
// RPC between two processes at addresses that are given, as two RDMA devices of one machine have
// them, with what it costs beside time: what the devices were asked for, copies, allocations.

#ifndef WEFT_BENCHMARKS_RDMA_RPC_H_
#define WEFT_BENCHMARKS_RDMA_RPC_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct RdmaRpcWorkload {
  std::string transport;
  // Where the two listen: "10.77.0.1:0", "shm:a".
  std::string server_address;
  std::string client_address;
  // Long messages lie in the transport's own buffers for them, where it has such.
  size_t request_bytes = 64;
  size_t reply_bytes = 64;
  int outstanding = 1;
};

struct RdmaRpcResult {
  double p50_us = 0;
  double replies_per_s = 0;
  // For each call, of the side that had more of it. Work requests and completions are of RDMA's
  // datagrams, and 0 over other transports.
  double send_posts = 0;
  double send_doorbells = 0;
  double send_completions = 0;  // that is, sends that were signalled
  double receive_posts = 0;
  double receive_doorbells = 0;
  double receive_completions = 0;
  double copied_bytes = 0;
  double allocations = 0;
};

absl::StatusOr<RdmaRpcResult> MeasureRdmaRpc(const RdmaRpcWorkload& workload,
                                             const RpcOptions& options);

absl::Span<const PeerRole> RdmaRpcRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_RDMA_RPC_H_
