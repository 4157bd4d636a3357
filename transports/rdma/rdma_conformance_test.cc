// SPDX-License-Identifier: Apache-2.0
//
// The conformance suites over the devices of this machine, one end at each of the addresses in
// WEFT_RDMA_ADDRESSES, separated by spaces; tests are skipped without them.
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "weft/transports/rdma/conformance_adapters.h"

std::vector<weft::ConformanceAdapter> weft::AllAdapters() {
  const char* const given = std::getenv("WEFT_RDMA_ADDRESSES");
  std::vector<std::string> addresses;
  for (const auto ip : absl::StrSplit(given == nullptr ? "" : given, ' ', absl::SkipEmpty())) {
    addresses.push_back(absl::StrCat(ip, ":0"));
  }
  const bool missing = addresses.empty();
  if (missing) addresses = {"127.0.0.1:0"};
  std::vector<ConformanceAdapter> adapters = {
      rdma::DeviceAdapter("rdma", addresses),
      Decorated(rdma::DeviceAdapter("rdma", addresses)),
      // All ports on one device.
      rdma::DeviceAdapter("rdma_one_device", {addresses[0]}),
  };
  for (ConformanceAdapter& adapter : adapters) {
    if (!missing) continue;
    adapter.prepare = [] {
      return absl::UnavailableError("WEFT_RDMA_ADDRESSES names no devices to test");
    };
  }
  return adapters;
}
