// SPDX-License-Identifier: Apache-2.0
//
// IPv4 and IPv6 as they come in: whether they are for us, fragments, and to whom they go.
#include <utility>

#include "weft/netstack/stack.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

uint8_t EcnOf(uint8_t traffic_class) { return traffic_class & 3; }

}  // namespace

Stack::Cast Stack::CastOf(const IpAddress& destination) const {
  if (interface_.Has(destination)) return Cast::kUnicast;
  if (destination.is_multicast()) {
    return membership_.Contains(destination) ? Cast::kMulticast : Cast::kForeign;
  }
  return interface_.IsBroadcast(destination) ? Cast::kBroadcast : Cast::kForeign;
}

// RFC 1122, 3.2.1.3: what may not be a source. "0.0.0.0" and "::" are whoever has no address yet.
bool Stack::IsHonestSource(const IpAddress& source) const {
  return !source.is_multicast() && !source.is_loopback() && !interface_.IsBroadcast(source) &&
         (source.is_v6() || source.bytes()[12] < 240);
}

void Stack::InputIpv4(Buffer packet, const From& from) {
  Ipv4View ip;
  if (!Ipv4View::Parse(packet.bytes(), &ip)) {
    ++stats_.malformed;
    return;
  }
  if ((packet.offload().flags & FrameOffload::kIpChecksumGood) == 0 && !ip.ChecksumIsGood()) {
    ++stats_.bad_checksum;
    return;
  }
  const IpAddress source = ip.source();
  const IpAddress destination = ip.destination();
  const Cast cast = CastOf(destination);
  if (cast == Cast::kForeign) return ForeignPacket(std::move(packet), from.ethernet_bytes);
  // Our own address comes from the wire only by a loop or a lie.
  const bool from_wire = from.ethernet_bytes != 0;
  if (!IsHonestSource(source) || (from_wire && interface_.Has(source))) {
    ++stats_.bad_source;
    return;
  }
  // A frame to everybody with a packet to us alone is no honest one (RFC 1122, 3.3.6).
  if (from.to_group_mac && cast == Cast::kUnicast) {
    ++stats_.bad_source;
    return;
  }
  packet.TrimBack(packet.size() - ip.total_bytes());
  if (ip.is_fragment()) {
    Buffer whole = reassembler_.Add(ip, now_ns_);
    ScheduleReassemblyTimer();
    if (whole) InputIpv4(std::move(whole), {.sibling = from.sibling});
    return;
  }
  switch (ip.protocol()) {
    case IpProtocol::kUdp: {
      const size_t udp_offset = ip.header_bytes();
      return InputUdp(std::move(packet), udp_offset, source, destination, cast, from);
    }
    case IpProtocol::kIcmp:
      return InputIcmp(std::move(packet), ip, cast, from);
    case IpProtocol::kIgmp:
      if (!from.sibling) HandToAll(packet.bytes());
      membership_.OnIgmp({ip.payload(), ip.payload_bytes()}, source, now_ns_);
      return ShareWithKernel(std::move(packet), from.ethernet_bytes);
    case IpProtocol::kTcp:
      if (segment_handler_ == nullptr) break;
      return InputTcp(std::move(packet),
                      {ip.header_bytes(), source, destination, EcnOf(ip.tos()), ip.ttl()}, cast,
                      from);
    default:
      break;
  }
  ++stats_.not_for_us;
  SendError(packet.bytes(), cast, kIcmpProtocolUnreachable, kIcmpProtocolUnreachable);
}

void Stack::InputIpv6(Buffer packet, const From& from) {
  Ipv6View ip;
  if (!Ipv6View::Parse(packet.bytes(), &ip)) {
    ++stats_.malformed;
    return;
  }
  const IpAddress source = ip.source();
  const IpAddress destination = ip.destination();
  const Cast cast = CastOf(destination);
  if (cast == Cast::kForeign) return ForeignPacket(std::move(packet), from.ethernet_bytes);
  const bool from_wire = from.ethernet_bytes != 0;
  if (!IsHonestSource(source) || (from_wire && interface_.Has(source)) ||
      (from.to_group_mac && cast == Cast::kUnicast)) {
    ++stats_.bad_source;
    return;
  }
  packet.TrimBack(packet.size() - ip.total_bytes());
  const Ipv6Chain chain = WalkIpv6(ip);
  using Verdict = Ipv6Chain::Verdict;
  switch (chain.verdict) {
    case Verdict::kUpperLayer:
      break;
    case Verdict::kFragment: {
      Buffer whole = reassembler_.Add(ip, chain, now_ns_);
      ScheduleReassemblyTimer();
      if (whole) InputIpv6(std::move(whole), {.sibling = from.sibling});
      return;
    }
    case Verdict::kMalformed:
      ++stats_.malformed;
      return;
    case Verdict::kDropSilently:
      ++stats_.not_for_us;
      return;
    case Verdict::kUnknownHeader:
    case Verdict::kUnknownOption:
    case Verdict::kBadHeader: {
      ++stats_.not_for_us;
      const uint8_t code = chain.verdict == Verdict::kBadHeader       ? 0
                           : chain.verdict == Verdict::kUnknownHeader ? 1
                                                                      : 2;
      if (cast != Cast::kUnicast && !chain.problem_even_to_group) return;
      return SendError(
          packet.bytes(), cast, {},
          {static_cast<uint8_t>(Icmpv6Type::kParameterProblem), code, chain.problem_offset});
    }
  }
  const auto offset = static_cast<size_t>(chain.payload - packet.data());
  switch (chain.protocol) {
    case IpProtocol::kUdp:
      return InputUdp(std::move(packet), offset, source, destination, cast, from);
    case IpProtocol::kIcmpv6:
      return InputIcmpv6(std::move(packet), source, destination, ip.hop_limit(), offset,
                         chain.router_alert, cast, from);
    case IpProtocol::kNoNext:
      return;
    case IpProtocol::kTcp:
      if (segment_handler_ == nullptr) break;
      return InputTcp(std::move(packet),
                      {offset, source, destination, EcnOf(ip.traffic_class()), ip.hop_limit()},
                      cast, from);
    default:
      break;
  }
  ++stats_.not_for_us;
  SendError(packet.bytes(), cast, {},
            {static_cast<uint8_t>(Icmpv6Type::kParameterProblem), 1,
             static_cast<uint32_t>(chain.next_header_offset)});
}

}  // namespace weft::netstack
