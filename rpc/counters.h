// SPDX-License-Identifier: Apache-2.0
//
// Everything that clients and servers count, by name: for metrics.cc and describe.cc. Not for
// users.
#ifndef WEFT_RPC_COUNTERS_H_
#define WEFT_RPC_COUNTERS_H_

#include "absl/types/span.h"
#include "weft/core/metrics.h"
#include "weft/rpc/balanced_servers.h"
#include "weft/rpc/client_base.h"
#include "weft/rpc/server_stats.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

template <typename Stats, typename Metric = Counter>
struct Named {
  const char* name;
  const char* help;
  Metric Stats::*metric;
};

absl::Span<const Named<ClientStats>> ClientCounters();
absl::Span<const Named<BalancerStats>> BalancerCounters();
absl::Span<const Named<BalancerStats, Gauge>> BalancerGauges();
absl::Span<const Named<ServerStats>> ServerCounters();
absl::Span<const Named<ServerStats, Gauge>> ServerGauges();

// Of a refusal's reason: "overloaded".
const char* NameOf(DropReason reason);

}  // namespace weft::rpc

#endif  // WEFT_RPC_COUNTERS_H_
