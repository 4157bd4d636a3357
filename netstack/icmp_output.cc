// SPDX-License-Identifier: Apache-2.0
//
// What the stack says by itself: ARP requests and solicitations, advertisements, ICMP errors, group
// membership, echo requests.
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/arp.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

// All-nodes on the link (RFC 4291, 2.7.1).
constexpr uint8_t kAllNodes[16] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr uint8_t kNeighborHopLimit = 255;

// Router alert (RFC 2113; RFC 2711 with the padding that fills the header).
constexpr uint8_t kIpv4RouterAlert[4] = {0x94, 4, 0, 0};
constexpr uint8_t kIpv6RouterAlert[8] = {
    static_cast<uint8_t>(IpProtocol::kIcmpv6), 0, 5, 2, 0, 0, 1, 0};

bool IsEchoRequest(IpProtocol protocol, uint8_t type) {
  return (protocol == IpProtocol::kIcmp && type == static_cast<uint8_t>(IcmpType::kEcho)) ||
         (protocol == IpProtocol::kIcmpv6 && type == static_cast<uint8_t>(Icmpv6Type::kEcho));
}

}  // namespace

Buffer Stack::MakeIcmpv6(const IpAddress& source, const IpAddress& destination,
                         absl::Span<const uint8_t> message, uint8_t hop_limit) {
  Buffer packet = Allocate();
  if (!packet || packet.tailroom() < kIpv6HeaderBytes + message.size()) {
    ++stats_.send_dropped;
    return Buffer();
  }
  Ipv6Fields{.payload_bytes = static_cast<uint16_t>(message.size()),
             .next_header = IpProtocol::kIcmpv6,
             .hop_limit = hop_limit,
             .source = source,
             .destination = destination}
      .Write(packet.Append(kIpv6HeaderBytes));
  uint8_t* const icmp = packet.Append(message.size());
  std::memcpy(icmp, message.data(), message.size());
  const uint64_t sum = PseudoHeaderSum(source, destination,
                                       static_cast<uint8_t>(IpProtocol::kIcmpv6), message.size());
  StoreBig16(icmp + 2, FinishChecksum(AddToChecksum(sum, {icmp, message.size()})));
  return packet;
}

void Stack::Solicit(const IpAddress& target, const MacAddress* to) {
  const IpAddress source = interface_.SourceFor(target);
  if (!source) return;
  if (target.is_v4()) {
    Buffer request = Allocate();
    if (!request) {
      ++stats_.send_dropped;
      return;
    }
    Arp{.operation = Arp::Operation::kRequest,
        .sender_mac = interface_.mac,
        .sender = source,
        .target_mac = to != nullptr ? *to : MacAddress{},
        .target = target}
        .Write(request.Append(kArpBytes));
    return SendTo(std::move(request), to != nullptr ? *to : kBroadcastMac, EtherType::kArp);
  }
  uint8_t message[32];
  const size_t n =
      NeighborMessage{.target = target, .has_mac = true, .mac = interface_.mac}.Write(message);
  const IpAddress group = SolicitedNodeGroup(target);
  Buffer packet =
      MakeIcmpv6(source, to != nullptr ? target : group, {message, n}, kNeighborHopLimit);
  if (packet)
    SendTo(std::move(packet), to != nullptr ? *to : MulticastMac(group), EtherType::kIpv6);
}

// To who asked, or, where that one has no address yet, to everybody (RFC 4861, 7.2.4).
void Stack::AnswerSolicitation(const NeighborMessage& asked, const IpAddress& source) {
  const bool to_all = source.is_unspecified();
  uint8_t message[32];
  const size_t n = NeighborMessage{.advertisement = true,
                                   .solicited = !to_all,
                                   .override = true,
                                   .target = asked.target,
                                   .has_mac = true,
                                   .mac = interface_.mac}
                       .Write(message);
  const IpAddress to = to_all ? IpAddress::V6(kAllNodes) : source;
  Buffer packet = MakeIcmpv6(asked.target, to, {message, n}, kNeighborHopLimit);
  if (!packet) return;
  if (to_all) return SendTo(std::move(packet), MulticastMac(to), EtherType::kIpv6);
  if (asked.has_mac) return SendTo(std::move(packet), asked.mac, EtherType::kIpv6);
  Output(std::move(packet));
}

