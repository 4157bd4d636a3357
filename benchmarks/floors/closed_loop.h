// SPDX-License-Identifier: Apache-2.0
//
// The two ways a floor's client asks: one request at a time, and a fixed number outstanding. Both
// discard the first tenth of their duration.

#ifndef WEFT_BENCHMARKS_FLOORS_CLOSED_LOOP_H_
#define WEFT_BENCHMARKS_FLOORS_CLOSED_LOOP_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "weft/core/clock.h"
#include "weft/core/histogram.h"

namespace weft::benchmarks::floors {

// How long a client waits for a reply before it gives up.
inline constexpr int64_t kPatienceNs = 5'000'000'000;

// The median time that `round_trip()` takes, in nanoseconds; it returns false when it gives up.
template <typename RoundTrip>
absl::StatusOr<double> MedianRoundTripNs(int64_t duration_ns, RoundTrip round_trip) {
  const Clock& clock = RealClock();
  const auto histogram = std::make_unique<Histogram>();
  int64_t now_ns = clock.NowNs();
  const int64_t record_from_ns = now_ns + duration_ns / 10;
  const int64_t end_ns = now_ns + duration_ns;
  int64_t start_ns;
  do {
    start_ns = now_ns;
    if (!round_trip()) return absl::UnavailableError("no reply");
    now_ns = clock.NowNs();
    if (start_ns >= record_from_ns) histogram->Record(now_ns - start_ns);
  } while (now_ns < end_ns || start_ns < record_from_ns);  // One at least, however slow.
  return static_cast<double>(histogram->Snapshot().Percentile(50));
}

// Replies a second with `outstanding` requests on their way. `exchange(n)` sends n requests and
// returns how many replies have arrived, without waiting long if there is none.
template <typename Exchange>
absl::StatusOr<double> RepliesPerSecond(int64_t duration_ns, size_t outstanding,
                                        Exchange exchange) {
  const Clock& clock = RealClock();
  const int64_t record_from_ns = clock.NowNs() + duration_ns / 10;
  const int64_t end_ns = record_from_ns + duration_ns - duration_ns / 10;
  int64_t first_ns = 0;  // When counting began.
  int64_t last_reply_ns = clock.NowNs();
  uint64_t replies = 0;
  size_t arrived = outstanding;
  for (uint32_t turn = 0;; ++turn) {
    arrived = exchange(arrived);
    replies += arrived;
    // The clock costs as much as some exchanges do.
    if (arrived > 0 && turn % 16 != 0) continue;
    const int64_t now_ns = clock.NowNs();
    if (arrived > 0) last_reply_ns = now_ns;
    if (now_ns - last_reply_ns > kPatienceNs) return absl::UnavailableError("no reply");
    if (first_ns == 0) {
      if (now_ns < record_from_ns) continue;
      first_ns = now_ns;
      replies = 0;
    } else if (now_ns >= end_ns && replies > 0) {
      return static_cast<double>(replies) * 1e9 / static_cast<double>(now_ns - first_ns);
    }
  }
}

}  // namespace weft::benchmarks::floors

#endif  // WEFT_BENCHMARKS_FLOORS_CLOSED_LOOP_H_
