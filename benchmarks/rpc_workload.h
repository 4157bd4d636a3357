// SPDX-License-Identifier: Apache-2.0
//
// One measurement of weft's RPC: client and server in two processes, each pinned to a core.

#ifndef WEFT_BENCHMARKS_RPC_WORKLOAD_H_
#define WEFT_BENCHMARKS_RPC_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/core/loop.h"
#include "weft/rpc/options.h"
#include "weft/transports/datagram_port.h"

namespace weft::benchmarks {

struct RpcWorkload {
  std::string transport;          // a name in the registry
  std::string mode = "busy";      // busy, adaptive or sleep: how both loops wait
  uint64_t request_bytes = 64;    // the reply is as long
  uint64_t outstanding = 1;       // requests in flight at most
  uint64_t rate = 0;              // requests a second; 0: closed loop
  std::string wire = "original";  // or extended: the format
  // Probability that a packet is lost, each way. None: without the decorator that loses packets.
  std::optional<double> loss = std::nullopt;

  // "rpc linux busy", and what is not the default: "rpc extended shm busy, 1024 B, 32 outstanding".
  std::string Name() const;
};

struct RpcResult {
  double p50_us = 0;
  double p99_us = 0;
  double replies_per_s = 0;
};

struct RpcOptions {
  int client_core = 0;
  int server_core = 1;
  absl::Duration duration = absl::Milliseconds(300);  // after a tenth of it to warm up
};

// Fails if the transport is not available, and if a request is not answered.
absl::StatusOr<RpcResult> MeasureRpc(const RpcWorkload& workload, const RpcOptions& options);

// The same against a server that is running at `address` already.
absl::StatusOr<RpcResult> MeasureRpcAt(const std::string& address, const RpcWorkload& workload,
                                       const RpcOptions& options);

// What a program that calls these must be able to run.
absl::Span<const PeerRole> RpcRoles();

// For processes that open their ports in another way. Echoes what comes to `port`, for ever;
// `on_ready` is told the port's number.
absl::Status ServeRpc(const LoopOptions& loop_options, std::unique_ptr<DatagramPort> port,
                      absl::FunctionRef<void(uint16_t)> on_ready);

struct RpcRequests {
  Address server;
  rpc::Wire wire = rpc::Wire::kOriginal;
  uint64_t bytes = 64;
  uint64_t outstanding = 1;
  uint64_t rate = 0;  // a second; 0: closed loop
  absl::Duration duration;
};

// Measures once the server has answered at all, which it has some seconds for.
absl::StatusOr<RpcResult> AskRpc(const LoopOptions& loop_options,
                                 std::unique_ptr<DatagramPort> port, const RpcRequests& requests);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_RPC_WORKLOAD_H_
