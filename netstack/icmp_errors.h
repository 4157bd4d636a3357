// SPDX-License-Identifier: Apache-2.0
//
// ICMP and ICMPv6 errors: whether one may be sent about a packet, how it is made, and what a
// received one is about.
//
//   if (MayReportError(packet, kIcmpPortUnreachable, to_everybody) && bucket.Take(now_ns)) {
//     Buffer error = BuildIcmpError(pool, our_address, ttl, kIcmpPortUnreachable, packet);
//   }
//
//   IcmpErrorReport report;
//   if (ParseIcmpError(icmp_message, /*v6=*/false, &report)) {
//     // report.source:source_port must be a port of ours that sends to report.destination.
//   }
#ifndef WEFT_NETSTACK_ICMP_ERRORS_H_
#define WEFT_NETSTACK_ICMP_ERRORS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/icmp.h"
#include "weft/netstack/wire/ipv4.h"

namespace weft::netstack {

// What to tell; type and code are those of the offending packet's family.
struct IcmpError {
  uint8_t type = 0;
  uint8_t code = 0;
  uint32_t rest = 0;  // MTU (of ICMPv6; of ICMP in the lower half), ICMPv6 pointer, or 0
};

inline constexpr IcmpError kIcmpProtocolUnreachable = {3, 2};
inline constexpr IcmpError kIcmpPortUnreachable = {3, 3};
inline constexpr IcmpError kIcmpTimeExceeded = {11, 0};
inline constexpr IcmpError kIcmpReassemblyTimeout = {11, 1};
inline constexpr IcmpError kIcmpv6PortUnreachable = {1, 4};
inline constexpr IcmpError kIcmpv6TimeExceeded = {3, 0};
inline constexpr IcmpError kIcmpv6ReassemblyTimeout = {3, 1};

// Whether an error may be sent about `packet`, an IP packet from its header on (RFC 1122, 3.2.2;
// RFC 1812, 4.3.2.7; RFC 4443, 2.4e). Never about an ICMP error or, of ICMPv6, a redirect, about a
// fragment other than the first, to a source that is not a single host, or about what is no IP
// packet. About a packet to a group or to everybody only ICMPv6 "packet too big" and "parameter
// problem" with code 2. `to_everybody`: what the packet does not say itself, that its frame was to
// a group, or its destination is the broadcast address of a network. The limit of the rate is the
// caller's (TokenBucket).
bool MayReportError(absl::Span<const uint8_t> packet, const IcmpError& error, bool to_everybody);

// The IP packet with the error and as much of `offending` as may be: 576 bytes in all for IPv4 (RFC
// 1812, 4.3.2.3), 1280 for IPv6 (RFC 4443, 2.4c), and what a buffer of the pool holds. To the
// offending packet's source, from `source` (of the same family). Checksums are complete. Null if
// the pool is empty or its buffers cannot even hold the offending packet's header.
// `offending` is one that MayReportError() allowed.
Buffer BuildIcmpError(BufferPool& pool, const IpAddress& source, uint8_t ttl,
                      const IcmpError& error, absl::Span<const uint8_t> offending);

// A received error, and the packet of ours that it is about.
struct IcmpErrorReport {
  enum class Kind : uint8_t {
    kHostUnreachable,      // or its network
    kProtocolUnreachable,  // the host does not know the protocol
    kPortUnreachable,
    kProhibited,    // by somebody's policy
    kPacketTooBig,  // `mtu`
    kTimeExceeded,
    kParameterProblem,
  };
  Kind kind = Kind::kHostUnreachable;
  size_t mtu = 0;  // the next hop's; 0: it did not say (RFC 1191, 5)

  IpProtocol protocol = IpProtocol::kUdp;
  IpAddress source;
  IpAddress destination;
  // Of UDP and TCP the ports; of an echo request its id and sequence number; else 0.
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t tcp_sequence = 0;  // of TCP (RFC 5927, 4.1: match it against what is in flight)
};

// What the error `message` (ICMP or ICMPv6 from its header on, checksum verified by the caller) is
// about. False for what is no error or an obsolete one (source quench, RFC 6633; redirects), and
// where the quoted packet is too short or broken, a fragment other than the first, an error itself,
// or one with extension headers that we never send. The caller matches the report against what it
// has sent: a wrong match is a forgery or too late, and to be counted and dropped.
bool ParseIcmpError(absl::Span<const uint8_t> message, bool v6, IcmpErrorReport* report);

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_ICMP_ERRORS_H_
