// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/segmenter.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "weft/core/buffer_chain.h"
#include "weft/core/bytes.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/ipv6.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

constexpr uint16_t kBoth = FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum;

// Where the headers of a frame lie, after its FrameOffload, found to be true.
struct Layout {
  bool v4;
  bool tcp;
  size_t l3;   // offset of the IP header
  size_t l4;   // of TCP or UDP
  size_t end;  // of the packet, which padding may follow
};

bool FindLayout(const Buffer& frame, Layout* layout) {
  const FrameOffload& offload = frame.offload();
  const bool v4 = (offload.flags & FrameOffload::kIpv4) != 0;
  const size_t l3 = offload.l2_bytes;
  const size_t l4 = l3 + offload.l3_bytes;
  if (l4 > frame.size() || v4 == ((offload.flags & FrameOffload::kIpv6) != 0)) return false;
  const absl::Span<const uint8_t> packet = frame.bytes().subspan(l3);
  size_t header_bytes;
  size_t total_bytes;
  if (v4) {
    Ipv4View view;
    if (!Ipv4View::Parse(packet, &view)) return false;
    header_bytes = view.header_bytes();
    total_bytes = view.total_bytes();
    if (offload.l3_bytes != header_bytes) return false;
  } else {
    Ipv6View view;
    if (!Ipv6View::Parse(packet, &view)) return false;
    header_bytes = kIpv6HeaderBytes;  // extension headers may follow
    total_bytes = view.total_bytes();
  }
  if (offload.l3_bytes < header_bytes || offload.l3_bytes > total_bytes) return false;
  *layout = {v4, (offload.flags & FrameOffload::kTcp) != 0, l3, l4, l3 + total_bytes};
  return true;
}

// Whether exactly one of TCP and UDP is said to be there, and the `bytes` hold its header.
bool HasL4Header(uint16_t flags, size_t bytes) {
  const bool tcp = (flags & FrameOffload::kTcp) != 0;
  const bool udp = (flags & FrameOffload::kUdp) != 0;
  return tcp != udp && bytes >= (tcp ? kTcpHeaderBytes : kUdpHeaderBytes);
}

void StoreL4Checksum(bool tcp, uint8_t* l4, uint16_t checksum) {
  // UDP says "none" by 0 (RFC 768); in ones' complement 0xffff is the same sum.
  if (!tcp && checksum == 0) checksum = 0xffff;
  StoreBig16(l4 + (tcp ? kTcpChecksumOffset : kUdpChecksumOffset), checksum);
}

void StoreIpv4Checksum(uint8_t* header, size_t header_bytes) {
  StoreBig16(header + 10, 0);
  StoreBig16(header + 10, Checksum({header, header_bytes}));
}

// What the headers of all segments of a frame have in common.
struct Plan {
  Layout layout;
  size_t header_bytes;  // Ethernet to TCP or UDP
  size_t segment_bytes;
  size_t payload_bytes;
  uint64_t address_sum;  // of the pseudo-header, without length
};

bool PlanSegments(const Buffer& frame, Plan* plan) {
  const FrameOffload& offload = frame.offload();
  Layout& at = plan->layout;
  if ((offload.flags & FrameOffload::kSegment) == 0 || offload.segment_bytes == 0) return false;
  if (!FindLayout(frame, &at) || !HasL4Header(offload.flags, at.end - at.l4)) return false;
  const uint8_t* const l4 = frame.data() + at.l4;
  const size_t l4_bytes = at.tcp ? size_t{l4[kTcpDataOffsetOffset]} / 16 * 4 : kUdpHeaderBytes;
  if (l4_bytes != offload.l4_bytes || l4_bytes > at.end - at.l4) return false;
  if (at.tcp && l4_bytes < kTcpHeaderBytes) return false;
  plan->header_bytes = at.l4 + l4_bytes;
  plan->segment_bytes = offload.segment_bytes;
  plan->payload_bytes = at.end - plan->header_bytes;
  const uint8_t* const ip = frame.data() + at.l3;
  const auto protocol = static_cast<uint8_t>(at.tcp ? IpProtocol::kTcp : IpProtocol::kUdp);
  plan->address_sum =
      at.v4 ? PseudoHeaderSum(IpAddress::V4(ip + 12), IpAddress::V4(ip + 16), protocol, 0)
            : PseudoHeaderSum(IpAddress::V6(ip + 8), IpAddress::V6(ip + 24), protocol, 0);
  return true;
}

