// SPDX-License-Identifier: Apache-2.0
//
// ICMP (RFC 792) and ICMPv6 (RFC 4443), with neighbour discovery (RFC 4861).
#ifndef WEFT_NETSTACK_WIRE_ICMP_H_
#define WEFT_NETSTACK_WIRE_ICMP_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

// type, code, checksum, and four bytes whose meaning the type gives.
inline constexpr size_t kIcmpHeaderBytes = 8;

enum class IcmpType : uint8_t {
  kEchoReply = 0,
  kUnreachable = 3,
  kEcho = 8,
  kTimeExceeded = 11,
  kParameterProblem = 12,
};
// Codes of kUnreachable.
enum class IcmpUnreachable : uint8_t {
  kNetwork = 0,
  kHost = 1,
  kProtocol = 2,
  kPort = 3,
  kFragmentationNeeded = 4,  // the next hop's MTU in bytes 6 and 7 (RFC 1191)
};
inline constexpr uint8_t kIcmpReassemblyTimeExceeded = 1;  // code of kTimeExceeded

enum class Icmpv6Type : uint8_t {
  kUnreachable = 1,
  kPacketTooBig = 2,  // the next hop's MTU in bytes 4 to 7
  kTimeExceeded = 3,
  kParameterProblem = 4,
  kEcho = 128,
  kEchoReply = 129,
  kMldQuery = 130,
  kMldReport = 131,
  kMldDone = 132,
  kRouterSolicitation = 133,
  kRouterAdvertisement = 134,
  kNeighborSolicitation = 135,
  kNeighborAdvertisement = 136,
  kRedirect = 137,
  kMldv2Report = 143,
};
enum class Icmpv6Unreachable : uint8_t {
  kNoRoute = 0,
  kProhibited = 1,
  kAddress = 3,
  kPort = 4,
};

// Types below 128 are errors (RFC 4443, 2.1).
inline bool IsIcmpv6Error(uint8_t type) { return type < 128; }
inline bool IsIcmpError(uint8_t type) {
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

// Of either family. The checksum is for Checksum() or, with a pseudo-header, for ICMPv6.
class IcmpView {
 public:
  static bool Parse(absl::Span<const uint8_t> bytes, IcmpView* view) {
    if (bytes.size() < kIcmpHeaderBytes) return false;
    view->bytes_ = bytes;
    return true;
  }
  uint8_t type() const { return bytes_[0]; }
  uint8_t code() const { return bytes_[1]; }
  uint16_t id() const { return LoadBig16(bytes_.data() + 4); }
  uint16_t sequence() const { return LoadBig16(bytes_.data() + 6); }
  uint32_t rest() const { return LoadBig32(bytes_.data() + 4); }
  absl::Span<const uint8_t> bytes() const { return bytes_; }
  // Behind the header: of an error, the beginning of the packet that it is about.
  absl::Span<const uint8_t> body() const { return bytes_.subspan(kIcmpHeaderBytes); }

 private:
  absl::Span<const uint8_t> bytes_;
};

// The header with checksum 0.
inline void WriteIcmp(uint8_t* to, uint8_t type, uint8_t code, uint32_t rest) {
  to[0] = type;
  to[1] = code;
  StoreBig16(to + 2, 0);
  StoreBig32(to + 4, rest);
}

// Neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4).
struct NeighborMessage {
  bool advertisement = false;
  bool router = false;  // flags of an advertisement
  bool solicited = false;
  bool override = false;
  IpAddress target;
  bool has_mac = false;  // source (solicitation) or target (advertisement) link-layer option
  MacAddress mac = {};

  // `bytes`: the ICMPv6 message. False for what is malformed: too short, an option of length 0, a
  // target that is a group (RFC 4861, 7.1) or an IPv4-mapped address, which would be taken for the
  // IPv4 neighbour. Options but the wanted one are skipped. What concerns the IPv6 header (hop
  // limit 255, groups, the unspecified source) is the caller's to check.
  static bool Parse(absl::Span<const uint8_t> bytes, NeighborMessage* message);

  // 24 bytes, and 8 more with has_mac; checksum 0. Returns how many.
  size_t Write(uint8_t* to) const;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_ICMP_H_
