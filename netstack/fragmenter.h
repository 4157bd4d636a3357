// SPDX-License-Identifier: Apache-2.0
//
// Cuts IP packets that are longer than the path's MTU (RFC 791, 3.2; RFC 8200, 4.5).
//
//   bool sent = FragmentPacket(std::move(packet), mtu, next_id++, pool, [&](Buffer fragment) {
//     WriteEthernet(fragment.Prepend(EthernetHeaderBytes(vlan)), ...);
//     batch.Add(std::move(fragment));
//   });
#ifndef WEFT_NETSTACK_FRAGMENTER_H_
#define WEFT_NETSTACK_FRAGMENTER_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "weft/core/buffer.h"

namespace weft::netstack {

// `packet`: one IP packet, from its header to its end. Checksums that its offload() requests
// (l2_bytes 0) are computed first, as no device could do it for pieces. `id`: of all fragments; its
// lower 16 bits for IPv4; not to be used again for the same two addresses while fragments may be
// under way (RFC 6864, RFC 7739). `pool`: where the fragments come from, owned by this thread; they
// are no longer than what fits its buffers.
//
// Calls `emit` for each fragment in order, headers complete, with at least 18 bytes free in front
// for an Ethernet header and a VLAN tag; a packet that fits is emitted as it is.
//
// False, and nothing is emitted, where the pool has too few buffers, and for what cannot be cut:
// not an IP packet, or longer or shorter than it says; a fragment already; IPv4 with options; IPv6
// with a routing header; an MTU below 68 (IPv4) or 1280 (IPv6). The packet is gone in any case.
bool FragmentPacket(Buffer packet, size_t mtu, uint32_t id, BufferPool& pool,
                    absl::FunctionRef<void(Buffer)> emit);

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_FRAGMENTER_H_