void Stack::SendError(absl::Span<const uint8_t> offending, Cast cast, const IcmpError& v4,
                      const IcmpError& v6) {
  const bool is_v4 = offending[0] >> 4 == 4;
  const IcmpError& error = is_v4 ? v4 : v6;
  if (!MayReportError(offending, error, cast != Cast::kUnicast)) return;
  if (!error_limit_.Take(now_ns_)) {
    ++stats_.errors_limited;
    return;
  }
  const IpAddress asked = DestinationOf(offending);
  const IpAddress source =
      interface_.Has(asked) ? asked : interface_.SourceFor(SourceOf(offending));
  if (!source) return;
  Buffer packet = BuildIcmpError(device_->pool(), source, interface_.ttl, error, offending);
  if (!packet) {
    ++stats_.send_dropped;
    return;
  }
  ++stats_.errors_sent;
  Output(std::move(packet));
}

void Stack::HopsExceeded(absl::Span<const uint8_t> packet) {
  ++stats_.hops_exceeded;
  SendError(packet, CastOf(DestinationOf(packet)), kIcmpTimeExceeded, kIcmpv6TimeExceeded);
}

void Stack::SendMembership(const IpAddress& to, absl::Span<const uint8_t> message) {
  Buffer packet;
  if (to.is_v4()) {
    packet = Allocate();
    const size_t header = kIpv4HeaderBytes + sizeof(kIpv4RouterAlert);
    const IpAddress source = interface_.SourceFor(to);
    if (!packet || !source || packet.tailroom() < header + message.size()) {
      ++stats_.send_dropped;
      return;
    }
    uint8_t* const ip = packet.Append(header);
    Ipv4Fields{.total_bytes = static_cast<uint16_t>(header + message.size()),
               .dont_fragment = true,
               .ttl = 1,
               .protocol = IpProtocol::kIgmp,
               .source = source,
               .destination = to}
        .Write(ip);
    std::memcpy(ip + kIpv4HeaderBytes, kIpv4RouterAlert, sizeof(kIpv4RouterAlert));
    ip[0] = static_cast<uint8_t>(0x40 | header / 4);
    StoreBig16(ip + 10, 0);
    StoreBig16(ip + 10, Checksum({ip, header}));
    std::memcpy(packet.Append(message.size()), message.data(), message.size());
    return SendTo(std::move(packet), MulticastMac(to), EtherType::kIpv4);
  }
  // Routers listen to nobody else (RFC 3810, 5.2.13; RFC 3590), whatever the scope of the group.
  const IpAddress own = interface_.SourceFor(IpAddress::V6(kAllNodes));
  const IpAddress source = own.is_link_local() ? own : IpAddress();
  packet = MakeIcmpv6(source, to, message, /*hop_limit=*/1);
  if (!packet) return;
  // The hop-by-hop header goes between the two: the IPv6 header moves forward.
  uint8_t* const ip = packet.Prepend(sizeof(kIpv6RouterAlert));
  std::memmove(ip, ip + sizeof(kIpv6RouterAlert), kIpv6HeaderBytes);
  std::memcpy(ip + kIpv6HeaderBytes, kIpv6RouterAlert, sizeof(kIpv6RouterAlert));
  ip[6] = static_cast<uint8_t>(IpProtocol::kHopByHop);
  StoreBig16(ip + 4, static_cast<uint16_t>(packet.size() - kIpv6HeaderBytes));
  SendTo(std::move(packet), MulticastMac(to), EtherType::kIpv6);
}

