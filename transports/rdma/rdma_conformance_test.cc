// SPDX-License-Identifier: Apache-2.0
//
// The conformance suites over the devices of this machine.
#include <vector>

#include "weft/transports/rdma/conformance_adapters.h"

std::vector<weft::ConformanceAdapter> weft::AllAdapters() { return {rdma::DeviceAdapter()}; }
