// SPDX-License-Identifier: Apache-2.0
//
// What a router costs, without clients and servers that would cost more: another process sends
// requests to it, receives them again as its servers, and tells it at once that they are done. Both
// spin, on a core each. 64-byte requests in the original format, policy "jbsq".

#ifndef WEFT_BENCHMARKS_ROUTED_LOAD_H_
#define WEFT_BENCHMARKS_ROUTED_LOAD_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

// What is between the two.
enum class RoutedOver {
  // net_virtio_user and net_vhost, with weft's own stack: destinations are rewritten in place.
  kDpdk,
  // Kernel sockets on loopback, with segmentation offload: clients' addresses in headers.
  kUdp,
};
const char* Name(RoutedOver over);

// The median time from a client to a server through the router, with one request in flight, in
// microseconds: two hops, and what the router adds.
absl::StatusOr<double> MeasureRoutedLatency(RoutedOver over, const floors::Options& options);

struct RoutedRate {
  double requests_per_s = 0;  // as they were
  // For each second that the router's thread was at work on its core.
  double requests_per_core_s = 0;
};

// With many requests in flight. Whether the router or the other process is the bottleneck, the
// second figure is what one core can do: turns of the loop that found nothing to do are not
// counted. With kDpdk the router has the side of the guest.
absl::StatusOr<RoutedRate> MeasureRoutedRate(RoutedOver over, const floors::Options& options);

// What a program that calls these must be able to run.
absl::Span<const PeerRole> RoutedRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_ROUTED_LOAD_H_
