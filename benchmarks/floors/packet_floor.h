// SPDX-License-Identifier: Apache-2.0
//
// The floor of packet sockets: 64-byte frames between two processes that send() and recv() on plain
// AF_PACKET sockets on the ends of a veth pair, each pinned to a core, never sleeping. Needs root.
//
//   auto pair = VethPair::Make();                    // benchmarks/veth_pair.h
//   absl::StatusOr<double> ns = floors::PacketRoundTripNs({});
//
// The calling program must be able to run PacketRoles() (benchmarks/peer_process.h).

#ifndef WEFT_BENCHMARKS_FLOORS_PACKET_FLOOR_H_
#define WEFT_BENCHMARKS_FLOORS_PACKET_FLOOR_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks::floors {

// The median round trip over the VethPair that the calling thread has made.
absl::StatusOr<double> PacketRoundTripNs(const Options& options);

absl::Span<const PeerRole> PacketRoles();

}  // namespace weft::benchmarks::floors

#endif  // WEFT_BENCHMARKS_FLOORS_PACKET_FLOOR_H_
