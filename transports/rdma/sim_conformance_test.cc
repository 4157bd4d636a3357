// SPDX-License-Identifier: Apache-2.0
//
// The conformance suites over the simulated device.
#include <vector>

#include "weft/transports/rdma/conformance_adapters.h"

std::vector<weft::ConformanceAdapter> weft::AllAdapters() {
  return {rdma::SimAdapter(), Decorated(rdma::SimAdapter())};
}
