// SPDX-License-Identifier: Apache-2.0
//
// IPv4 headers (RFC 791).
#ifndef WEFT_NETSTACK_WIRE_IPV4_H_
#define WEFT_NETSTACK_WIRE_IPV4_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/checksum.h"

namespace weft::netstack {

enum class IpProtocol : uint8_t {
  kHopByHop = 0,  // IPv6 extension headers, as next header
  kIcmp = 1,
  kIgmp = 2,
  kTcp = 6,
  kUdp = 17,
  kRouting = 43,
  kFragment = 44,
  kIcmpv6 = 58,
  kNoNext = 59,
  kDestination = 60,
};

inline constexpr size_t kIpv4HeaderBytes = 20;
inline constexpr size_t kIpv4MtuMin = 68;           // RFC 791, 3.2
inline constexpr size_t kIpPacketBytesMax = 65535;  // what the length field of IPv4 can say

// A packet whose header is whole and whose lengths fit each other and the bytes that are there.
class Ipv4View {
 public:
  // False for what is not IPv4, or whose header or total length do not fit; the header's checksum
  // is a question of its own, as a device may have answered it. Bytes behind the total length
  // (padding of Ethernet) are not part of the packet.
  static bool Parse(absl::Span<const uint8_t> bytes, Ipv4View* view) {
    if (bytes.size() < kIpv4HeaderBytes || bytes[0] >> 4 != 4) return false;
    const size_t header = size_t{bytes[0] & 0xfu} * 4;
    const size_t total = LoadBig16(bytes.data() + 2);
    if (header < kIpv4HeaderBytes || total < header || total > bytes.size()) return false;
    view->p_ = bytes.data();
    return true;
  }

  size_t header_bytes() const { return size_t{p_[0] & 0xfu} * 4; }
  size_t total_bytes() const { return LoadBig16(p_ + 2); }
  size_t payload_bytes() const { return total_bytes() - header_bytes(); }
  const uint8_t* payload() const { return p_ + header_bytes(); }
  const uint8_t* data() const { return p_; }
  uint8_t tos() const { return p_[1]; }
  uint16_t id() const { return LoadBig16(p_ + 4); }
  bool dont_fragment() const { return (p_[6] & 0x40) != 0; }
  bool more_fragments() const { return (p_[6] & 0x20) != 0; }
  size_t fragment_offset_bytes() const { return size_t{LoadBig16(p_ + 6) & 0x1fffu} * 8; }
  bool is_fragment() const { return (LoadBig16(p_ + 6) & 0x3fff) != 0; }
  uint8_t ttl() const { return p_[8]; }
  IpProtocol protocol() const { return static_cast<IpProtocol>(p_[9]); }
  IpAddress source() const { return IpAddress::V4(p_ + 12); }
  IpAddress destination() const { return IpAddress::V4(p_ + 16); }
  bool ChecksumIsGood() const {
    if (header_bytes() != kIpv4HeaderBytes) [[unlikely]]
      return Checksum({p_, header_bytes()}) == 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < kIpv4HeaderBytes; i += 4) sum = AddFourToChecksum(sum, p_ + i);
    return FinishChecksum(sum) == 0;
  }

 private:
  const uint8_t* p_ = nullptr;
};

// A header without options.
struct Ipv4Fields {
  uint8_t tos = 0;
  uint16_t total_bytes = 0;  // header included
  uint16_t id = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  uint16_t fragment_offset_bytes = 0;  // a multiple of 8
  uint8_t ttl = 64;
  IpProtocol protocol = IpProtocol::kUdp;
  IpAddress source;
  IpAddress destination;

  // 20 bytes, checksum included.
  void Write(uint8_t* to) const {
    to[0] = 0x45;
    to[1] = tos;
    StoreBig16(to + 2, total_bytes);
    StoreBig16(to + 4, id);
    StoreBig16(to + 6,
               static_cast<uint16_t>((dont_fragment ? 0x4000 : 0) | (more_fragments ? 0x2000 : 0) |
                                     fragment_offset_bytes / 8));
    to[8] = ttl;
    to[9] = static_cast<uint8_t>(protocol);
    StoreBig16(to + 10, 0);
    std::memcpy(to + 12, source.bytes() + 12, 4);
    std::memcpy(to + 16, destination.bytes() + 12, 4);
    StoreBig16(to + 10, Checksum({to, kIpv4HeaderBytes}));
  }
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_IPV4_H_
