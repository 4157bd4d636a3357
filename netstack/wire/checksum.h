// SPDX-License-Identifier: Apache-2.0
//
// The Internet checksum (RFC 1071), its pseudo-headers (RFC 768, RFC 8200 8.1), and its update when
// a field changes (RFC 1624).
//
// A partial sum is a uint64_t in the byte order of the machine's memory, which RFC 1071 section
// 2(B) allows: it is folded and complemented by FinishChecksum(), whose result is in host order,
// ready for StoreBig16().
#ifndef WEFT_NETSTACK_WIRE_CHECKSUM_H_
#define WEFT_NETSTACK_WIRE_CHECKSUM_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

// Adds `bytes` to `sum`. Only the last piece of a message may have an odd length.
uint64_t AddToChecksum(uint64_t sum, absl::Span<const uint8_t> bytes);

inline uint64_t AddBig16ToChecksum(uint64_t sum, uint16_t host_order) {
  return sum + (std::endian::native == std::endian::little
                    ? static_cast<uint16_t>(host_order << 8 | host_order >> 8)
                    : host_order);
}

// Adds 4 bytes, at any alignment.
inline uint64_t AddFourToChecksum(uint64_t sum, const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return sum + word;
}

// The sum as 16 bits, not complemented, in host order: what FrameOffload::kSendL4Checksum wants in
// the checksum field.
inline uint16_t FoldChecksum(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  const auto folded = static_cast<uint16_t>(sum);
  return std::endian::native == std::endian::little
             ? static_cast<uint16_t>(folded << 8 | folded >> 8)
             : folded;
}
inline uint16_t FinishChecksum(uint64_t sum) { return static_cast<uint16_t>(~FoldChecksum(sum)); }

// The checksum of `bytes`; 0 over bytes that include a good checksum.
inline uint16_t Checksum(absl::Span<const uint8_t> bytes) {
  return FinishChecksum(AddToChecksum(0, bytes));
}

// The pseudo-header of a message of `bytes` (header included) of `protocol`; both addresses are of
// one family.
inline uint64_t PseudoHeaderSum(const IpAddress& source, const IpAddress& destination,
                                uint8_t protocol, size_t bytes) {
  // The length has 32 bits over IPv6; its halves may be added separately.
  uint64_t sum = AddBig16ToChecksum(0, protocol);
  sum = AddBig16ToChecksum(sum, static_cast<uint16_t>(bytes));
  sum = AddBig16ToChecksum(sum, static_cast<uint16_t>(bytes >> 16));
  const auto add_words = [&sum](const IpAddress& ip) {
    uint32_t w[4];
    std::memcpy(w, ip.bytes(), sizeof(w));
    // The mark of a mapped IPv4 address is no part of it.
    sum += uint64_t{w[3]} + (ip.is_v4() ? 0 : uint64_t{w[0]} + w[1] + w[2]);
  };
  add_words(source);
  add_words(destination);
  return sum;
}

// A good checksum after a 16-bit field that it covers went from `before` to `after` (RFC 1624,
// equation 3). All in host order.
inline uint16_t UpdateChecksum(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum =
      static_cast<uint16_t>(~checksum) + uint32_t{static_cast<uint16_t>(~before)} + after;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_CHECKSUM_H_
