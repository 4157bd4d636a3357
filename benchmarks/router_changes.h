// SPDX-License-Identifier: Apache-2.0
//
// Changes under load: a server is killed and comes back; the configuration is read again and
// servers are drained while requests arrive, as a Poisson process. The router is the program
// //router:router.

#ifndef WEFT_BENCHMARKS_ROUTER_CHANGES_H_
#define WEFT_BENCHMARKS_ROUTER_CHANGES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

inline constexpr absl::Duration kChangesKeepalive = absl::Milliseconds(50);

struct KilledServer {
  double detected_ms = 0;     // from its death until the router takes it for down
  double requests_after = 0;  // that the router sent to it later than that, until it was back
  double used_again_ms = 0;   // from its being up again until it got a request
};
// `directory` is for the router's configuration.
absl::StatusOr<KilledServer> MeasureKilledServer(const std::string& directory,
                                                 const RpcOptions& options);

struct ReloadedRouter {
  double requests = 0;
  double failed = 0;   // refused, lost or late
  double reloads = 0;  // SIGHUP, each with another configuration
  double drains = 0;   // `weft router drain`, and `add` when it was through
};
absl::StatusOr<ReloadedRouter> MeasureReload(const std::string& directory,
                                             const RpcOptions& options);

// What a program that calls these must be able to run.
absl::Span<const PeerRole> ChangesRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_ROUTER_CHANGES_H_
