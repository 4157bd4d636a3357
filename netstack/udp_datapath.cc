// SPDX-License-Identifier: Apache-2.0
//
// UDP datagrams in and out. Most go the short way: their destination's headers lie ready and are
// copied in front of the payload, and the burst goes to the device in one call.
#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

constexpr uint8_t kUdp = static_cast<uint8_t>(IpProtocol::kUdp);

void StoreUdpChecksum(uint8_t* udp, uint64_t sum) {
  const uint16_t checksum = FinishChecksum(sum);
  // 0 says that there is none (RFC 768).
  StoreBig16(udp + kUdpChecksumOffset, checksum == 0 ? 0xffff : checksum);
}

}  // namespace

size_t UdpPort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  size_t n = 0;
  // What waits is older than what is still to come.
  for (; n < burst.size() && !queue_.empty(); ++n) {
    burst[n] = queue_.pop_front();
    CountReceived(burst[n].buffer.size());
  }
  if (n > 0) stack_->CountQueued(-static_cast<ptrdiff_t>(n));
  if (n < burst.size() && status_.ok()) n += stack_->Poll(this, burst.subspan(n));
  return n;
}

bool UdpPort::Sendable(const Datagram& datagram) const {
  const uint64_t port = datagram.peer.words[2];
  return datagram.buffer && datagram.tail.empty() && port - 1 < UINT16_MAX &&
         datagram.buffer.size() <= capabilities_.max_payload_bytes;
}

void UdpPort::RequestChecksum(const Destination& to, Buffer& packet) {
  packet.offload() = {
      .flags = static_cast<uint16_t>(FrameOffload::kUdp | FrameOffload::kSendL4Checksum |
                                     (to.v4 ? FrameOffload::kIpv4 : FrameOffload::kIpv6)),
      .l2_bytes = to.ethernet_bytes,
      .l3_bytes = static_cast<uint16_t>(to.header_bytes - to.ethernet_bytes)};
}

void UdpPort::WriteUdpHeader(Buffer& payload, uint16_t port, const IpAddress& source,
                             const Destination& to) {
  const size_t length = payload.size() + kUdpHeaderBytes;
  uint8_t* const udp = payload.Prepend(kUdpHeaderBytes);
  WriteUdp(udp, binding_.port, port, static_cast<uint16_t>(length), 0);
  if (to.v4 && !stack_->options().udp_checksum) return;
  uint64_t sum = to.v4 ? AddFourToChecksum(to.destination_sum, source.bytes() + 12)
                       : AddToChecksum(to.destination_sum, {source.bytes(), 16});
  sum = AddBig16ToChecksum(sum, kUdp);
  sum = AddBig16ToChecksum(sum, static_cast<uint16_t>(length));
  if (stack_->checksum_offload()) {
    StoreBig16(udp + kUdpChecksumOffset, FoldChecksum(sum));
    RequestChecksum(to, payload);
    return;
  }
  StoreUdpChecksum(udp, AddToChecksum(sum, {udp, length}));
}

bool UdpPort::Encapsulate(Buffer& payload, uint16_t port, const Destination& to) {
  const IpAddress& own = binding_.address;
  const IpAddress& source = own.is_unspecified() || own.is_multicast() ? to.source : own;
  if (payload.headroom() < to.header_bytes + kUdpHeaderBytes || source.is_v4() != to.v4) {
    return false;
  }
  payload.offload() = {};
  WriteUdpHeader(payload, port, source, to);
  const size_t udp_bytes = payload.size();
  uint8_t* const header = payload.Prepend(to.header_bytes);
  std::memcpy(header, to.header, to.header_bytes);
  uint8_t* const ip = header + to.ethernet_bytes;
  if (to.v4) {
    const size_t total = kIpv4HeaderBytes + udp_bytes;
    StoreBig16(ip + 2, static_cast<uint16_t>(total));
    std::memcpy(ip + 12, source.bytes() + 12, 4);
    const uint64_t sum =
        AddBig16ToChecksum(AddFourToChecksum(to.ip_sum, ip + 12), static_cast<uint16_t>(total));
    StoreBig16(ip + 10, FinishChecksum(sum));
  } else {
    StoreBig16(ip + 4, static_cast<uint16_t>(udp_bytes));
    std::memcpy(ip + 8, source.bytes(), 16);
  }
  return true;
}

size_t UdpPort::Send(absl::Span<Datagram> burst) {
  AssertOwner();
  if (!status_.ok()) return 0;
  size_t begin = 0;
  for (size_t i = 0; i < burst.size(); ++i) {
    if (frame_count_ == kBurst && !Flush(burst, &begin)) return begin;
    Datagram& datagram = burst[i];
    const Destination* const to =
        Sendable(datagram) ? stack_->FindDestination(IpOf(datagram.peer)) : nullptr;
    if (to != nullptr) [[likely]] {
      const size_t headers = size_t{to->header_bytes} + kUdpHeaderBytes;
      const size_t ip_bytes = headers - to->ethernet_bytes;
      if (datagram.buffer.size() + ip_bytes <= to->mtu &&
          Encapsulate(datagram.buffer, PortOf(datagram.peer), *to)) [[likely]] {
        header_bytes_[frame_count_] = static_cast<uint8_t>(headers);
        frames_[frame_count_++] = std::move(datagram.buffer);
        continue;
      }
    }
    if (!Flush(burst, &begin)) return begin;
    if (!SendSlowly(datagram)) {
      ++stats_.send_blocked;
      return begin;
    }
    begin = i + 1;
  }
  Flush(burst, &begin);
  return begin;
}

