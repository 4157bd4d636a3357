// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite must be told of each transport. A new plugin adds an entry in
// adapters.cc; everything else it says itself, by its capabilities.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_ADAPTERS_H_
#define WEFT_TRANSPORTS_CONFORMANCE_ADAPTERS_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/capabilities.h"

namespace weft {

struct ConformanceAdapter {
  // Of the test's name; that of the transport unless there are several settings to test.
  std::string name;
  // Opened anew for each test, by OpenTransport(). Buffers are set by the suite.
  config::Transport config;
  // Addresses that a port may be opened at, at least eight, or one with port 0.
  std::vector<Address> local;
  // What its documentation promises: copies of a payload that are counted by the port that sends a
  // message, and by the one that receives it, when messages come one by one.
  uint64_t copies_per_send = 0;
  uint64_t copies_per_receive = 0;
};

void PrintTo(const ConformanceAdapter& adapter, std::ostream* out);

// One or more for each transport that is linked in; those with the contract.
std::vector<ConformanceAdapter> AllAdapters();
std::vector<ConformanceAdapter> AdaptersWith(bool Capabilities::*contract);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_ADAPTERS_H_
