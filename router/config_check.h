// SPDX-License-Identifier: Apache-2.0
//
// What the loader of configurations cannot judge of their sections about routers, as it knows
// neither addresses nor policies:
//
//   auto config = config::LoadFile(path, &router::FindProblems);
//   // x.cfg:3:11: router.policy: unknown policy 'jbsk'; did you mean 'jbsq'?
#ifndef WEFT_ROUTER_CONFIG_CHECK_H_
#define WEFT_ROUTER_CONFIG_CHECK_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/config/problem.h"

namespace weft::router {

// Of `router`, `rpc.router` and `rpc.balancer`, where they are present: a config::Check.
std::vector<config::Problem> FindProblems(const config::Config& config);

// The short form of a list of servers, "10.0.0.2:8000:2,10.0.0.3:8000:4" (address, first port,
// number of ports; the last may be missing, as in "10.0.0.2:8000" and "shm:a"). InvalidArgument
// says which entry is wrong, at which character.
absl::StatusOr<std::vector<config::RouterServer>> ParseServers(absl::string_view text);

}  // namespace weft::router

#endif  // WEFT_ROUTER_CONFIG_CHECK_H_
