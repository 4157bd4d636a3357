// SPDX-License-Identifier: Apache-2.0
//
// A server with very many sessions, all of one client: whether it serves them as fast as few, and
// what they take while they are idle. Client and server are two processes, each pinned to a core
// and busy.

#ifndef WEFT_BENCHMARKS_SESSION_WORKLOAD_H_
#define WEFT_BENCHMARKS_SESSION_WORKLOAD_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct SessionWorkload {
  std::string transport;
  size_t sessions = 20'000;
  // Calls in flight, each in another session than the ones before: all in turn, in an order that is
  // mixed once.
  size_t outstanding = 20;
};

// Replies a second, of 64 bytes, when each session has had a call already. Fails if the transport
// is not available, if a session is not opened or lost, or a call fails.
absl::StatusOr<double> MeasureActiveSessions(const SessionWorkload& workload,
                                             const RpcOptions& options);

struct IdleSessions {
  double bytes = 0;   // of resident memory of the server, for each
  double served = 0;  // of them, afterwards: 1 is all
};

// Opens them, makes a call in each, and waits until the server has forgotten the replies.
absl::StatusOr<IdleSessions> MeasureIdleSessions(const SessionWorkload& workload,
                                                 const RpcOptions& options);

// What a program that calls these must be able to run.
absl::Span<const PeerRole> SessionRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_SESSION_WORKLOAD_H_
