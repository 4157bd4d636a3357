// SPDX-License-Identifier: Apache-2.0
//
// Which numbers have been received: exact for the last kWindow of them, while older ones count as
// received. The ring of bits of RFC 6479, in which nothing is shifted.
#ifndef WEFT_RPC_SECURITY_REPLAY_WINDOW_H_
#define WEFT_RPC_SECURITY_REPLAY_WINDOW_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace weft::rpc {

class ReplayWindow {
  static constexpr uint64_t kWords = 64;  // a power of two
  static constexpr uint64_t kBits = 64;

 public:
  // One word is always being refilled.
  static constexpr uint64_t kWindow = (kWords - 1) * kBits;

  // Whether `number` was not marked and is not too old to tell.
  bool IsNew(uint64_t number) const {
    if (number >= end_) [[likely]] {
      return number != UINT64_MAX;  // behind which there is no number
    }
    if (end_ - number > kWindow) return false;
    return (words_[Word(number)] & Bit(number)) == 0;
  }

  // `number`, which must be new, has been received.
  void Mark(uint64_t number) {
    if (number >= end_) [[likely]] {
      // Words between the last one that was used and this one's hold bits of long ago.
      const uint64_t last = end_ == 0 ? 0 : (end_ - 1) / kBits;
      const uint64_t skipped = std::min(number / kBits - last, kWords);
      for (uint64_t i = 1; i <= skipped; ++i) words_[(last + i) % kWords] = 0;
      end_ = number + 1;
    }
    words_[Word(number)] |= Bit(number);
  }

 private:
  static constexpr size_t Word(uint64_t number) { return number / kBits % kWords; }
  static constexpr uint64_t Bit(uint64_t number) { return uint64_t{1} << (number % kBits); }

  uint64_t end_ = 0;  // the number behind the greatest
  std::array<uint64_t, kWords> words_ = {};
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_REPLAY_WINDOW_H_
