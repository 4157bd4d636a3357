// SPDX-License-Identifier: Apache-2.0
//
// dctcp: Data Center TCP (RFC 8257; Alizadeh et al., SIGCOMM 2010). Switches mark packets as soon
// as a short queue stands; the sender estimates which part of its bytes is marked (alpha) and
// shrinks its window by half of that part, so that queues stay short without links running idle.
// Losses and growth are those of new_reno. Only where all hosts and switches are one's own: beside
// other traffic it takes more than its share (RFC 8257, 5).
#ifndef WEFT_TCP_CONGESTION_DCTCP_H_
#define WEFT_TCP_CONGESTION_DCTCP_H_

#include "weft/tcp/congestion/congestion_control.h"

namespace weft::tcp {

const CongestionAlgorithm& Dctcp();

// The estimate of a state with this algorithm: 0 to 1.
float DctcpAlpha(const CongestionState& state);

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONGESTION_DCTCP_H_
