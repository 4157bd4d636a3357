// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites are told of this plugin.
#ifndef WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_
#define WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_

#include <vector>

#include "weft/transports/conformance/adapters.h"

namespace weft::rdma {

// Over a simulated device, in virtual time.
ConformanceAdapter SimAdapter();

// Over devices of this machine: an end at each of the IP addresses in WEFT_RDMA_ADDRESSES, separated
// by spaces, and all at the first; tests are skipped without them. Whoever uses it links the plugin.
std::vector<ConformanceAdapter> DeviceAdapters();

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_
