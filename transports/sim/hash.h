// SPDX-License-Identifier: Apache-2.0
//
// A fast 64-bit hash that is the same on every machine: detects differences and damage, resists no
// attacker.
#ifndef WEFT_TRANSPORTS_SIM_HASH_H_
#define WEFT_TRANSPORTS_SIM_HASH_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::sim {

// `hash` extended by a number. A bijection of `hash` for each number, so that a difference is never
// lost again.
constexpr uint64_t HashNumber(uint64_t hash, uint64_t number) {
  hash = (hash ^ number) * 0x9fb21c651e98df25;
  return hash ^ (hash >> 32);
}

// `hash` extended by bytes and their number.
constexpr uint64_t HashBytes(uint64_t hash, absl::Span<const uint8_t> bytes) {
  hash = HashNumber(hash, bytes.size());
  for (; bytes.size() >= 8; bytes.remove_prefix(8))
    hash = HashNumber(hash, LoadBig64(bytes.data()));
  uint64_t rest = 0;
  for (const uint8_t byte : bytes) rest = rest << 8 | byte;
  return bytes.empty() ? hash : HashNumber(hash, rest);
}

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_HASH_H_
