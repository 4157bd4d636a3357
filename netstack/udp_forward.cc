// SPDX-License-Identifier: Apache-2.0
//
// Datagrams that are sent on under the address of their first sender. Most are as they came,
// headers included: these are rewritten in place, and the burst goes to the device in one call.
#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

constexpr uint8_t kUdp = static_cast<uint8_t>(IpProtocol::kUdp);
constexpr size_t kTtlOffset = 8;
constexpr size_t kHopLimitOffset = 7;
constexpr size_t kPrefetchAhead = 4;

// As they lie in memory, for sums, which do not depend on the order of bytes (RFC 1071, 2(B)).
uint16_t Word16(const uint8_t* p) {
  uint16_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}
uint32_t Word32(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

bool IsV4(const uint8_t* ip) { return ip[0] >> 4 == 4; }
size_t PlainHeaderBytes(bool v4) { return v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes; }
uint8_t* HopsOf(uint8_t* ip) { return ip + (IsV4(ip) ? kTtlOffset : kHopLimitOffset); }

void WriteIpv4Checksum(uint8_t* ip) {
  StoreBig16(ip + 10, 0);
  uint64_t sum = 0;
  for (size_t i = 0; i < kIpv4HeaderBytes; i += 4) sum = AddFourToChecksum(sum, ip + i);
  StoreBig16(ip + 10, FinishChecksum(sum));
}

// The pseudo-header of UDP behind a plain header.
uint64_t PseudoHeaderSumOf(const uint8_t* ip, bool v4) {
  const uint8_t* const udp = ip + PlainHeaderBytes(v4);
  uint64_t sum = AddBig16ToChecksum(Word16(udp + 4), kUdp);
  for (size_t i = v4 ? 12 : 8; i < PlainHeaderBytes(v4); i += 4) sum += Word32(ip + i);
  return sum;
}

// The headers in front of a datagram, from IP on, where they are those with which `source` sent it;
// else null.
uint8_t* HeadersOf(Buffer& payload, const Peer& source) {
  const FrameOffload& offload = payload.offload();
  const size_t bytes = offload.l3_bytes + kUdpHeaderBytes;
  if ((offload.flags & FrameOffload::kHeadersInFront) == 0 || payload.headroom() < bytes) {
    return nullptr;
  }
  uint8_t* const ip = payload.data() - bytes;
  const uint8_t* const udp = ip + offload.l3_bytes;
  const bool v4 = IsV4(ip);
  if (offload.l3_bytes < PlainHeaderBytes(v4) ||
      LoadBig16(udp + 4) != payload.size() + kUdpHeaderBytes ||
      LoadBig16(udp) != UdpPort::PortOf(source)) {
    return nullptr;
  }
  const IpAddress from = UdpPort::IpOf(source);
  if (v4 != from.is_v4()) return nullptr;
  const bool same = v4 ? Word32(ip + 12) == Word32(from.bytes() + 12)
                       : std::memcmp(ip + 8, from.bytes(), 16) == 0;
  return same ? ip : nullptr;
}

// Whether UDP follows the IP header at once and ends with it.
bool ArePlain(const Buffer& payload, const uint8_t* ip) {
  const size_t udp_bytes = payload.size() + kUdpHeaderBytes;
  if (IsV4(ip)) {
    return payload.offload().l3_bytes == kIpv4HeaderBytes && ip[9] == kUdp &&
           LoadBig16(ip + 2) == kIpv4HeaderBytes + udp_bytes;
  }
  return payload.offload().l3_bytes == kIpv6HeaderBytes && ip[6] == kUdp &&
         LoadBig16(ip + 4) == udp_bytes;
}

// What is left of the hop limit when a datagram with `hops` goes on.
uint8_t HopsOnTo(const IpAddress& destination, uint8_t hops) {
  // A group is not left by accident (RFC 1112, 6.1).
  return destination.is_multicast() ? 1 : static_cast<uint8_t>(hops - 1);
}

// Readdresses plain headers. False where UDP's checksum is not complete afterwards: its field holds
// the pseudo-header's sum. `may_be_partial`: it may have been so before.
//
// Everything is read before the first byte is written: a word that is loaded while bytes of it are
// on their way to memory has to wait for them.
bool Readdress(uint8_t* ip, const IpAddress& destination, uint16_t port, uint8_t hops,
               bool may_be_partial) {
  const bool v4 = IsV4(ip);
  uint8_t* const udp = ip + PlainHeaderBytes(v4);
  uint8_t* const field = udp + kUdpChecksumOffset;
  const uint16_t before = LoadBig16(field);
  // One that is complete may look the same, and loses nothing if it is computed once more.
  const bool partial =
      may_be_partial && before != 0 && before == FoldChecksum(PseudoHeaderSumOf(ip, v4));
  // The new addresses and port, less the old ones.
  uint64_t sum = AddBig16ToChecksum(static_cast<uint16_t>(~Word16(udp + 2)), port);
  const size_t address_bytes = v4 ? 4 : 16;
  uint8_t* const to = udp - address_bytes;
  const uint8_t* const from = destination.bytes() + 16 - address_bytes;
  for (size_t i = 0; i < address_bytes; i += 4) {
    sum += static_cast<uint32_t>(~Word32(to + i));
    sum += Word32(from + i);
  }
  sum += static_cast<uint16_t>(~Word16(field));
  if (v4) {
    // Anew: one that a device has vouched for need not be there.
    uint64_t ip_sum = uint64_t{Word32(ip)} + Word32(ip + 4) + Word32(ip + 12) + Word32(from);
    ip_sum = AddBig16ToChecksum(ip_sum, static_cast<uint16_t>(hops << 8 | kUdp));
    StoreBig16(ip + 10, FinishChecksum(ip_sum));
  }
  *HopsOf(ip) = hops;
  std::memcpy(to, from, address_bytes);
  StoreBig16(udp + 2, port);
  if (partial) {
    StoreBig16(field, FoldChecksum(PseudoHeaderSumOf(ip, v4)));
    return false;
  }
  if (before == 0) return true;  // there is none, and over IPv4 there need be none
  const uint16_t checksum = FinishChecksum(sum);
  StoreBig16(field, checksum == 0 ? 0xffff : checksum);
  return true;
}

// The field holds the pseudo-header's sum.
void CompleteChecksum(uint8_t* udp) {
  const uint16_t checksum = FinishChecksum(AddToChecksum(0, {udp, LoadBig16(udp + 4)}));
  StoreBig16(udp + kUdpChecksumOffset, checksum == 0 ? 0xffff : checksum);
}

bool MayBePartial(const Buffer& payload) {
  return (payload.offload().flags & FrameOffload::kL4ChecksumGood) != 0;
}

}  // namespace

