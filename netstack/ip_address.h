// SPDX-License-Identifier: Apache-2.0
//
// IP addresses of both families in one type, and prefixes of them.
//
//   IpAddress server = *IpAddress::Parse("10.0.0.2");
//   IpPrefix network = *IpPrefix::Parse("10.0.0.0/24");
//   network.Contains(server);  // true
#ifndef WEFT_NETSTACK_IP_ADDRESS_H_
#define WEFT_NETSTACK_IP_ADDRESS_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/bytes.h"
#include "weft/transports/address.h"
#include "weft/transports/frame_port.h"

namespace weft::netstack {

// 16 bytes in network order; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). The default value is "::",
// which is nobody.
class IpAddress {
 public:
  constexpr IpAddress() = default;

  // From 4 or 16 bytes in network order, at any alignment.
  static IpAddress V4(const uint8_t* bytes) {
    IpAddress ip;
    ip.words_[1] = kV4Mark;
    std::memcpy(reinterpret_cast<uint8_t*>(ip.words_) + 12, bytes, 4);
    return ip;
  }
  static IpAddress V6(const uint8_t* bytes) {
    IpAddress ip;
    std::memcpy(ip.words_, bytes, 16);
    return ip;
  }
  static IpAddress V4(uint32_t host_order) {
    uint8_t bytes[4];
    StoreBig32(bytes, host_order);
    return V4(bytes);
  }
  static IpAddress FromWords(uint64_t first, uint64_t second) {
    IpAddress ip;
    ip.words_[0] = first;
    ip.words_[1] = second;
    return ip;
  }

  // The IP part of an address of kind kIpv4 or kIpv6.
  static IpAddress From(const Address& address);
  // Its kind is kIpv4 or kIpv6.
  Address ToAddress(uint16_t port, uint32_t scope = 0) const;

  // "10.0.0.1", "fd00::1". InvalidArgument says what would be right.
  static absl::StatusOr<IpAddress> Parse(absl::string_view text);
  std::string ToString() const;

  bool is_v4() const { return words_[0] == 0 && (words_[1] & kV4MarkMask) == kV4Mark; }
  bool is_v6() const { return !is_v4(); }
  // In host order; of an IPv4 address.
  uint32_t v4() const { return LoadBig32(bytes() + 12); }
  // All 16; the 4 of IPv4 begin at 12.
  const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(words_); }
  // As they lie in memory; for hashes and comparisons.
  const uint64_t (&words() const)[2] { return words_; }

  explicit operator bool() const { return (words_[0] | words_[1]) != 0; }
  // "0.0.0.0" or "::".
  bool is_unspecified() const { return words_[0] == 0 && (words_[1] == 0 || words_[1] == kV4Mark); }
  bool is_multicast() const { return is_v4() ? (bytes()[12] & 0xf0) == 0xe0 : bytes()[0] == 0xff; }
  bool is_limited_broadcast() const { return is_v4() && v4() == 0xffffffff; }
  bool is_loopback() const { return is_v4() ? bytes()[12] == 127 : IsV6Loopback(); }
  bool is_link_local() const {
    return is_v4() ? LoadBig16(bytes() + 12) == 0xa9fe : (LoadBig16(bytes()) & 0xffc0) == 0xfe80;
  }

  friend bool operator==(const IpAddress&, const IpAddress&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const IpAddress& ip) {
    return H::combine(std::move(h), ip.words_[0], ip.words_[1]);
  }

 private:
  // The first four bytes of the second word are 00 00 ff ff.
  static constexpr bool kLittle = std::endian::native == std::endian::little;
  static constexpr uint64_t kV4Mark = kLittle ? 0xffff0000u : 0x0000ffff00000000u;
  static constexpr uint64_t kV4MarkMask = kLittle ? 0xffffffffu : 0xffffffff00000000u;

  bool IsV6Loopback() const { return words_[0] == 0 && LoadBig64(bytes() + 8) == 1; }

  uint64_t words_[2] = {0, 0};
};

// The addresses that begin with the first `length` bits of `address`.
struct IpPrefix {
  IpAddress address;   // as it was given: bits behind the prefix are kept
  uint8_t length = 0;  // 0 to 32 or 128

  // "10.0.0.2/24", "fd00::/64".
  static absl::StatusOr<IpPrefix> Parse(absl::string_view text);
  std::string ToString() const;

  // False for an address of the other family.
  bool Contains(const IpAddress& ip) const;
  // The address with the bits behind the prefix cleared.
  IpAddress Network() const;
  // All hosts of an IPv4 network (RFC 919); nobody for IPv6 and for prefixes of 31 and 32 bits (RFC
  // 3021).
  IpAddress Broadcast() const {
    if (!address.is_v4() || length > 30) return IpAddress();
    return IpAddress::V4(address.v4() | (0xffffffffu >> length));
  }

  friend bool operator==(const IpPrefix&, const IpPrefix&) = default;
};

// Where packets for a group go (RFC 1112, 6.4; RFC 2464, 7).
MacAddress MulticastMac(const IpAddress& group);
// The group that a neighbour listens to for its solicitations (RFC 4291, 2.7.1).
IpAddress SolicitedNodeGroup(const IpAddress& ip);
// fe80::/64 with the interface identifier that is made of the MAC address (RFC 4291, appendix A).
IpAddress LinkLocalAddress(const MacAddress& mac);

// "02:00:00:00:00:01".
absl::StatusOr<MacAddress> ParseMac(absl::string_view text);
std::string MacToString(const MacAddress& mac);
// Groups, and everybody: no station has such an address.
inline bool IsGroup(const MacAddress& mac) { return (mac[0] & 1) != 0; }

inline constexpr MacAddress kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_IP_ADDRESS_H_
