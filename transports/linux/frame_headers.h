// SPDX-License-Identifier: Apache-2.0
//
// The headers of a frame with TCP or UDP, as far as the kernel leaves them to be completed by who
// sends or receives it.
#ifndef WEFT_TRANSPORTS_LINUX_FRAME_HEADERS_H_
#define WEFT_TRANSPORTS_LINUX_FRAME_HEADERS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace weft::linux_transport::frame_headers {

inline constexpr size_t kIpv4Bytes = 20;
inline constexpr size_t kIpv6Bytes = 40;
inline constexpr size_t kTcpBytes = 20;
inline constexpr uint8_t kTcp = 6;
inline constexpr uint8_t kUdp = 17;
// Where the checksum is in a TCP header.
inline constexpr size_t kTcpChecksum = 16;

// Where the headers of a frame are that has TCP or UDP directly in IP.
struct Headers {
  size_t l3 = 0;
  size_t l4 = 0;
  size_t l4_bytes = 0;  // with its payload
  bool ipv4 = false;
  uint8_t protocol = 0;

  // Of TCP's or UDP's.
  size_t checksum() const;
};

// Of a frame of `frame_bytes`, whose beginning is `frame`. False for all others, fragments among
// them.
bool Find(absl::Span<const uint8_t> frame, size_t frame_bytes, Headers* found);

// The Internet checksum's sum (RFC 1071), folded, not complemented.
uint16_t Sum(absl::Span<const uint8_t> bytes, uint32_t sum = 0);
uint16_t PseudoHeaderSum(const uint8_t* ip, bool ipv4, uint8_t protocol, size_t l4_bytes);
void FillIpv4Checksum(uint8_t* ip, size_t bytes);

}  // namespace weft::linux_transport::frame_headers

#endif  // WEFT_TRANSPORTS_LINUX_FRAME_HEADERS_H_
