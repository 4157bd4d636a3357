// SPDX-License-Identifier: Apache-2.0
//
// Segment: one that has arrived, taken apart, on its way through the files that know what to do
// with it (RFC 9293, 3.10.7). Part of the engine.
#ifndef WEFT_TCP_SEGMENT_H_
#define WEFT_TCP_SEGMENT_H_

#include <cstddef>
#include <cstdint>

#include "weft/core/buffer.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/flow.h"
#include "weft/tcp/segment_options.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

// A plain value, for as long as its segment is looked at.
struct Segment {
  Flow flow;  // as we see it: local is the destination
  uint32_t hash = 0;
  Seq seq;
  Seq ack;
  uint8_t flags = 0;
  uint8_t ecn = 0;      // of the IP header
  uint16_t window = 0;  // as it stands there
  uint32_t length = 0;  // of the payload
  size_t header_bytes = 0;
  SegmentOptions options;
  // Of a SYN that takes over a flow at rest: the answer's number is above it (RFC 6191, 2).
  bool takes_over = false;
  Seq isn_above;
  Buffer* buffer = nullptr;  // from the header on; moved out when something takes it

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
  // Behind what it takes of the sequence space.
  Seq end() const {
    return seq + length + (has(netstack::kTcpSyn) ? 1 : 0) + (has(netstack::kTcpFin) ? 1 : 0);
  }
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_SEGMENT_H_
