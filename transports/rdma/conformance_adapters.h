// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites are told of this plugin.
#ifndef WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_
#define WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_

#include <string>
#include <vector>

#include "weft/transports/conformance/adapters.h"

namespace weft::rdma {

// Over a simulated device, in virtual time.
ConformanceAdapter SimAdapter();

// Over devices of this machine: an end for each of these IP addresses. Whoever links it links the
// plugin.
ConformanceAdapter DeviceAdapter(const std::string& name, const std::vector<std::string>& addresses);

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_
