// SPDX-License-Identifier: Apache-2.0
//
// One stream of TCP, full of bytes in one direction, between two processes pinned to a core each.
// At either end there is weft's own TCP or the kernel's, and between them one of several cables.
//
// Sender and receiver are as iperf's: the sender has its bytes in memory of its own and hands them
// over by send(), or copies them to where weft sends them from; the receiver takes them by recv()
// into memory of its own, or looks at them where weft has received them. With `copy`, it copies
// them too.
//
// Who has nothing to do sleeps: in the kernel, in poll() on the port's descriptor, or, where there
// is none to wait for (DPDK), for some microseconds.

#ifndef WEFT_BENCHMARKS_TCP_BULK_WORKLOAD_H_
#define WEFT_BENCHMARKS_TCP_BULK_WORKLOAD_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

enum class BulkCable {
  kLoopback,   // the kernel's
  kVhost,      // net_virtio_user and net_vhost, weft at both ends
  kTap,        // a TAP device; weft has one side of it, the kernel the other
  kVeth,       // a veth pair between two namespaces; weft has its end by a packet socket
  kVethAfxdp,  // the same with AF_XDP, in native mode
  kVethPlain,  // a veth pair as it has to be for AF_XDP: frames are whole and have checksums
};

struct TcpBulkWorkload {
  BulkCable cable;
  bool weft_sends = false;
  bool weft_receives = false;
  bool copy = false;      // what weft receives
  bool to_guest = false;  // kVhost: net_vhost sends
  // Of weft's ends: `transport.buffers`; 0: what large segments need.
  size_t buffer_bytes = 0;
};

// Gigabits of payload for each second of both processes' time on a processor: user's and system's.
absl::StatusOr<double> MeasureTcpBulk(const TcpBulkWorkload& workload,
                                      const floors::Options& options);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> TcpBulkRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_TCP_BULK_WORKLOAD_H_
