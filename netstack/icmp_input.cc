// SPDX-License-Identifier: Apache-2.0
//
// ICMP and ICMPv6 as they come in: echo, errors about what we sent, neighbour discovery.
#include <cerrno>
#include <utility>

#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

using Kind = IcmpErrorReport::Kind;

// As Linux tells its sockets.
int ErrnoOf(Kind kind) {
  switch (kind) {
    case Kind::kPortUnreachable:
      return ECONNREFUSED;
    case Kind::kProtocolUnreachable:
      return ENOPROTOOPT;
    case Kind::kProhibited:
      return EACCES;
    case Kind::kParameterProblem:
      return EPROTO;
    case Kind::kPacketTooBig:
      return EMSGSIZE;
    case Kind::kHostUnreachable:
    case Kind::kTimeExceeded:
      break;
  }
  return EHOSTUNREACH;
}

}  // namespace

void Stack::InputIcmp(Buffer packet, const Ipv4View& ip, Cast cast, const From& from) {
  const absl::Span<const uint8_t> message(ip.payload(), ip.payload_bytes());
  IcmpView icmp;
  if (!IcmpView::Parse(message, &icmp)) {
    ++stats_.malformed;
    return;
  }
  if (Checksum(message) != 0) {
    ++stats_.bad_checksum;
    return;
  }
  const IpAddress source = ip.source();
  const uint8_t type = icmp.type();
  if (type == static_cast<uint8_t>(IcmpType::kEcho)) {
    const IpAddress destination = ip.destination();
    packet.TrimFront(ip.header_bytes());
    return AnswerEcho(std::move(packet), source, destination, cast);
  }
  const bool reply = type == static_cast<uint8_t>(IcmpType::kEchoReply);
  if (!reply && !IsIcmpError(type)) {
    ++stats_.not_for_us;
    return;
  }
  // Nobody answers a packet that we sent to a group.
  if (cast != Cast::kUnicast) {
    ++stats_.bad_source;
    return;
  }
  if (!from.sibling) HandToAll(packet.bytes());
  if (reply) return InputEchoReply(message, source, ip.ttl());
  ++stats_.errors_received;
  IcmpErrorReport report;
  if (!ParseIcmpError(message, /*v6=*/false, &report) || !InputError(report)) {
    ++stats_.errors_ignored;
  }
}

void Stack::InputIcmpv6(Buffer packet, const IpAddress& source, const IpAddress& destination,
                        uint8_t hop_limit, size_t icmp_offset, bool router_alert, Cast cast,
                        const From& from) {
  const absl::Span<const uint8_t> message = packet.bytes().subspan(icmp_offset);
  IcmpView icmp;
  if (!IcmpView::Parse(message, &icmp)) {
    ++stats_.malformed;
    return;
  }
  const uint64_t sum = PseudoHeaderSum(source, destination,
                                       static_cast<uint8_t>(IpProtocol::kIcmpv6), message.size());
  if (FinishChecksum(AddToChecksum(sum, message)) != 0) {
    ++stats_.bad_checksum;
    return;
  }
  const uint8_t type = icmp.type();
  if (IsIcmpv6Error(type)) {
    if (!from.sibling) HandToAll(packet.bytes());
    ++stats_.errors_received;
    IcmpErrorReport report;
    if (!ParseIcmpError(message, /*v6=*/true, &report) || !InputError(report)) {
      ++stats_.errors_ignored;
    }
    return;
  }
  switch (static_cast<Icmpv6Type>(type)) {
    case Icmpv6Type::kEcho:
      packet.TrimFront(icmp_offset);
      return AnswerEcho(std::move(packet), source, destination, cast);
    case Icmpv6Type::kEchoReply:
      if (!from.sibling) HandToAll(packet.bytes());
      return InputEchoReply(message, source, hop_limit);
    case Icmpv6Type::kMldQuery:
    case Icmpv6Type::kMldReport:
    case Icmpv6Type::kMldDone:
    case Icmpv6Type::kMldv2Report:
      if (!from.sibling) HandToAll(packet.bytes());
      membership_.OnMld(message, source, router_alert, hop_limit, now_ns_);
      return ShareWithKernel(std::move(packet), from.ethernet_bytes);
    case Icmpv6Type::kNeighborSolicitation:
    case Icmpv6Type::kNeighborAdvertisement:
      // Only a neighbour can send with this (RFC 4861, 7.1).
      if (hop_limit != 255) {
        ++stats_.malformed;
        return;
      }
      if (!from.sibling &&
          icmp.type() == static_cast<uint8_t>(Icmpv6Type::kNeighborAdvertisement)) {
        HandToAll(packet.bytes());
      }
      InputNeighbor(message, source, destination, from);
      if (cast != Cast::kUnicast) ShareWithKernel(std::move(packet), from.ethernet_bytes);
      return;
    default:  // of routers: addresses and routes are configured
      if (cast != Cast::kUnicast) return ForeignPacket(std::move(packet), from.ethernet_bytes);
      ++stats_.not_for_us;
  }
}

