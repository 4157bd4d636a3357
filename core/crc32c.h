// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C: a checksum that finds what wires, adapters and memories do to bytes by accident: all
// errors of up to 32 bits in a row, and of any 5 bits within 655 bytes or 3 within megabytes
// (Castagnoli, Braeuer and Herrmann, "Optimization of Cyclic Redundancy-Check Codes with 24 and 32
// Parity Bits", IEEE Transactions on Communications 1993; RFC 3385). No protection against anybody
// who changes them on purpose.
//
//   uint32_t crc = ExtendCrc32c(Crc32c(header), payload);
#ifndef WEFT_CORE_CRC32C_H_
#define WEFT_CORE_CRC32C_H_

#include <cstdint>

#include "absl/types/span.h"

namespace weft {

// Of the bytes that gave `crc` (0: none) and of `bytes` behind them. By the processor's instruction
// where it has one (x86-64 with SSE 4.2: some 8 bytes in 3 cycles), else by tables.
uint32_t ExtendCrc32c(uint32_t crc, absl::Span<const uint8_t> bytes);

inline uint32_t Crc32c(absl::Span<const uint8_t> bytes) { return ExtendCrc32c(0, bytes); }

namespace internal {

uint32_t ExtendCrc32cByTable(uint32_t crc, absl::Span<const uint8_t> bytes);

}  // namespace internal
}  // namespace weft

#endif  // WEFT_CORE_CRC32C_H_
