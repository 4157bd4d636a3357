// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/dpdk/offload.h"

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <algorithm>
#include <cstring>

namespace weft::dpdk {
namespace {

constexpr uint64_t kChecksumSendOffloads = kL4ChecksumOffloads | RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
constexpr uint64_t kChecksumReceiveOffloads =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
constexpr size_t kIpv4HeaderBytesMin = 20;
// What the bit fields of an mbuf hold.
constexpr size_t kL2BytesMax = (1 << RTE_MBUF_L2_LEN_BITS) - 1;
constexpr size_t kL3BytesMax = (1 << RTE_MBUF_L3_LEN_BITS) - 1;

}  // namespace

uint64_t SendOffloads(const config::Dpdk& config, const rte_eth_dev_info& info) {
  // Every mbuf that is sent is of the queue's own mempool and has one reference: a sender that
  // shares its buffer keeps the slot, not the mbuf.
  uint64_t wanted = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
  if (config.checksum_offload()) wanted |= kChecksumSendOffloads;
  // Segments get their checksums from the device, so that it must be allowed to compute them.
  if (config.checksum_offload() && config.segmentation_offload()) {
    wanted |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
  }
  return wanted & info.tx_offload_capa;
}

uint64_t ReceiveOffloads(const config::Dpdk& config, const rte_eth_dev_info& info) {
  uint64_t wanted = RTE_ETH_RX_OFFLOAD_SCATTER;
  if (config.checksum_offload()) wanted |= kChecksumReceiveOffloads;
  return wanted & info.rx_offload_capa;
}

uint16_t HonouredRequests(const Capabilities& capabilities) {
  uint16_t flags = 0;
  if (capabilities.checksum_offload) {
    flags |= FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum;
  }
  if (capabilities.segmentation_offload) flags |= FrameOffload::kSegment;
  return flags;
}

bool RequestOffload(const FrameOffload& request, uint16_t honoured, uint64_t offloads,
                    rte_mbuf* mbuf) {
  const bool segment = (request.flags & honoured & FrameOffload::kSegment) != 0;
  const bool l4 = segment || (request.flags & FrameOffload::kSendL4Checksum) != 0;
  const bool ipv4 = (request.flags & FrameOffload::kIpv4) != 0;
  const bool tcp = (request.flags & FrameOffload::kTcp) != 0;
  const bool ip = ipv4 && (segment || (request.flags & FrameOffload::kSendIpChecksum) != 0);
  const size_t l4_bytes_min = !l4 ? 0 : tcp ? sizeof(rte_tcp_hdr) : sizeof(rte_udp_hdr);
  const size_t headers = size_t{request.l2_bytes} + request.l3_bytes +
                         std::max<size_t>(request.l4_bytes, l4_bytes_min);
  if (headers > mbuf->pkt_len || request.l2_bytes < RTE_ETHER_HDR_LEN ||
      request.l2_bytes > kL2BytesMax || request.l3_bytes < kIpv4HeaderBytesMin ||
      request.l3_bytes > kL3BytesMax) {
    return false;
  }
  if (l4 && (offloads & (tcp ? RTE_ETH_TX_OFFLOAD_TCP_CKSUM : RTE_ETH_TX_OFFLOAD_UDP_CKSUM)) == 0) {
    return false;
  }
  if (segment && (!tcp || request.segment_bytes == 0 || request.l4_bytes < sizeof(rte_tcp_hdr) ||
                  (offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) == 0)) {
    return false;
  }
  mbuf->l2_len = request.l2_bytes;
  mbuf->l3_len = request.l3_bytes;
  mbuf->l4_len = request.l4_bytes;
  mbuf->tso_segsz = segment ? request.segment_bytes : 0;
  uint64_t flags = ipv4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  if (l4) flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
  if (segment) flags |= RTE_MBUF_F_TX_TCP_SEG;
  if (ip) {
    if ((offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0) {
      flags |= RTE_MBUF_F_TX_IP_CKSUM;
    } else {
      // Not through rte_ipv4_hdr: the header need not be aligned.
      uint8_t* header = rte_pktmbuf_mtod_offset(mbuf, uint8_t*, request.l2_bytes);
      header[10] = header[11] = 0;
      const auto sum = static_cast<uint16_t>(~rte_raw_cksum(header, request.l3_bytes));
      std::memcpy(header + 10, &sum, sizeof(sum));
    }
  }
  mbuf->ol_flags = flags;
  return true;
}

}  // namespace weft::dpdk