// The request becomes the reply, payload in place.
void Stack::AnswerEcho(Buffer packet, const IpAddress& source, const IpAddress& destination,
                       Cast cast) {
  ++stats_.echo_requests;
  // One that is to everybody is not answered, lest everybody answers (RFC 1122, 3.2.2.6).
  if (!options_.echo_reply || cast != Cast::kUnicast || source.is_unspecified() ||
      !echo_limit_.Take(now_ns_)) {
    return;
  }
  const bool v4 = source.is_v4();
  uint8_t* const icmp = packet.data();
  icmp[0] = static_cast<uint8_t>(v4 ? static_cast<uint8_t>(IcmpType::kEchoReply)
                                    : static_cast<uint8_t>(Icmpv6Type::kEchoReply));
  icmp[1] = 0;
  StoreBig16(icmp + 2, 0);
  // Errors about replies are not believed, so that routers have to cut them.
  const uint16_t id = v4 ? static_cast<uint16_t>(NextFragmentId(source)) : uint16_t{0};
  OutputIcmp(std::move(packet), destination, source, id, /*dont_fragment=*/false);
}

void Stack::InputEchoReply(absl::Span<const uint8_t> message, const IpAddress& source,
                           uint8_t ttl) {
  IcmpView icmp;
  if (echo_observer_ == nullptr || !IcmpView::Parse(message, &icmp)) return;
  echo_observer_->OnEchoReply(source, icmp.id(), icmp.sequence(), ttl, icmp.body().size());
}

bool Stack::InputError(const IcmpErrorReport& report) {
  // Only what we have sent of late, from an address of ours, can have an error (RFC 5927, 4).
  if (!interface_.Has(report.source) || !destinations_.Knows(report.destination)) return false;
  const bool too_big = report.kind == Kind::kPacketTooBig;
  if (too_big && report.mtu >= interface_.mtu) return false;
  UdpPort* port = nullptr;
  switch (report.protocol) {
    case IpProtocol::kUdp:
      port = udp_.Find(report.source, report.source_port);
      if (port == nullptr) return false;
      break;
    case IpProtocol::kTcp:
      if (segment_handler_ == nullptr || !segment_handler_->OnIcmpError(report)) return false;
      break;
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6:
      if (echo_observer_ == nullptr) return false;
      break;
    default:
      return false;
  }
  if (too_big) {
    // Nothing is wrong: from now on packets are cut to fit.
    LowerPathMtu(report.destination, report.mtu);
    return true;
  }
  const int error = ErrnoOf(report.kind);
  if (port != nullptr) {
    port->AddEvent({PortEvent::Kind::kPeerUnreachable,
                    UdpPort::PeerOf(report.destination, report.destination_port), error});
  } else if (report.protocol != IpProtocol::kTcp) {
    echo_observer_->OnEchoError(report.destination, report.source_port, report.destination_port,
                                error);
  }
  return true;
}

void Stack::LowerPathMtu(const IpAddress& destination, size_t mtu) {
  if (!path_mtu_.Lower(destination, mtu, now_ns_) || segment_handler_ == nullptr) return;
  segment_handler_->OnPathMtu(destination, path_mtu_.Get(destination, now_ns_));
}

void Stack::InputNeighbor(absl::Span<const uint8_t> bytes, const IpAddress& source,
                          const IpAddress& destination, const From& from) {
  NeighborMessage message;
  if (!NeighborMessage::Parse(bytes, &message)) {
    ++stats_.malformed;
    return;
  }
  if (message.advertisement) {
    if (interface_.Has(message.target)) {
      ++stats_.address_conflicts;
      return;
    }
    if (message.solicited && destination.is_multicast()) {  // RFC 4861, 7.1.2
      ++stats_.malformed;
      return;
    }
    if (message.has_mac) {
      neighbors_.OnAnswer(message.target, message.mac, message.solicited, message.override,
                          now_ns_);
    } else {
      neighbors_.OnAnswerWithoutMac(message.target, message.solicited, now_ns_);
    }
    return;
  }
  // Who has no address yet asks whether it is free, and says no MAC address (RFC 4861, 7.1.1).
  if (source.is_unspecified() &&
      (message.has_mac || destination != SolicitedNodeGroup(message.target))) {
    ++stats_.malformed;
    return;
  }
  if (!interface_.Has(message.target) || from.sibling) return;
  if (message.has_mac && !source.is_unspecified()) {
    // Whoever has a link-local address is on the link, whether we have one or not (RFC 4861, 5.2).
    const bool on_link = source.is_link_local() || routes_.IsConnected(source);
    if (!on_link || IsGroup(message.mac)) {
      ++stats_.bad_source;
      return;
    }
    neighbors_.OnRequest(source, message.mac, now_ns_);
  }
  AnswerSolicitation(message, source);
}

}  // namespace weft::netstack
