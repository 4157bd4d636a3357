// SPDX-License-Identifier: Apache-2.0
//
// SipHash-2-4: a short keyed hash that nobody predicts who does not know the key (Aumasson and
// Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012; RFC 9293, 3.4.1 wants one for
// initial sequence numbers). Words instead of bytes: what is hashed here has a fixed shape.
//
//   const uint64_t words[] = {a, b};
//   uint64_t hash = SipHash24({.low = 1, .high = 2}, words);
//
// It is here, and not OpenSSL's EVP_MAC, as each SYN of a flood is answered with two or three of
// them: 16 ns each against four times that (siphash_benchmark).
#ifndef WEFT_CORE_SIPHASH_H_
#define WEFT_CORE_SIPHASH_H_

#include <bit>
#include <cstdint>

#include "absl/types/span.h"

namespace weft {

struct SipHashKey {
  uint64_t low = 0;   // the first 8 bytes of the key, little-endian
  uint64_t high = 0;  // the last 8 bytes
};

namespace internal {

struct SipHashState {
  uint64_t v0, v1, v2, v3;

  constexpr void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  constexpr void Add(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }
};

}  // namespace internal

// Of the bytes of `words`, each little-endian.
constexpr uint64_t SipHash24(const SipHashKey& key, absl::Span<const uint64_t> words) {
  internal::SipHashState state = {key.low ^ 0x736f6d6570736575, key.high ^ 0x646f72616e646f6d,
                                  key.low ^ 0x6c7967656e657261, key.high ^ 0x7465646279746573};
  for (const uint64_t word : words) state.Add(word);
  // The last block: no bytes that are left over, and the length modulo 256 on top.
  state.Add(static_cast<uint64_t>(words.size() * 8) << 56);
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace weft

#endif  // WEFT_CORE_SIPHASH_H_
