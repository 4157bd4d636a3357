// SPDX-License-Identifier: Apache-2.0
//
// TCP segments on their way out. Most go the short way, as datagrams do: the headers of their
// destination lie ready, and a burst goes to the device in one call.
#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/netstack/segmenter.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/tcp.h"

namespace weft::netstack {
namespace {

using Kind = Destination::Kind;

constexpr uint8_t kTcp = static_cast<uint8_t>(IpProtocol::kTcp);

bool AsksToBeCut(const Buffer& segment) {
  const FrameOffload& offload = segment.offload();
  return (offload.flags & FrameOffload::kSegment) != 0 && offload.segment_bytes != 0;
}

// Whether there is anything to cut: else it is a segment like any other.
bool IsCut(const Buffer& segment) {
  const FrameOffload& offload = segment.offload();
  return AsksToBeCut(segment) && segment.size() > size_t{offload.l4_bytes} + offload.segment_bytes;
}

bool IsSendable(const OutgoingSegment& segment) {
  const Buffer& buffer = segment.buffer;
  TcpView tcp;
  return buffer && TcpView::Parse(buffer.bytes(), &tcp) &&
         buffer.size() <= kIpPacketBytesMax - kIpv4HeaderBytes &&
         buffer.headroom() >= Stack::kSegmentHeadroom &&
         segment.source.is_v4() == segment.destination.is_v4() &&
         !segment.destination.is_multicast() &&
         (!AsksToBeCut(buffer) || buffer.offload().l4_bytes == tcp.header_bytes());
}

uint8_t TrafficClass(const OutgoingSegment& segment) {
  return static_cast<uint8_t>(segment.dscp << 2 | (segment.ecn & 3));
}

// The header that lies ready has the addresses, but for the source, and the rest as datagrams have
// it. `id`: 0 where the packet is not to be fragmented on its way.
void CompleteIpv4(const OutgoingSegment& segment, uint16_t id, bool checksum, uint8_t* ip) {
  const size_t total = kIpv4HeaderBytes + segment.buffer.size();
  ip[1] = TrafficClass(segment);
  StoreBig16(ip + 2, static_cast<uint16_t>(total));
  if (id != 0) {
    StoreBig16(ip + 4, id);
    StoreBig16(ip + 6, 0);
  }
  if (segment.ttl != 0) ip[8] = segment.ttl;
  ip[9] = kTcp;
  StoreBig16(ip + 10, 0);
  std::memcpy(ip + 12, segment.source.bytes() + 12, 4);
  if (!checksum) return;
  uint64_t sum = 0;
  for (size_t i = 0; i < kIpv4HeaderBytes; i += 4) sum = AddFourToChecksum(sum, ip + i);
  StoreBig16(ip + 10, FinishChecksum(sum));
}

void CompleteIpv6(const OutgoingSegment& segment, uint8_t* ip) {
  StoreBig32(ip, 6u << 28 | uint32_t{TrafficClass(segment)} << 20);
  StoreBig16(ip + 4, static_cast<uint16_t>(segment.buffer.size()));
  ip[6] = kTcp;
  if (segment.ttl != 0) ip[7] = segment.ttl;
  std::memcpy(ip + 8, segment.source.bytes(), 16);
}

// As they were when they were given to SendSegments().
void Restore(size_t header_bytes, Buffer& segment) {
  segment.TrimFront(header_bytes);
  const uint8_t l4_bytes = segment.offload().l4_bytes;
  const uint16_t segment_bytes = segment.offload().segment_bytes;
  segment.offload() = {
      .flags = static_cast<uint16_t>(segment_bytes != 0 ? FrameOffload::kSegment : 0),
      .l4_bytes = l4_bytes,
      .segment_bytes = segment_bytes};
}

}  // namespace

size_t Stack::PathMtu(const IpAddress& destination) {
  const Destination& to = destinations_.Look(destination, now_ns_);
  const bool on_its_way = to.kind == Kind::kReady || to.kind == Kind::kUnresolved;
  return on_its_way ? to.mtu : interface_.mtu;
}

void Stack::ConfirmReachable(const IpAddress& destination) {
  const Destination& to = destinations_.Look(destination, now_ns_);
  if (to.kind == Kind::kReady) neighbors_.ConfirmReachable(to.next_hop, now_ns_);
}

size_t Stack::SendSegments(absl::Span<OutgoingSegment> burst) {
  size_t begin = 0;
  bool room = cut_segments_.Send(*device_);
  for (size_t i = 0; room && i < burst.size(); ++i) {
    if (segment_frames_.n == kBurst && !FlushSegments(burst, &begin)) {
      room = false;
      break;
    }
    OutgoingSegment& segment = burst[i];
    if (IsSendable(segment)) [[likely]] {
      const Destination* const to = FindDestination(segment.destination);
      if (to != nullptr && EncapsulateSegment(segment, *to)) [[likely]]
        continue;
    }
    room = FlushSegments(burst, &begin) && SendSegmentSlowly(segment);
    if (!room) break;
    begin = i + 1;
    // What follows must not overtake pieces that the device has not taken.
    room = cut_segments_.Send(*device_);
  }
  if (room) room = FlushSegments(burst, &begin);
  stats_.segments_sent += begin;
  if (!room) ++stats_.segments_blocked;
  return begin;
}

// Moves the segment, with its headers in front, to the frames that are going to be sent. False, and
// nothing has happened: it does not go the short way.
bool Stack::EncapsulateSegment(OutgoingSegment& segment, const Destination& to) {
  Buffer& buffer = segment.buffer;
  const size_t ip_bytes = size_t{to.header_bytes} - to.ethernet_bytes;
  FrameOffload& offload = buffer.offload();
  if ((to.header[0] & 1) != 0) return false;  // to everybody
  const bool cut = IsCut(buffer);
  if (cut) {
    const size_t headers = ip_bytes + offload.l4_bytes;
    if (!segmentation_offload_ || to.mtu <= headers) return false;
    offload.segment_bytes =
        static_cast<uint16_t>(std::min<size_t>(offload.segment_bytes, to.mtu - headers));
  } else if (buffer.size() + ip_bytes > to.mtu) {
    return false;
  }
  const bool offloaded = cut || checksum_offload_;
  uint8_t* const tcp = buffer.data();
  const size_t length = buffer.size();
  uint64_t sum = to.v4 ? AddFourToChecksum(to.destination_sum, segment.source.bytes() + 12)
                       : AddToChecksum(to.destination_sum, {segment.source.bytes(), 16});
  sum = AddBig16ToChecksum(sum, kTcp);
  sum = AddBig16ToChecksum(sum, static_cast<uint16_t>(length));
  if (offloaded) {
    StoreBig16(tcp + kTcpChecksumOffset, FoldChecksum(sum));
  } else {
    StoreBig16(tcp + kTcpChecksumOffset, 0);
    StoreBig16(tcp + kTcpChecksumOffset, FinishChecksum(AddToChecksum(sum, {tcp, length})));
  }

  // The length that is written is that of what lies behind the header.
  uint8_t* const header = tcp - to.header_bytes;
  std::memcpy(header, to.header, to.header_bytes);
  if (to.v4) {
    const bool may_break = to.mtu <= kPathMtuFloorV4;
    const uint16_t id = may_break ? static_cast<uint16_t>(NextFragmentId(to.ip)) : uint16_t{0};
    CompleteIpv4(segment, id, /*checksum=*/!cut, header + to.ethernet_bytes);
  } else {
    CompleteIpv6(segment, header + to.ethernet_bytes);
  }
  buffer.Prepend(to.header_bytes);
  offload.flags = 0;
  if (offloaded) {
    offload.flags = static_cast<uint16_t>(
        FrameOffload::kTcp | (to.v4 ? FrameOffload::kIpv4 : FrameOffload::kIpv6) |
        (cut ? FrameOffload::kSegment : FrameOffload::kSendL4Checksum));
  }
  offload.l2_bytes = to.ethernet_bytes;
  offload.l3_bytes = static_cast<uint16_t>(ip_bytes);

  FrameBurst& out = segment_frames_;
  out.header_bytes[out.n] = to.header_bytes;
  out.frames[out.n++] = std::move(buffer);
  return true;
}

// Sends what has gathered, which began at `*begin` of the burst. False: not all of it, and the rest
// is the caller's again.
bool Stack::FlushSegments(absl::Span<OutgoingSegment> burst, size_t* begin) {
  FrameBurst& out = segment_frames_;
  if (out.n == 0) return true;
  const size_t sent = device_->Send(absl::MakeSpan(out.frames, out.n));
  for (size_t i = sent; i < out.n; ++i) {
    Restore(out.header_bytes[i], out.frames[i]);
    burst[*begin + i].buffer = std::move(out.frames[i]);
  }
  *begin += sent;
  const bool all = sent == out.n;
  out.n = 0;
  return all;
}

// To ourselves, to a neighbour that has to be asked for, in fragments, cut in software.
bool Stack::SendSegmentSlowly(OutgoingSegment& segment) {
  const Destination to = destinations_.Look(segment.destination, now_ns_);
  const bool sendable = IsSendable(segment) && !interface_.IsBroadcast(segment.destination);
  if (!sendable || to.kind == Kind::kNoRoute || to.kind == Kind::kNone) {
    ++(sendable ? stats_.no_route : stats_.send_dropped);
    segment.buffer.Reset();
    return true;
  }
  if (to.kind == Kind::kLocal && loopback_.size() >= kLoopbackMax) return false;
  if (IsCut(segment.buffer)) return CutSegment(segment, to);
  WriteSegmentPacket(segment, to, /*cut=*/false);
  Output(std::move(segment.buffer));
  return true;
}

// Puts the IP header in front. The checksum is complete, unless it is to be cut.
void Stack::WriteSegmentPacket(OutgoingSegment& segment, const Destination& to, bool cut) {
  Buffer& buffer = segment.buffer;
  uint8_t* const tcp = buffer.data();
  const size_t length = buffer.size();
  const bool v4 = segment.source.is_v4();
  const uint8_t ttl = segment.ttl != 0 ? segment.ttl : options_.ttl;
  StoreBig16(tcp + kTcpChecksumOffset, 0);
  if (!cut) {
    const uint64_t sum = PseudoHeaderSum(segment.source, segment.destination, kTcp, length);
    StoreBig16(tcp + kTcpChecksumOffset, FinishChecksum(AddToChecksum(sum, {tcp, length})));
    buffer.offload() = {};
  } else {
    FrameOffload& offload = buffer.offload();
    offload.flags = static_cast<uint16_t>(FrameOffload::kSegment | FrameOffload::kTcp |
                                          (v4 ? FrameOffload::kIpv4 : FrameOffload::kIpv6));
    offload.l2_bytes = 0;
    offload.l3_bytes = static_cast<uint16_t>(v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes);
  }
  if (v4) {
    const bool may_break = to.kind != Kind::kLocal && to.mtu <= kPathMtuFloorV4;
    Ipv4Fields{.tos = TrafficClass(segment),
               .total_bytes = static_cast<uint16_t>(kIpv4HeaderBytes + length),
               .id = may_break ? static_cast<uint16_t>(NextFragmentId(to.ip)) : uint16_t{0},
               .dont_fragment = !may_break,
               .ttl = ttl,
               .protocol = IpProtocol::kTcp,
               .source = segment.source,
               .destination = segment.destination}
        .Write(buffer.Prepend(kIpv4HeaderBytes));
  } else {
    Ipv6Fields{.traffic_class = TrafficClass(segment),
               .payload_bytes = static_cast<uint16_t>(length),
               .next_header = IpProtocol::kTcp,
               .hop_limit = ttl,
               .source = segment.source,
               .destination = segment.destination}
        .Write(buffer.Prepend(kIpv6HeaderBytes));
  }
}

// What the device cannot cut, or what does not go to it.
bool Stack::CutSegment(OutgoingSegment& segment, const Destination& to) {
  FrameOffload& offload = segment.buffer.offload();
  const size_t ip_bytes = to.v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  BufferPool& pool = device_->pool();
  const size_t mtu = to.kind == Kind::kLocal ? interface_.mtu : to.mtu;
  const size_t headers = ip_bytes + offload.l4_bytes;
  const size_t longest = std::min(mtu, pool.payload_bytes());
  const size_t payload = segment.buffer.size() - offload.l4_bytes;
  const size_t piece =
      longest <= headers ? 0 : std::min<size_t>(offload.segment_bytes, longest - headers);
  const size_t pieces = piece == 0 ? SIZE_MAX : (payload + piece - 1) / piece;
  // So many would leave nothing to receive with, and never be there at once.
  if (pieces > pool.count() / 4) {
    ++stats_.send_dropped;
    segment.buffer.Reset();
    return true;
  }
  if (pool.available() < pieces) return false;
  offload.segment_bytes = static_cast<uint16_t>(piece);
  WriteSegmentPacket(segment, to, /*cut=*/true);
  const bool sent = Segment(std::move(segment.buffer), pool, [this, &to](Buffer packet) {
    if (to.kind == Kind::kLocal) return LoopBack(std::move(packet));
    if (to.kind == Kind::kUnresolved) return OutputTo(std::move(packet), to);
    if (packet.headroom() < to.ethernet_bytes) {
      ++stats_.send_dropped;
      return;
    }
    std::memcpy(packet.Prepend(to.ethernet_bytes), to.header, to.ethernet_bytes);
    cut_segments_.Add(std::move(packet));
  });
  ++(sent ? stats_.segments_cut : stats_.send_dropped);
  return true;
}

}  // namespace weft::netstack
