// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites are told of this plugin.
#ifndef WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_
#define WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_

#include "weft/transports/conformance/adapters.h"

namespace weft::rdma {

// Over a simulated device, in virtual time.
ConformanceAdapter SimAdapter();

// Over devices of this machine: an end for each of those in WEFT_RDMA_DEVICES, at the IP address in
// the same place of WEFT_RDMA_ADDRESSES; names are separated by spaces. Tests are skipped without
// them. Whoever uses it links the plugin.
ConformanceAdapter DeviceAdapter();

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_CONFORMANCE_ADAPTERS_H_
