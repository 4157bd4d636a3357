// SPDX-License-Identifier: Apache-2.0
//
// The formats of R2P2, which this room has in common with routers (r2p2/), under names of its own.
#ifndef WEFT_RPC_WIRE_H_
#define WEFT_RPC_WIRE_H_

#include "weft/r2p2/extended_wire.h"
#include "weft/r2p2/route_wire.h"
#include "weft/r2p2/wire.h"

namespace weft::rpc {

using namespace r2p2;  // NOLINT(google-build-using-namespace): they are this room's own

}  // namespace weft::rpc

#endif  // WEFT_RPC_WIRE_H_
