// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites are told of the transports of this repository, for tests of them and
// of what is stacked on them.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_REPOSITORY_ADAPTERS_H_
#define WEFT_TRANSPORTS_CONFORMANCE_REPOSITORY_ADAPTERS_H_

#include <vector>

#include "weft/transports/conformance/adapters.h"

namespace weft {

std::vector<ConformanceAdapter> RepositoryAdapters();

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_REPOSITORY_ADAPTERS_H_