bool UdpPort::Flush(absl::Span<Datagram> burst, size_t* begin, bool forwarded) {
  if (frame_count_ == 0) return true;
  size_t bytes = 0;
  for (size_t i = 0; i < frame_count_; ++i) bytes += frames_[i].size() - header_bytes_[i];
  const size_t sent = stack_->SendFrames(absl::MakeSpan(frames_, frame_count_));
  // The rest is the caller's again, as it was.
  for (size_t i = sent; i < frame_count_; ++i) {
    frames_[i].TrimFront(header_bytes_[i]);
    if (forwarded) RestoreForwarded(forwarded_[i], frames_[i]);
    bytes -= frames_[i].size();
    burst[*begin + i].buffer = std::move(frames_[i]);
  }
  *begin += sent;
  stats_.sent += sent;
  stats_.sent_bytes += bytes;
  const bool all = sent == frame_count_;
  if (!all) ++stats_.send_blocked;
  frame_count_ = 0;
  return all;
}

void UdpPort::DropUnsendable(Datagram& datagram) {
  ++stats_.send_failed;
  datagram.buffer.Reset();
  datagram.tail = {};
}

bool UdpPort::HasRoomForHeaders(const Datagram& datagram) const {
  const size_t ip_bytes = IpOf(datagram.peer).is_v4() ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  return datagram.buffer.headroom() >=
         EthernetHeaderBytes(stack_->interface().vlan) + ip_bytes + kUdpHeaderBytes;
}

bool UdpPort::MakeRoomForHeaders(Datagram& datagram) {
  if (HasRoomForHeaders(datagram)) return true;
  Buffer copy = stack_->Allocate();
  if (!copy) return false;
  const size_t size = datagram.buffer.size();
  if (copy.tailroom() < size) {
    DropUnsendable(datagram);
    return true;
  }
  if (size > 0) std::memcpy(copy.Append(size), datagram.buffer.data(), size);
  ++stats_.copied_buffers;
  stats_.copied_bytes += size;
  datagram.buffer = std::move(copy);
  return true;
}

bool UdpPort::SendSlowly(Datagram& datagram) {
  const IpAddress ip = IpOf(datagram.peer);
  if (!Sendable(datagram)) {
    DropUnsendable(datagram);
    return true;
  }
  // Of any kind; its header is not used, so that it need not be ready.
  Destination to = stack_->LookAtDestination(ip);
  const IpAddress& own = binding_.address;
  const bool wrong_family = ip.is_v4() != own.is_v4() && !(own.is_unspecified() && own.is_v6());
  if (to.kind == Destination::Kind::kNoRoute || wrong_family ||
      datagram.buffer.size() > stack_->PayloadMax(ip.is_v4())) {
    if (to.kind == Destination::Kind::kNoRoute) {
      events_.Add({PortEvent::Kind::kPeerUnreachable, datagram.peer, ENETUNREACH});
    }
    DropUnsendable(datagram);
    return true;
  }
  if (!MakeRoomForHeaders(datagram)) return false;
  if (!datagram.buffer) return true;
  ++stats_.sent;
  stats_.sent_bytes += datagram.buffer.size();
  const IpAddress& source = own.is_unspecified() || own.is_multicast() ? to.source : own;
  // Groups and everybody: not beyond the network (RFC 1112, 6.1).
  const uint8_t ttl = ip.is_multicast() ? 1 : stack_->options().ttl;
  WriteIpPacket(datagram.buffer, datagram.peer, source, binding_.port, ttl);
  stack_->Output(std::move(datagram.buffer));
  return true;
}

void UdpPort::WriteIpPacket(Buffer& payload, const Peer& peer, const IpAddress& source,
                            uint16_t source_port, uint8_t ttl) {
  const IpAddress destination = IpOf(peer);
  const bool v4 = destination.is_v4();
  const size_t length = payload.size() + kUdpHeaderBytes;
  payload.offload() = {};
  uint8_t* const udp = payload.Prepend(kUdpHeaderBytes);
  WriteUdp(udp, source_port, PortOf(peer), static_cast<uint16_t>(length), 0);
  if (!v4 || stack_->options().udp_checksum) {
    const uint64_t sum = PseudoHeaderSum(source, destination, kUdp, length);
    StoreUdpChecksum(udp, AddToChecksum(sum, payload.bytes()));
  }
  if (v4) {
    const size_t total = kIpv4HeaderBytes + length;
    Ipv4Fields{.total_bytes = static_cast<uint16_t>(total),
               .dont_fragment = true,
               .ttl = ttl,
               .source = source,
               .destination = destination}
        .Write(payload.Prepend(kIpv4HeaderBytes));
  } else {
    Ipv6Fields{.payload_bytes = static_cast<uint16_t>(length),
               .hop_limit = ttl,
               .source = source,
               .destination = destination}
        .Write(payload.Prepend(kIpv6HeaderBytes));
  }
}

}  // namespace weft::netstack
