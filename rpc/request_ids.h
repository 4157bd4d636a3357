// SPDX-License-Identifier: Apache-2.0
//
// A keyed permutation of the 16-bit numbers: turns a counter into request ids that do not repeat
// within 65,536 calls and that nobody without the key can foresee, and back, so that no table of
// ids is needed.
#ifndef WEFT_RPC_REQUEST_IDS_H_
#define WEFT_RPC_REQUEST_IDS_H_

#include <array>
#include <cstdint>

#include "absl/random/random.h"
#include "weft/core/prng.h"

namespace weft::rpc {

// A Feistel network over two bytes whose round functions are random tables (Luby and Rackoff: four
// rounds of random functions are a strong pseudorandom permutation).
class RequestIds {
 public:
  // Draws a key from the system's randomness.
  RequestIds() {
    absl::BitGen random;
    Fill([&random] { return absl::Uniform<uint8_t>(random); });
  }
  // A key that can be foreseen: for simulations.
  explicit RequestIds(uint64_t seed) {
    Prng random(seed);
    Fill([&random] { return static_cast<uint8_t>(random.Next()); });
  }

  uint16_t Encode(uint16_t sequence) const {
    uint8_t left = sequence >> 8;
    uint8_t right = sequence & 0xFF;
    for (const auto& round : rounds_) {
      const uint8_t next = left ^ round[right];
      left = right;
      right = next;
    }
    return static_cast<uint16_t>(left << 8 | right);
  }

  uint16_t Decode(uint16_t id) const {
    uint8_t left = id >> 8;
    uint8_t right = id & 0xFF;
    for (auto round = rounds_.rbegin(); round != rounds_.rend(); ++round) {
      const uint8_t previous = right ^ (*round)[left];
      right = left;
      left = previous;
    }
    return static_cast<uint16_t>(left << 8 | right);
  }

 private:
  template <typename F>
  void Fill(F byte) {
    for (auto& round : rounds_) {
      for (uint8_t& value : round) value = byte();
    }
  }

  std::array<std::array<uint8_t, 256>, 4> rounds_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_REQUEST_IDS_H_
