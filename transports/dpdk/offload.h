// SPDX-License-Identifier: Apache-2.0
//
// What FrameOffload is called in DPDK.
#ifndef WEFT_TRANSPORTS_DPDK_OFFLOAD_H_
#define WEFT_TRANSPORTS_DPDK_OFFLOAD_H_

#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>

#include "weft/config/config.h"
#include "weft/core/buffer.h"
#include "weft/transports/capabilities.h"

namespace weft::dpdk {

// Of a frame, beyond its MTU: Ethernet header, VLAN tag, and the checksum that some devices store.
inline constexpr size_t kFrameOverheadBytes = RTE_ETHER_HDR_LEN + 4 + RTE_ETHER_CRC_LEN;

inline constexpr uint64_t kL4ChecksumOffloads =
    RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;

// What of the device's offloads is switched on.
uint64_t SendOffloads(const config::Dpdk& config, const rte_eth_dev_info& info);
uint64_t ReceiveOffloads(const config::Dpdk& config, const rte_eth_dev_info& info);

// Which flags of FrameOffload are requests that a port with these capabilities carries out.
uint16_t HonouredRequests(const Capabilities& capabilities);

// Writes the requests of a frame, as far as they are `honoured`, into its mbuf. False for one that
// contradicts itself, or asks for what the device cannot do: `offloads` are those that are on. A
// checksum of IPv4 that is not among them is computed here.
bool RequestOffload(const FrameOffload& request, uint16_t honoured, uint64_t offloads,
                    rte_mbuf* mbuf);

// FrameOffload::flags of a received mbuf with these flags.
inline uint16_t OffloadResults(uint64_t mbuf_flags) {
  // "None" is DPDK's for a frame whose sum was never computed, because it did not leave the
  // machine.
  const auto good = [&](uint64_t mask, uint64_t good, uint64_t none) {
    return (mbuf_flags & mask) == good || (mbuf_flags & mask) == none;
  };
  uint16_t flags = 0;
  if (good(RTE_MBUF_F_RX_IP_CKSUM_MASK, RTE_MBUF_F_RX_IP_CKSUM_GOOD, RTE_MBUF_F_RX_IP_CKSUM_NONE)) {
    flags |= FrameOffload::kIpChecksumGood;
  }
  if (good(RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_MBUF_F_RX_L4_CKSUM_NONE)) {
    flags |= FrameOffload::kL4ChecksumGood;
  }
  return flags;
}

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_OFFLOAD_H_
