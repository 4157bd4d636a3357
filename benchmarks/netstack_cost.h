// SPDX-License-Identifier: Apache-2.0
//
// What weft's network stack costs a packet beyond the device: UDP datagrams of 64 bytes are
// received and sent back through a port of a stack on a device in memory, and the time that the
// device alone takes for the same is subtracted. In one thread of a process of its own.

#ifndef WEFT_BENCHMARKS_NETSTACK_COST_H_
#define WEFT_BENCHMARKS_NETSTACK_COST_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

// Of one datagram, received and sent back.
struct NetstackCost {
  double ns = 0;
  double ticks = 0;  // of the processor's time stamp counter
};

// `burst`: datagrams that arrive together, 1 to 32.
absl::StatusOr<NetstackCost> MeasureNetstackCost(size_t burst, int core, absl::Duration duration);

// What a program that calls this must be able to run.
absl::Span<const PeerRole> NetstackCostRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_NETSTACK_COST_H_
