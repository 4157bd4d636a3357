// SPDX-License-Identifier: Apache-2.0
//
// Copies out of and into memory that others read and write at the same time: whatever is aligned to
// 8 bytes there is copied as one, as is each aligned 4, 2 or 1 of what is left at the ends, so that
// nobody sees half of a small write (remote_memory.h). In ascending order; a reader that has seen a
// word sees those below it.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_WORD_COPY_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_WORD_COPY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weft::emulated {
namespace internal {

template <typename Word>
inline void LoadWord(uint8_t* to, const uint8_t* from) {
  auto* const shared = reinterpret_cast<Word*>(const_cast<uint8_t*>(from));
  const Word word = std::atomic_ref<Word>(*shared).load(std::memory_order_acquire);
  std::memcpy(to, &word, sizeof(word));
}

template <typename Word>
inline void StoreWord(uint8_t* to, const uint8_t* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  std::atomic_ref<Word>(*reinterpret_cast<Word*>(to)).store(word, std::memory_order_release);
}

// `shared`: the address whose alignment counts. Calls copy.operator()<Word>(offset).
template <typename Copy>
inline void ByWords(const uint8_t* shared, size_t size, Copy copy) {
  const auto address = reinterpret_cast<uintptr_t>(shared);
  size_t at = 0;
  const auto one = [&]<typename Word>(Word) {
    if (size - at >= sizeof(Word) && (address + at) % sizeof(Word) == 0) {
      copy.template operator()<Word>(at);
      at += sizeof(Word);
      return true;
    }
    return false;
  };
  while (at < size && (address + at) % 8 != 0) {
    if (!one(uint32_t{}) && !one(uint16_t{})) one(uint8_t{});
  }
  for (; size - at >= 8; at += 8) copy.template operator()<uint64_t>(at);
  while (at < size) {
    if (!one(uint32_t{}) && !one(uint16_t{})) one(uint8_t{});
  }
}

}  // namespace internal

// `from` is shared, `to` is not; they do not overlap.
inline void CopyFromShared(uint8_t* to, const uint8_t* from, size_t size) {
  internal::ByWords(
      from, size, [&]<typename Word>(size_t at) { internal::LoadWord<Word>(to + at, from + at); });
}

// `to` is shared, `from` is not; they do not overlap.
inline void CopyToShared(uint8_t* to, const uint8_t* from, size_t size) {
  internal::ByWords(
      to, size, [&]<typename Word>(size_t at) { internal::StoreWord<Word>(to + at, from + at); });
}

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_WORD_COPY_H_
