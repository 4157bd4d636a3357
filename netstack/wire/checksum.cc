// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/checksum.h"

namespace weft::netstack {

uint64_t AddToChecksum(uint64_t sum, absl::Span<const uint8_t> bytes) {
  const uint8_t* p = bytes.data();
  size_t n = bytes.size();
  // Four words at a time into two sums: halves of 32 bits cannot overflow 64 within 64 KiB.
  uint64_t other = 0;
  for (; n >= 16; n -= 16, p += 16) {
    uint32_t w[4];
    std::memcpy(w, p, sizeof(w));
    sum += uint64_t{w[0]} + w[1];
    other += uint64_t{w[2]} + w[3];
  }
  sum += other;
  for (; n >= 4; n -= 4, p += 4) {
    uint32_t w;
    std::memcpy(&w, p, sizeof(w));
    sum += w;
  }
  if (n >= 2) {
    uint16_t w;
    std::memcpy(&w, p, sizeof(w));
    sum += w;
    p += 2;
    n -= 2;
  }
  if (n == 1) {
    // Padded by a zero byte behind it.
    const uint8_t last[2] = {*p, 0};
    uint16_t w;
    std::memcpy(&w, last, sizeof(w));
    sum += w;
  }
  return sum;
}

}  // namespace weft::netstack
