// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/packet_record.h"

#include "weft/core/unix_time.h"

namespace weft {

RecordTime RecordTime::Real(const Clock& clock) {
  return RecordTime(clock, UnixNs() - clock.NowNs());
}

}  // namespace weft
