// SPDX-License-Identifier: Apache-2.0
//
// cubic: the congestion control of most of the Internet (RFC 9438). After a loss the window falls
// to 0.7 of what it was and comes back as a cubic function of time: fast at first, flat near the
// window at which something was lost, then faster and faster. On short or slow paths it grows at
// least as RFC 5681 has it. The first slow start ends before it loses packets, when delay rises
// (HyStart++, RFC 9406).
#ifndef WEFT_TCP_CONGESTION_CUBIC_H_
#define WEFT_TCP_CONGESTION_CUBIC_H_

#include "weft/tcp/congestion/congestion_control.h"

namespace weft::tcp {

const CongestionAlgorithm& Cubic();

// Of a state with this algorithm, for those who show it and for tests.
struct CubicView {
  double w_max_bytes;  // 0: no loss yet, or none since a timeout
  double k_s;          // time until the plateau, of the current epoch
  bool in_epoch;       // of congestion avoidance
  bool conservative;   // HyStart++'s conservative slow start
};
CubicView ViewCubic(const CongestionState& state);

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONGESTION_CUBIC_H_
