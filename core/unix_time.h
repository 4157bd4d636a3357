// SPDX-License-Identifier: Apache-2.0
//
// What time it is, for what people and other programs read: logs, recordings, traces. It can be set
// back, so that nothing is decided by it; that is what clocks are for (clock.h).
#ifndef WEFT_CORE_UNIX_TIME_H_
#define WEFT_CORE_UNIX_TIME_H_

#include <time.h>

#include <cstdint>

namespace weft {

// Nanoseconds since the beginning of 1970, UTC.
inline int64_t UnixNs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace weft

#endif  // WEFT_CORE_UNIX_TIME_H_
