// SPDX-License-Identifier: Apache-2.0
//
// What recording_port.h tells its writers of a packet.
#ifndef WEFT_TRANSPORTS_DECORATORS_PACKET_RECORD_H_
#define WEFT_TRANSPORTS_DECORATORS_PACKET_RECORD_H_

#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/clock.h"
#include "weft/transports/address.h"

namespace weft {

struct PacketRecord {
  int64_t time_ns;  // since the epoch of Unix, or of virtual time
  bool sent;        // else received
  absl::Span<const uint8_t> bytes;
};

// A clock's time as records show it: since 1970 where it is real.
class RecordTime {
 public:
  // Time since the clock's own zero.
  static RecordTime Virtual(const Clock& clock) { return RecordTime(clock, 0); }
  static RecordTime Real(const Clock& clock);

  int64_t NowNs() const { return clock_->NowNs() + offset_ns_; }

 private:
  RecordTime(const Clock& clock, int64_t offset_ns) : clock_(&clock), offset_ns_(offset_ns) {}

  const Clock* clock_;
  int64_t offset_ns_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_PACKET_RECORD_H_
