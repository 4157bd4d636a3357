// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/icmp_errors.h"

#include <algorithm>
#include <cstring>

#include "weft/core/bytes.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/ipv6.h"

namespace weft::netstack {
namespace {

using Bytes = absl::Span<const uint8_t>;
using Kind = IcmpErrorReport::Kind;

constexpr size_t kErrorBytesMaxV4 = 576;
constexpr uint8_t kTosInternetControl = 0xc0;  // RFC 1812, 4.3.2.5
constexpr int kExtensionHeadersMax = 8;
// What every error quotes of the upper layer (RFC 792): the ports, and the sequence number of TCP.
constexpr size_t kQuotedUpperBytesMin = 8;

// An IP packet, of which the end may be missing.
struct Packet {
  bool v6 = false;
  IpAddress source;
  IpAddress destination;
  bool later_fragment = false;     // than the first
  bool extension_headers = false;  // of IPv6, a fragment header apart
  IpProtocol protocol = IpProtocol::kNoNext;
  Bytes upper;         // as much as there is of the upper layer
  size_t total_bytes;  // as the header says
};

bool ParseV4(Bytes bytes, Packet* packet) {
  if (bytes.size() < kIpv4HeaderBytes) return false;
  const size_t header = size_t{bytes[0] & 0xfu} * 4;
  packet->total_bytes = LoadBig16(bytes.data() + 2);
  if (header < kIpv4HeaderBytes || header > packet->total_bytes || header > bytes.size()) {
    return false;
  }
  packet->v6 = false;
  packet->source = IpAddress::V4(bytes.data() + 12);
  packet->destination = IpAddress::V4(bytes.data() + 16);
  packet->later_fragment = (LoadBig16(bytes.data() + 6) & 0x1fff) != 0;
  packet->protocol = static_cast<IpProtocol>(bytes[9]);
  packet->upper = bytes.first(std::min(bytes.size(), packet->total_bytes)).subspan(header);
  return true;
}

// Goes over headers that WalkIpv6() would stop at: what is asked is only whether there is an error
// behind them. False where the packet ends before its upper layer.
bool ParseV6(Bytes bytes, Packet* packet) {
  if (bytes.size() < kIpv6HeaderBytes) return false;
  packet->v6 = true;
  packet->total_bytes = kIpv6HeaderBytes + LoadBig16(bytes.data() + 4);
  packet->source = IpAddress::V6(bytes.data() + 8);
  packet->destination = IpAddress::V6(bytes.data() + 24);
  // Mapped IPv4 addresses are not for the wire, and would be taken for those of IPv4 here.
  if (packet->source.is_v4() || packet->destination.is_v4()) return false;
  packet->protocol = static_cast<IpProtocol>(bytes[6]);
  packet->upper =
      bytes.first(std::min(bytes.size(), packet->total_bytes)).subspan(kIpv6HeaderBytes);
  for (int headers = 0;; ++headers) {
    const IpProtocol protocol = packet->protocol;
    const bool fragment = protocol == IpProtocol::kFragment;
    if (!fragment && protocol != IpProtocol::kHopByHop && protocol != IpProtocol::kRouting &&
        protocol != IpProtocol::kDestination) {
      return true;
    }
    if (headers == kExtensionHeadersMax || packet->upper.size() < 8) return false;
    const size_t length = fragment ? kIpv6FragmentHeaderBytes : 8 + size_t{packet->upper[1]} * 8;
    if (packet->upper.size() < length) return false;
    packet->protocol = static_cast<IpProtocol>(packet->upper[0]);
    if (fragment) {
      packet->later_fragment = Ipv6Fragment::Read(packet->upper.data()).offset_bytes != 0;
    } else {
      packet->extension_headers = true;
    }
    packet->upper.remove_prefix(length);
    if (packet->later_fragment) return true;  // what follows is no header
  }
}

bool ParsePacket(Bytes bytes, Packet* packet) {
  if (bytes.empty()) return false;
  if (bytes[0] >> 4 == 4) return ParseV4(bytes, packet);
  return bytes[0] >> 4 == 6 && ParseV6(bytes, packet);
}

bool IsSingleHost(const IpAddress& ip) {
  const bool class_e = ip.is_v4() && ip.v4() >> 28 == 0xf;  // the broadcast address is in it
  return !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && !class_e;
}

// An ICMP message about which no error is sent: an error or redirect, or one too short to tell.
bool IsIcmpOfNoAnswer(const Packet& packet) {
  if (packet.protocol == IpProtocol::kIcmp && !packet.v6) {
    return packet.upper.empty() || IsIcmpError(packet.upper[0]);
  }
  if (packet.protocol == IpProtocol::kIcmpv6 && packet.v6) {
    return packet.upper.empty() || IsIcmpv6Error(packet.upper[0]) ||
           packet.upper[0] == static_cast<uint8_t>(Icmpv6Type::kRedirect);
  }
  return false;
}

bool KindOfV4(uint8_t type, uint8_t code, Kind* kind) {
  switch (type) {
    case static_cast<uint8_t>(IcmpType::kTimeExceeded):
      *kind = Kind::kTimeExceeded;
      return true;
    case static_cast<uint8_t>(IcmpType::kParameterProblem):
      *kind = Kind::kParameterProblem;
      return true;
    case static_cast<uint8_t>(IcmpType::kUnreachable):
      break;
    default:
      return false;
  }
  switch (code) {
    case static_cast<uint8_t>(IcmpUnreachable::kProtocol):
      *kind = Kind::kProtocolUnreachable;
      break;
    case static_cast<uint8_t>(IcmpUnreachable::kPort):
      *kind = Kind::kPortUnreachable;
      break;
    case static_cast<uint8_t>(IcmpUnreachable::kFragmentationNeeded):
      *kind = Kind::kPacketTooBig;
      break;
    case 9:  // network, host, or communication prohibited (RFC 1122, 3.2.2.1; RFC 1812, 5.2.7.1)
    case 10:
    case 13:
      *kind = Kind::kProhibited;
      break;
    default:
      *kind = Kind::kHostUnreachable;
      break;
  }
  return true;
}

bool KindOfV6(uint8_t type, uint8_t code, Kind* kind) {
  switch (static_cast<Icmpv6Type>(type)) {
    case Icmpv6Type::kPacketTooBig:
      *kind = Kind::kPacketTooBig;
      return true;
    case Icmpv6Type::kTimeExceeded:
      *kind = Kind::kTimeExceeded;
      return true;
    case Icmpv6Type::kParameterProblem:
      // Code 1: the next header is not known there.
      *kind = code == 1 ? Kind::kProtocolUnreachable : Kind::kParameterProblem;
      return true;
    case Icmpv6Type::kUnreachable:
      break;
    default:
      return false;
  }
  switch (code) {
    case static_cast<uint8_t>(Icmpv6Unreachable::kPort):
      *kind = Kind::kPortUnreachable;
      break;
    case static_cast<uint8_t>(Icmpv6Unreachable::kProhibited):
    case 5:  // source address failed policy, route rejected (RFC 4443, 3.1)
    case 6:
      *kind = Kind::kProhibited;
      break;
    default:
      *kind = Kind::kHostUnreachable;
      break;
  }
  return true;
}

// What identifies the flow of a quoted packet.
bool ReadQuotedUpper(const Packet& packet, IcmpErrorReport* report) {
  const uint8_t* upper = packet.upper.data();
  switch (packet.protocol) {
    case IpProtocol::kTcp:
    case IpProtocol::kUdp:
      if (packet.upper.size() < kQuotedUpperBytesMin) return false;
      report->source_port = LoadBig16(upper);
      report->destination_port = LoadBig16(upper + 2);
      if (packet.protocol == IpProtocol::kTcp) report->tcp_sequence = LoadBig32(upper + 4);
      return true;
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6: {
      if (packet.upper.size() < kIcmpHeaderBytes) return false;
      const auto echo = packet.protocol == IpProtocol::kIcmp
                            ? static_cast<uint8_t>(IcmpType::kEcho)
                            : static_cast<uint8_t>(Icmpv6Type::kEcho);
      if (upper[0] != echo || (packet.protocol == IpProtocol::kIcmpv6) != packet.v6) return false;
      report->source_port = LoadBig16(upper + 4);
      report->destination_port = LoadBig16(upper + 6);
      return true;
    }
    default:
      return true;
  }
}

}  // namespace

bool MayReportError(Bytes packet, const IcmpError& error, bool to_everybody) {
  Packet offending;
  if (!ParsePacket(packet, &offending) || offending.later_fragment) return false;
  if (!IsSingleHost(offending.source) || IsIcmpOfNoAnswer(offending)) return false;
  if (!to_everybody && !offending.destination.is_multicast() &&
      !offending.destination.is_limited_broadcast()) {
    return true;
  }
  const auto type = static_cast<Icmpv6Type>(error.type);
  return offending.v6 && (type == Icmpv6Type::kPacketTooBig ||
                          (type == Icmpv6Type::kParameterProblem && error.code == 2));
}

Buffer BuildIcmpError(BufferPool& pool, const IpAddress& source, uint8_t ttl,
                      const IcmpError& error, Bytes offending) {
  Packet packet;
  if (!ParsePacket(offending, &packet)) return Buffer();
  Buffer buffer = pool.Allocate();
  if (!buffer) return Buffer();
  const size_t ip_header = packet.v6 ? kIpv6HeaderBytes : kIpv4HeaderBytes;
  const size_t bytes_max = std::min(buffer.tailroom(), packet.v6 ? kIpv6MtuMin : kErrorBytesMaxV4);
  const size_t overhead = ip_header + kIcmpHeaderBytes;
  if (bytes_max < overhead + ip_header + kQuotedUpperBytesMin) return Buffer();
  // What follows the packet, such as padding of Ethernet, is no part of it.
  const size_t quoted = std::min({offending.size(), packet.total_bytes, bytes_max - overhead});
  const size_t icmp_bytes = kIcmpHeaderBytes + quoted;

  uint8_t* ip = buffer.Append(ip_header + icmp_bytes);
  uint8_t* icmp = ip + ip_header;
  WriteIcmp(icmp, error.type, error.code, error.rest);
  std::memcpy(icmp + kIcmpHeaderBytes, offending.data(), quoted);
  uint64_t sum = 0;
  if (packet.v6) {
    Ipv6Fields{.payload_bytes = static_cast<uint16_t>(icmp_bytes),
               .next_header = IpProtocol::kIcmpv6,
               .hop_limit = ttl,
               .source = source,
               .destination = packet.source}
        .Write(ip);
    sum = PseudoHeaderSum(source, packet.source, static_cast<uint8_t>(IpProtocol::kIcmpv6),
                          icmp_bytes);
  } else {
    // No fragment can come of it, and so its id may be anything (RFC 6864, 4.1).
    Ipv4Fields{.tos = kTosInternetControl,
               .total_bytes = static_cast<uint16_t>(ip_header + icmp_bytes),
               .dont_fragment = true,
               .ttl = ttl,
               .protocol = IpProtocol::kIcmp,
               .source = source,
               .destination = packet.source}
        .Write(ip);
  }
  StoreBig16(icmp + 2, FinishChecksum(AddToChecksum(sum, {icmp, icmp_bytes})));
  return buffer;
}

bool ParseIcmpError(Bytes message, bool v6, IcmpErrorReport* report) {
  IcmpView icmp;
  if (!IcmpView::Parse(message, &icmp)) return false;
  *report = {};
  if (!(v6 ? KindOfV6 : KindOfV4)(icmp.type(), icmp.code(), &report->kind)) return false;
  if (report->kind == Kind::kPacketTooBig) report->mtu = v6 ? icmp.rest() : icmp.rest() & 0xffff;

  Packet packet;
  if (!ParsePacket(icmp.body(), &packet) || packet.v6 != v6) return false;
  if (packet.later_fragment || packet.extension_headers) return false;
  report->protocol = packet.protocol;
  report->source = packet.source;
  report->destination = packet.destination;
  return ReadQuotedUpper(packet, report);
}

}  // namespace weft::netstack