// Puts the headers right of the segment whose payload, `n` bytes, begins at `offset` of all.
void WriteHeaders(const Plan& plan, size_t offset, size_t n, uint8_t* frame) {
  const Layout& at = plan.layout;
  uint8_t* const ip = frame + at.l3;
  uint8_t* const l4 = frame + at.l4;
  const size_t l4_total = plan.header_bytes - at.l4 + n;
  const size_t ip_total = at.l4 - at.l3 + l4_total;
  if (at.v4) {
    StoreBig16(ip + 2, static_cast<uint16_t>(ip_total));
    StoreBig16(ip + 4, static_cast<uint16_t>(LoadBig16(ip + 4) + offset / plan.segment_bytes));
    StoreIpv4Checksum(ip, at.l4 - at.l3);
  } else {
    StoreBig16(ip + 4, static_cast<uint16_t>(ip_total - kIpv6HeaderBytes));
  }
  if (at.tcp) {
    StoreBig32(l4 + kTcpSequenceOffset,
               LoadBig32(l4 + kTcpSequenceOffset) + static_cast<uint32_t>(offset));
    uint8_t& flags = l4[kTcpFlagsOffset];
    if (offset + n < plan.payload_bytes) flags &= static_cast<uint8_t>(~(kTcpFin | kTcpPush));
    if (offset > 0) flags &= static_cast<uint8_t>(~kTcpCwr);
  } else {
    StoreBig16(l4 + 4, static_cast<uint16_t>(l4_total));
  }
  StoreBig16(l4 + (at.tcp ? kTcpChecksumOffset : kUdpChecksumOffset), 0);
  const uint64_t sum = AddBig16ToChecksum(plan.address_sum, static_cast<uint16_t>(l4_total));
  StoreL4Checksum(at.tcp, l4, FinishChecksum(AddToChecksum(sum, {l4, l4_total})));
}

}  // namespace

bool FinishChecksums(Buffer& frame) {
  const uint16_t flags = frame.offload().flags;
  if ((flags & FrameOffload::kSegment) != 0) return false;
  if ((flags & kBoth) == 0) return true;
  frame.offload().flags = static_cast<uint16_t>(flags & ~kBoth);
  Layout at;
  if (!FindLayout(frame, &at)) return false;
  uint8_t* const l4 = frame.data() + at.l4;
  if ((flags & FrameOffload::kSendL4Checksum) != 0) {
    if (!HasL4Header(flags, at.end - at.l4)) return false;
    StoreL4Checksum(at.tcp, l4, FinishChecksum(AddToChecksum(0, {l4, at.end - at.l4})));
  }
  if ((flags & FrameOffload::kSendIpChecksum) != 0 && at.v4) {
    StoreIpv4Checksum(frame.data() + at.l3, at.l4 - at.l3);
  }
  return true;
}

bool Segment(Buffer frame, BufferPool& pool, absl::FunctionRef<void(Buffer)> emit) {
  Plan plan;
  if (!frame || !PlanSegments(frame, &plan)) return false;
  const size_t longest = std::min(plan.segment_bytes, plan.payload_bytes);
  // One without payload, such as a FIN, is a segment too.
  const size_t count =
      std::max<size_t>(1, (plan.payload_bytes + plan.segment_bytes - 1) / plan.segment_bytes);
  if (pool.payload_bytes() < plan.header_bytes + longest) return false;
  // All buffers are there before the first is emitted, as whoever takes it may allocate too.
  BufferChain segments;
  while (segments.pieces() < count) {
    Buffer another = pool.Allocate();
    if (!another) return false;
    segments.Append(std::move(another));
  }

  const uint8_t* const from = frame.data();
  for (size_t i = 0; i < count; ++i) {
    const size_t offset = i * plan.segment_bytes;
    const size_t n = std::min(plan.segment_bytes, plan.payload_bytes - offset);
    Buffer segment = segments.PopFront();
    uint8_t* const to = segment.Append(plan.header_bytes + n);
    std::memcpy(to, from, plan.header_bytes);
    std::memcpy(to + plan.header_bytes, from + plan.header_bytes + offset, n);
    WriteHeaders(plan, offset, n, to);
    emit(std::move(segment));
  }
  return true;
}

}  // namespace weft::netstack
