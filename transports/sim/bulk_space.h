// SPDX-License-Identifier: Apache-2.0
//
// Of a simulated network, what its nodes let each other fetch (sim_bulk.h): for tests to make
// worse, and to look at.
#ifndef WEFT_TRANSPORTS_SIM_BULK_SPACE_H_
#define WEFT_TRANSPORTS_SIM_BULK_SPACE_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace weft::sim {

// Probabilities hold for each call, independent of each other.
struct BulkFaults {
  double fail = 0;        // a fetch ends badly
  double no_buffer = 0;   // Allocate() gives none
  double no_way = 0;      // Expose() and Fetch() refuse
  double lost = 0;        // what Expose() gives a key for is not exposed
  int64_t set_up_ns = 0;  // from the first use of a way until it is there
};

struct BulkSpace {
  struct Exposure {
    const void* port = nullptr;
    uint32_t owner = 0;  // node
    uint32_t reader = 0;
    absl::Span<const uint8_t> bytes;
    uint64_t hash = 0;  // of the bytes, which must not change
  };

  BulkFaults faults;
  absl::flat_hash_map<uint64_t, Exposure> exposures;  // that have not been concealed
  // Since the network was made.
  uint64_t exposed = 0;
  uint64_t fetched = 0;
  uint64_t fetched_bytes = 0;
  uint64_t failed = 0;   // fetches that ended badly
  uint64_t changed = 0;  // messages found changed while they were exposed: must stay 0
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_BULK_SPACE_H_