size_t UdpPort::Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
  AssertOwner();
  assert(sources.size() == burst.size());
  if (!status_.ok()) return 0;
  size_t begin = 0;
  for (size_t i = 0; i < burst.size(); ++i) {
    // The bookkeeping lies in front of the memory.
    if (i + kPrefetchAhead < burst.size() && burst[i + kPrefetchAhead].buffer) {
      __builtin_prefetch(&burst[i + kPrefetchAhead].buffer.offload());
    }
    if (frame_count_ == kBurst && !Flush(burst, &begin, /*forwarded=*/true)) return begin;
    if (ForwardInPlace(burst[i], sources[i])) [[likely]]
      continue;
    if (!Flush(burst, &begin, /*forwarded=*/true)) return begin;
    if (!ForwardSlowly(burst[i], sources[i])) {
      ++stats_.send_blocked;
      return begin;
    }
    begin = i + 1;
  }
  Flush(burst, &begin, /*forwarded=*/true);
  return begin;
}

bool UdpPort::ForwardInPlace(Datagram& datagram, const Peer& source) {
  if (!Sendable(datagram)) return false;
  Buffer& buffer = datagram.buffer;
  uint8_t* const ip = HeadersOf(buffer, source);
  if (ip == nullptr || !ArePlain(buffer, ip) || *HopsOf(ip) <= 1) return false;
  const IpAddress destination = IpOf(datagram.peer);
  const Destination* const to = stack_->FindDestination(destination);
  if (to == nullptr || to->v4 != IsV4(ip)) return false;
  const size_t ip_bytes = PlainHeaderBytes(to->v4);
  const size_t headers = to->ethernet_bytes + ip_bytes + kUdpHeaderBytes;
  if (buffer.size() + headers > size_t{to->mtu} + to->ethernet_bytes ||
      buffer.headroom() < headers) {
    return false;
  }
  Forwarded& before = forwarded_[frame_count_];
  before = {buffer.offload(), *HopsOf(ip)};
  const bool complete = Readdress(ip, destination, PortOf(datagram.peer),
                                  HopsOnTo(destination, before.hops), MayBePartial(buffer));
  buffer.offload() = {};
  if (!complete) {
    if (stack_->checksum_offload()) {
      RequestChecksum(*to, buffer);
    } else {
      CompleteChecksum(ip + ip_bytes);
    }
  }
  uint8_t* const ethernet = buffer.Prepend(headers);
  // Of a length that is known beforehand, so that it is a few instructions.
  if (to->ethernet_bytes == kEthernetHeaderBytes) [[likely]] {
    std::memcpy(ethernet, to->header, kEthernetHeaderBytes);
  } else {
    std::memcpy(ethernet, to->header, to->ethernet_bytes);
  }
  header_bytes_[frame_count_] = static_cast<uint8_t>(headers);
  frames_[frame_count_++] = std::move(buffer);
  return true;
}

