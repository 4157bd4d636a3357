// SPDX-License-Identifier: Apache-2.0
//
// Packets for tests, made by hand from the RFCs' figures, without the code under test.
//
//   Bytes packet = Ipv4Packet({.id = 7, .more = true}, Pattern(64));
//   EXPECT_EQ(NaiveChecksum(Slice(packet, 0, 20)), 0);
#ifndef WEFT_NETSTACK_TEST_PACKETS_H_
#define WEFT_NETSTACK_TEST_PACKETS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

using Bytes = std::vector<uint8_t>;

// Hexadecimal digits; spaces are skipped.
Bytes FromHex(absl::string_view hex);
Bytes Slice(absl::Span<const uint8_t> bytes, size_t from, size_t n = SIZE_MAX);
Bytes Join(absl::Span<const Bytes> pieces);
// `n` bytes that differ from place to place, and with `seed`.
Bytes Pattern(size_t n, uint64_t seed = 1);

// As RFC 1071 says it: 16-bit words in network order, an odd byte padded by zero, the carry added
// back, complemented.
uint16_t NaiveChecksum(absl::Span<const uint8_t> bytes);
// Of a TCP, UDP or ICMPv6 message with its pseudo-header; 0 where its checksum is good.
uint16_t NaiveL4Checksum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                         absl::Span<const uint8_t> message);

struct Ipv4Spec {
  const char* source = "10.0.0.1";
  const char* destination = "10.0.0.2";
  uint16_t id = 1;
  size_t offset = 0;
  bool more = false;
  bool dont_fragment = false;
  uint8_t protocol = 17;
  uint8_t tos = 0;
  Bytes options = {};  // a multiple of 4
};
Bytes Ipv4Packet(const Ipv4Spec& spec, const Bytes& payload);

struct Ipv6Spec {
  const char* source = "fd00::1";
  const char* destination = "fd00::2";
  uint8_t next_header = 17;  // of the fixed header
  uint8_t traffic_class = 0;
};
// `payload` begins with extension headers, if any.
Bytes Ipv6Packet(const Ipv6Spec& spec, const Bytes& payload);

struct FragmentSpec {
  uint32_t id = 1;
  size_t offset = 0;
  bool more = false;
  uint8_t next_header = 17;
};
// A fragment header with what follows it.
Bytes Ipv6FragmentPayload(const FragmentSpec& spec, const Bytes& payload);

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_TEST_PACKETS_H_
