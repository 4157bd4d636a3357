// SPDX-License-Identifier: Apache-2.0
//
// memcpy for messages, most of which are short: without a call up to 256 bytes.
#ifndef WEFT_TRANSPORTS_SHM_COPY_H_
#define WEFT_TRANSPORTS_SHM_COPY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weft::shm {

namespace internal {

// Two copies of a fixed size that meet or overlap in the middle: any size in [kHalf, 2 * kHalf].
template <size_t kHalf>
inline void CopyEnds(uint8_t* to, const uint8_t* from, size_t size) {
  uint8_t first[kHalf], last[kHalf];
  std::memcpy(first, from, kHalf);
  std::memcpy(last, from + size - kHalf, kHalf);
  std::memcpy(to, first, kHalf);
  std::memcpy(to + size - kHalf, last, kHalf);
}

}  // namespace internal

// Copies exactly `size` bytes: rounding up would show a peer what other messages left behind. The
// ranges do not overlap. The other side may be writing to `from` meanwhile; the copy is then a
// mixture, but nothing later looks at `from` again.
inline void CopyBytes(uint8_t* to, const uint8_t* from, size_t size) {
  if (size > 256) [[unlikely]] {
    std::memcpy(to, from, size);
  } else if (size > 64) {
    size_t done = 0;
    do {
      std::memcpy(to + done, from + done, 64);
      done += 64;
    } while (size - done > 64);
    std::memcpy(to + size - 64, from + size - 64, 64);
  } else if (size > 32) {
    internal::CopyEnds<32>(to, from, size);
  } else if (size > 16) {
    internal::CopyEnds<16>(to, from, size);
  } else if (size >= 8) {
    internal::CopyEnds<8>(to, from, size);
  } else {
    for (size_t i = 0; i < size; ++i) to[i] = from[i];
  }
  // The compiler may not turn a later read of `to` into another read of `from`.
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_COPY_H_
