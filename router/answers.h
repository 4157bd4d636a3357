// SPDX-License-Identifier: Apache-2.0
//
// What a router says, made in the buffers of the packets that it answers. Not for users.
//
// No answer is longer than what it answers, but for JOIN_ACK, by 4 bytes at most: who forges the
// address that he sends from has nothing of it.
#ifndef WEFT_ROUTER_ANSWERS_H_
#define WEFT_ROUTER_ANSWERS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/r2p2/route_wire.h"

namespace weft::router {

// Makes a DROP of a request, in the format of the request. `key`: that of the router's POOL.
void MakeDrop(r2p2::DropReason reason, uint32_t key, uint32_t retry_after_us, int64_t waited_ns,
              Buffer& request);

// Makes the answer to a packet in the extended format, with `body` behind its header. False: it
// does not fit.
bool MakeControl(r2p2::ControlKind kind, const r2p2::ExtendedHeader& question,
                 absl::Span<const uint8_t> body, Buffer& packet,
                 r2p2::DropReason code = r2p2::DropReason::kNone, uint16_t credits = 0);

// `packet` may be the INIT by which a client with `security` begins (docs/protocols/secure.md).
// Makes the answer that a router takes no sealed requests. False: it is something else, and stays
// so.
bool MakeNoKeys(Buffer& packet);

// Adds the time for which a request was held to its timestamp, so that the client does not take it
// for the network's. Requests in the original format have none and stay as they are.
void AddHoldingTime(int64_t waited_ns, Buffer& request);

}  // namespace weft::router

#endif  // WEFT_ROUTER_ANSWERS_H_
