// SPDX-License-Identifier: Apache-2.0
//
// The floor of AF_XDP: 64-byte frames between two processes that use plain libxdp on the ends of a
// veth pair, each pinned to a core, never sleeping. Needs root.
//
//   auto pair = VethPair::Make();                    // benchmarks/veth_pair.h
//   absl::StatusOr<double> ns = floors::AfxdpRoundTripNs({.native = true});
//
// The calling program must be able to run AfxdpRoles() (benchmarks/peer_process.h).

#ifndef WEFT_BENCHMARKS_FLOORS_AFXDP_FLOOR_H_
#define WEFT_BENCHMARKS_FLOORS_AFXDP_FLOOR_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks::floors {

struct AfxdpFloorOptions {
  bool native = true;  // or generic
  int client_core = 0;
  int server_core = 1;
  absl::Duration duration = absl::Milliseconds(300);
};

// The median round trip over the VethPair that the calling thread has made.
absl::StatusOr<double> AfxdpRoundTripNs(const AfxdpFloorOptions& options);

absl::Span<const PeerRole> AfxdpRoles();

}  // namespace weft::benchmarks::floors

#endif  // WEFT_BENCHMARKS_FLOORS_AFXDP_FLOOR_H_
