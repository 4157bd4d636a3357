// SPDX-License-Identifier: Apache-2.0
//
// IPv6 headers and their extension headers (RFC 8200).
#ifndef WEFT_NETSTACK_WIRE_IPV6_H_
#define WEFT_NETSTACK_WIRE_IPV6_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/ipv4.h"

namespace weft::netstack {

inline constexpr size_t kIpv6HeaderBytes = 40;
inline constexpr size_t kIpv6FragmentHeaderBytes = 8;
inline constexpr size_t kIpv6MtuMin = 1280;  // RFC 8200, 5
inline constexpr int kIpv6ExtensionHeadersMax = 8;

// A packet whose fixed header is whole and whose payload length fits the bytes that are there.
class Ipv6View {
 public:
  // False also where source or destination is an IPv4-mapped address, which does not belong on a
  // wire: IpAddress would take it for the IPv4 address, and so would whoever trusts that one
  // (draft-itojun-v6ops-v4mapped-harmful). A jumbogram (RFC 2675) has payload length 0 here.
  static bool Parse(absl::Span<const uint8_t> bytes, Ipv6View* view) {
    if (bytes.size() < kIpv6HeaderBytes || bytes[0] >> 4 != 6) return false;
    if (kIpv6HeaderBytes + LoadBig16(bytes.data() + 4) > bytes.size()) return false;
    view->p_ = bytes.data();
    return view->source().is_v6() && view->destination().is_v6();
  }

  uint8_t traffic_class() const { return static_cast<uint8_t>(p_[0] << 4 | p_[1] >> 4); }
  size_t payload_bytes() const { return LoadBig16(p_ + 4); }
  size_t total_bytes() const { return kIpv6HeaderBytes + payload_bytes(); }
  const uint8_t* payload() const { return p_ + kIpv6HeaderBytes; }
  const uint8_t* data() const { return p_; }
  IpProtocol next_header() const { return static_cast<IpProtocol>(p_[6]); }
  uint8_t hop_limit() const { return p_[7]; }
  IpAddress source() const { return IpAddress::V6(p_ + 8); }
  IpAddress destination() const { return IpAddress::V6(p_ + 24); }

 private:
  const uint8_t* p_ = nullptr;
};

struct Ipv6Fields {
  uint8_t traffic_class = 0;
  uint16_t payload_bytes = 0;
  IpProtocol next_header = IpProtocol::kUdp;
  uint8_t hop_limit = 64;
  IpAddress source;
  IpAddress destination;

  // 40 bytes.
  void Write(uint8_t* to) const {
    StoreBig32(to, 6u << 28 | uint32_t{traffic_class} << 20);
    StoreBig16(to + 4, payload_bytes);
    to[6] = static_cast<uint8_t>(next_header);
    to[7] = hop_limit;
    std::memcpy(to + 8, source.bytes(), 16);
    std::memcpy(to + 24, destination.bytes(), 16);
  }
};

// Fragment header (RFC 8200, 4.5).
struct Ipv6Fragment {
  IpProtocol next_header;
  uint16_t offset_bytes;  // a multiple of 8
  bool more;
  uint32_t id;

  // From and to 8 bytes.
  static Ipv6Fragment Read(const uint8_t* p) {
    return {static_cast<IpProtocol>(p[0]), static_cast<uint16_t>(LoadBig16(p + 2) & 0xfff8),
            (p[3] & 1) != 0, LoadBig32(p + 4)};
  }
  void Write(uint8_t* to) const {
    to[0] = static_cast<uint8_t>(next_header);
    to[1] = 0;
    StoreBig16(to + 2, static_cast<uint16_t>(offset_bytes | (more ? 1 : 0)));
    StoreBig32(to + 4, id);
  }
};

// What stands between the fixed header and the upper layer.
struct Ipv6Chain {
  enum class Verdict : uint8_t {
    kUpperLayer,  // `protocol` begins at `payload`
    kFragment,    // `fragment` was found at `payload` - 8: reassemble first
    kMalformed,   // ends within a header, or too many of them: drop
    // Drop and answer ICMPv6 parameter problem, with the pointer `problem_offset`:
    kUnknownHeader,  // code 1: a next header that nobody knows, or hop-by-hop options that do not
                     // stand in front (RFC 8200, 4)
    kUnknownOption,  // code 2, where the option's first bits ask for it (RFC 8200, 4.2)
    kBadHeader,      // code 0: routing with segments left (RFC 8200, 4.4)
    kDropSilently,   // an unknown option's first bits ask for it
  };
  Verdict verdict = Verdict::kMalformed;
  IpProtocol protocol = IpProtocol::kNoNext;
  const uint8_t* payload = nullptr;
  size_t payload_bytes = 0;
  Ipv6Fragment fragment = {};
  // Of the byte that names the fragment header, for the per-fragment headers of a reassembled
  // packet.
  size_t next_header_offset = 0;
  uint32_t problem_offset = 0;
  bool problem_even_to_group = false;  // an option of type 10 (binary): answer also for groups
  bool router_alert = false;           // a hop-by-hop option; MLD must have it
};

// Walks the extension headers: at most 8 of them and 32 options in each (RFC 8504, 5.3 allows
// limits); beyond that the packet is malformed. Stops at the first fragment header.
Ipv6Chain WalkIpv6(const Ipv6View& packet);

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_IPV6_H_
