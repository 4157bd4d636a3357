// SPDX-License-Identifier: Apache-2.0
//
// Client or server is killed under load (SIGKILL: it says nothing to anybody): how long the other
// takes to notice, and whether all that was under way has ended then.

#ifndef WEFT_BENCHMARKS_DEATH_WORKLOAD_H_
#define WEFT_BENCHMARKS_DEATH_WORKLOAD_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct DeathWorkload {
  enum class Victim { kServer, kClient };
  std::string transport;
  Victim victim = Victim::kServer;
  absl::Duration timeout = absl::Milliseconds(500);  // of sessions, on both sides
};

struct Death {
  double noticed_ms = 0;  // after the kill: when the last call had failed; when the session ended
  double left = 0;        // calls, or handlers, that have not ended by then
};

// Fails if the transport is not available, and if nothing is noticed at all.
absl::StatusOr<Death> MeasureDeath(const DeathWorkload& workload, const RpcOptions& options);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> DeathRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_DEATH_WORKLOAD_H_
