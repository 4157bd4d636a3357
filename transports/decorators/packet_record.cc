// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/packet_record.h"

#include <ctime>

namespace weft {

RecordTime RecordTime::Real(const Clock& clock) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return RecordTime(clock, int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec - clock.NowNs());
}

}  // namespace weft
