// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites are told of the transports of this repository, for tests of them and
// of what is stacked on them.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_REPOSITORY_ADAPTERS_H_
#define WEFT_TRANSPORTS_CONFORMANCE_REPOSITORY_ADAPTERS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/transports/conformance/adapters.h"

namespace weft {

std::vector<ConformanceAdapter> RepositoryAdapters();

// Opens what is stacked on a device of `frames`; `address` with its prefix length, "10.77.0.1/24".
using OpenStacked = std::function<absl::StatusOr<std::unique_ptr<Transport>>(
    std::unique_ptr<Transport> device, const std::string& address,
    const ConformanceAdapter& frames)>;

// Adapters of what is stacked on each transport of frames, over IPv4 and over IPv6, every end with
// an address of its own. `work` is that of ConformanceAdapter.
std::vector<ConformanceAdapter> AdaptersOverFrames(bool Capabilities::*contract,
                                                   const std::function<void()>& work,
                                                   const OpenStacked& open);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_REPOSITORY_ADAPTERS_H_
