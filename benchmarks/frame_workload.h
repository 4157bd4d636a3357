// SPDX-License-Identifier: Apache-2.0
//
// Measurements of weft's own network stack over transports of frames: RPC and plain UDP, between
// two processes that are pinned to a core each and never sleep. 64-byte requests, replies and
// datagrams.

#ifndef WEFT_BENCHMARKS_FRAME_WORKLOAD_H_
#define WEFT_BENCHMARKS_FRAME_WORKLOAD_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

// What is between the two.
enum class Cable {
  kDpdk,          // net_virtio_user, the client's, and net_vhost
  kAfxdpNative,   // a veth pair
  kAfxdpGeneric,  // likewise
  kPacket,        // likewise
};

// How a cable is called in tables: "dpdk", "afxdp native".
const char* Name(Cable cable);

// The median round trip in microseconds with one request outstanding, else replies a second.
absl::StatusOr<double> MeasureRpcOver(Cable cable, int outstanding, const floors::Options& options);

enum class Direction { kToGuest, kFromGuest };

// Datagrams a second in one direction, received, in bursts of 32: from net_vhost to net_virtio_user
// or the other way.
absl::StatusOr<double> MeasureUdpOverDpdk(Direction direction, const floors::Options& options);

// What a program that calls these must be able to run; DpdkRoles() are not among it.
absl::Span<const PeerRole> FrameRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_FRAME_WORKLOAD_H_
