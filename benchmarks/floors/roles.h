// SPDX-License-Identifier: Apache-2.0
//
// The processes that floors are measured with. A server's arguments are what its comment says; it
// reports the port that it listens on, or 0, and serves until it is killed. A client's arguments
// are the duration in nanoseconds, the number of outstanding requests and the server's port, and
// then what its comment says; it reports the median round trip in nanoseconds when one request is
// outstanding and requests a second when more are.

#ifndef WEFT_BENCHMARKS_FLOORS_ROLES_H_
#define WEFT_BENCHMARKS_FLOORS_ROLES_H_

#include <cstddef>

#include "absl/status/status.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks::floors {

// Over RingMemoryBytes() of zeroed shared memory.
size_t RingMemoryBytes();
absl::Status ServeRing(Peer& peer);
absl::Status AskRing(Peer& peer);

// The last argument of both: 1 to sleep in recv, 0 to spin.
absl::Status ServeUdp(Peer& peer);
absl::Status AskUdp(Peer& peer);

// One way, over BulkMemoryBytes() of zeroed shared memory, where the server says how much has come.
// The client reports bytes a second.
size_t BulkMemoryBytes();
absl::Status ServeUdpBulk(Peer& peer);
absl::Status AskUdpBulk(Peer& peer);
// A client without a server, which reports bytes a second.
absl::Status CopyMemory(Peer& peer);

}  // namespace weft::benchmarks::floors

#endif  // WEFT_BENCHMARKS_FLOORS_ROLES_H_