void Stack::Unresolved(const IpAddress&, const Buffer& packet) {
  const absl::Span<const uint8_t> bytes = packet.bytes();
  IcmpErrorReport report;
  Ipv4View v4;
  Ipv6View v6;
  absl::Span<const uint8_t> upper;
  if (Ipv4View::Parse(bytes, &v4) && v4.fragment_offset_bytes() == 0) {
    report.protocol = v4.protocol();
    report.source = v4.source();
    report.destination = v4.destination();
    upper = {v4.payload(), v4.payload_bytes()};
  } else if (Ipv6View::Parse(bytes, &v6)) {
    const Ipv6Chain chain = WalkIpv6(v6);
    if (chain.fragment.offset_bytes != 0) return;
    report.protocol = chain.protocol;
    report.source = v6.source();
    report.destination = v6.destination();
    upper = {chain.payload, chain.payload_bytes};
  }
  if (upper.size() < kIcmpHeaderBytes) return;
  static_assert(kIcmpHeaderBytes == kUdpHeaderBytes);
  if (report.protocol == IpProtocol::kUdp) {
    // What was sent on under another's address is no port's.
    if (!interface_.Has(report.source)) return;
    UdpPort* const port = udp_.Find(report.source, LoadBig16(upper.data()));
    if (port == nullptr) return;
    port->AddEvent({PortEvent::Kind::kPeerUnreachable,
                    UdpPort::PeerOf(report.destination, LoadBig16(upper.data() + 2)),
                    EHOSTUNREACH});
  } else if (report.protocol == IpProtocol::kTcp) {
    if (segment_handler_ == nullptr || segment_errors_.size() >= kSegmentErrorsMax) return;
    report.source_port = LoadBig16(upper.data());
    report.destination_port = LoadBig16(upper.data() + 2);
    report.tcp_sequence = LoadBig32(upper.data() + kTcpSequenceOffset);
    segment_errors_.push_back(report);
  } else if (echo_observer_ != nullptr && IsEchoRequest(report.protocol, upper[0])) {
    echo_observer_->OnEchoError(report.destination, LoadBig16(upper.data() + 4),
                                LoadBig16(upper.data() + 6), EHOSTUNREACH);
  }
}

void Stack::OutputIcmp(Buffer message, const IpAddress& source, const IpAddress& destination,
                       uint16_t id, bool dont_fragment) {
  const bool v4 = source.is_v4();
  const size_t length = message.size();
  message.offload() = {};
  const uint64_t pseudo_header =
      v4 ? 0
         : PseudoHeaderSum(source, destination, static_cast<uint8_t>(IpProtocol::kIcmpv6), length);
  const uint16_t checksum = FinishChecksum(AddToChecksum(pseudo_header, message.bytes()));
  StoreBig16(message.data() + 2, checksum);
  if (v4) {
    Ipv4Fields{.total_bytes = static_cast<uint16_t>(kIpv4HeaderBytes + length),
               .id = id,
               .dont_fragment = dont_fragment,
               .ttl = interface_.ttl,
               .protocol = IpProtocol::kIcmp,
               .source = source,
               .destination = destination}
        .Write(message.Prepend(kIpv4HeaderBytes));
  } else {
    Ipv6Fields{.payload_bytes = static_cast<uint16_t>(length),
               .next_header = IpProtocol::kIcmpv6,
               .hop_limit = interface_.ttl,
               .source = source,
               .destination = destination}
        .Write(message.Prepend(kIpv6HeaderBytes));
  }
  Output(std::move(message));
}

absl::Status Stack::SendEcho(const IpAddress& to, uint16_t id, uint16_t sequence,
                             size_t payload_bytes) {
  const bool v4 = to.is_v4();
  const IpAddress source = interface_.SourceFor(to);
  if (!source || !HasRoute(to)) {
    return absl::UnavailableError(absl::StrCat("no route to ", to.ToString(), " from ",
                                               interface_.ToString(),
                                               "; add one to netstack.routes"));
  }
  const size_t ip_bytes = v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  const size_t bytes = ip_bytes + kIcmpHeaderBytes + payload_bytes;
  if (bytes > UINT16_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("an echo request of ", payload_bytes,
                                                   " bytes does not fit an IP packet; at most ",
                                                   UINT16_MAX - ip_bytes - kIcmpHeaderBytes));
  }
  Buffer packet = Allocate();
  if (packet && packet.tailroom() < bytes) packet = large_.Allocate();
  if (!packet) return absl::ResourceExhaustedError("no buffer is free; try again later");
  packet.Append(bytes);
  packet.TrimFront(ip_bytes);
  const uint8_t type =
      v4 ? static_cast<uint8_t>(IcmpType::kEcho) : static_cast<uint8_t>(Icmpv6Type::kEcho);
  WriteIcmp(packet.data(), type, 0, uint32_t{id} << 16 | sequence);
  for (size_t i = 0; i < payload_bytes; ++i) {
    packet.data()[kIcmpHeaderBytes + i] = static_cast<uint8_t>(i);
  }
  OutputIcmp(std::move(packet), source, to, /*id=*/0, bytes <= interface_.mtu);
  return absl::OkStatus();
}

}  // namespace weft::netstack
