// SPDX-License-Identifier: Apache-2.0
//
// What a server costs that has nothing to do: examples/echo_server as users start it.

#ifndef WEFT_BENCHMARKS_FOOTPRINT_H_
#define WEFT_BENCHMARKS_FOOTPRINT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct Footprint {
  double idle_cpu_percent = 0;  // of one core, over the idle time
  double resident_mib = 0;      // after having served at full speed
};

// Starts the server over `transport` with its defaults, lets a client ask at full speed for
// `options.duration`, then leaves the server alone for `idle`.
absl::StatusOr<Footprint> MeasureFootprint(const std::string& transport, absl::Duration idle,
                                           const RpcOptions& options);

// What a program that calls this must be able to run, besides RpcRoles().
absl::Span<const PeerRole> FootprintRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_FOOTPRINT_H_
