// SPDX-License-Identifier: Apache-2.0
//
// A server that is asked for more than it can do: requests that cost it time on its core, due at a
// fixed rate however fast replies come, whose callers wait for a limited time. What counts is
// goodput: replies in time. Client and server are two processes, each pinned to a core and busy.

#ifndef WEFT_BENCHMARKS_OVERLOAD_WORKLOAD_H_
#define WEFT_BENCHMARKS_OVERLOAD_WORKLOAD_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct OverloadWorkload {
  std::string transport;
  double rate_per_s = 0;                             // 0: closed loop, just enough to saturate
  absl::Duration work = absl::Microseconds(10);      // of the handler, on its core
  absl::Duration deadline = absl::Milliseconds(10);  // for which callers wait
  size_t clients = 4;                                // in one process, with a session each
};

// Replies a second that came in time. Fails if the transport is not available.
absl::StatusOr<double> MeasureGoodput(const OverloadWorkload& workload, const RpcOptions& options);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> OverloadRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_OVERLOAD_WORKLOAD_H_