// Where it goes to stays in the headers, as nothing depends on it.
void UdpPort::RestoreForwarded(const Forwarded& before, Buffer& payload) {
  payload.offload() = before.offload;
  uint8_t* const ip = payload.data() - kUdpHeaderBytes - before.offload.l3_bytes;
  *HopsOf(ip) = before.hops;
  if (IsV4(ip)) WriteIpv4Checksum(ip);
}

bool UdpPort::ForwardSlowly(Datagram& datagram, const Peer& source) {
  const IpAddress from = IpOf(source);
  const IpAddress destination = IpOf(datagram.peer);
  if (!Sendable(datagram) || source.words[2] - 1 >= UINT16_MAX || from.is_unspecified() ||
      from.is_multicast() || from.is_v4() != destination.is_v4() ||
      datagram.buffer.size() > stack_->PayloadMax(from.is_v4())) {
    DropUnsendable(datagram);
    return true;
  }
  if (stack_->LookAtDestination(destination).kind == Destination::Kind::kNoRoute) {
    events_.Add({PortEvent::Kind::kPeerUnreachable, datagram.peer, ENETUNREACH});
    DropUnsendable(datagram);
    return true;
  }
  uint8_t* const ip = HeadersOf(datagram.buffer, source);
  uint8_t hops = stack_->options().ttl;
  if (ip != nullptr) {
    if (*HopsOf(ip) <= 1) {
      const size_t headers = static_cast<size_t>(datagram.buffer.data() - ip);
      stack_->HopsExceeded({ip, headers + datagram.buffer.size()});
      DropUnsendable(datagram);
      return true;
    }
    hops = HopsOnTo(destination, *HopsOf(ip));
  } else if (destination.is_multicast()) {
    hops = 1;
  }
  const size_t bytes = datagram.buffer.size();
  if (ip != nullptr && ArePlain(datagram.buffer, ip) && HasRoomForHeaders(datagram)) {
    const size_t ip_bytes = PlainHeaderBytes(from.is_v4());
    if (!Readdress(ip, destination, PortOf(datagram.peer), hops, MayBePartial(datagram.buffer))) {
      CompleteChecksum(ip + ip_bytes);
    }
    datagram.buffer.offload() = {};
    datagram.buffer.Prepend(ip_bytes + kUdpHeaderBytes);
  } else {
    if (!MakeRoomForHeaders(datagram)) return false;
    if (!datagram.buffer) return true;
    WriteIpPacket(datagram.buffer, datagram.peer, from, PortOf(source), hops);
  }
  ++stats_.sent;
  stats_.sent_bytes += bytes;
  stack_->Output(std::move(datagram.buffer));
  return true;
}

}  // namespace weft::netstack
