// SPDX-License-Identifier: Apache-2.0
//
// Prng: random numbers that a seed reproduces on every machine and compiler, for simulation and
// fault injection. The engines of <random> are portable, its distributions are not; here both are
// fixed. Not for secrets.
//
// The generator is xoshiro256** 1.0, seeded through SplitMix64 (Blackman and Vigna, "Scrambled
// Linear Pseudorandom Number Generators", ACM TOMS 2021; prng.di.unimi.it).

#ifndef WEFT_CORE_PRNG_H_
#define WEFT_CORE_PRNG_H_

#include <bit>
#include <cassert>
#include <cstdint>

namespace weft {

// A plain value; not thread-safe.
class Prng {
 public:
  explicit constexpr Prng(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }

  // 64 uniform bits.
  constexpr uint64_t Next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound); `bound` is at least 1. Unbiased (Lemire, "Fast Random Integer Generation
  // in an Interval", ACM TOMACS 2019).
  constexpr uint64_t Below(uint64_t bound) {
    assert(bound > 0);
    auto product = static_cast<unsigned __int128>(Next()) * bound;
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t threshold = -bound % bound;
      while (static_cast<uint64_t>(product) < threshold) {
        product = static_cast<unsigned __int128>(Next()) * bound;
      }
    }
    return static_cast<uint64_t>(product >> 64);
  }

  // Uniform in [0, 1), a multiple of 2^-53.
  constexpr double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

  // True with the given probability; 0 or less never, 1 or more always.
  constexpr bool Chance(double probability) { return Unit() < probability; }

 private:
  uint64_t state_[4] = {};
};

}  // namespace weft

#endif  // WEFT_CORE_PRNG_H_
