// SPDX-License-Identifier: Apache-2.0
//
// new_reno: the congestion control of RFC 5681. The window doubles each round trip until something
// is lost, then is halved and grows by a segment each round trip; growth is counted in bytes that
// were acknowledged, not in acknowledgements (RFC 3465). What NewReno changes in the recovery
// itself (RFC 6582) is LossDetection's.
#ifndef WEFT_TCP_CONGESTION_NEW_RENO_H_
#define WEFT_TCP_CONGESTION_NEW_RENO_H_

#include <cstdint>

#include "weft/tcp/congestion/congestion_control.h"

namespace weft::tcp {

const CongestionAlgorithm& NewReno();

// For other algorithms, too.

// One acknowledgement counts for so many segments at most in slow start: what it opens leaves in a
// burst (L of RFC 3465; 8 for senders that do not pace, RFC 9406, 4.3).
inline constexpr uint32_t kSlowStartSegmentsMax = 8;

// Grows the window in slow start up to the threshold, and returns the bytes that are left for
// congestion avoidance.
uint32_t GrowInSlowStart(CongestionState& state, uint32_t acked_bytes, uint32_t mss);

// A segment for each window of bytes that is acknowledged; `credit_bytes` are those that have not
// counted yet (RFC 3465, 2.1).
void GrowInCongestionAvoidance(CongestionState& state, uint32_t acked_bytes, uint32_t mss,
                               uint32_t& credit_bytes);

// Half of what is in flight, at least two segments (RFC 5681, equation 4).
uint32_t HalfOfFlight(const CongestionEvent& event);

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONGESTION_NEW_RENO_H_
