// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing packed integers in network byte order.
//
// ByteReader and ByteWriter check bounds and remember a failure, so that a parser may read a whole
// header and ask once whether all of it was there. LoadBig and StoreBig are the unchecked
// operations beneath, for code that has checked the size of a fixed header already.
//
//   weft::ByteReader reader(packet);
//   uint16_t port;
//   uint32_t sequence;
//   absl::Span<const uint8_t> token;
//   reader.ReadU16(&port);
//   reader.ReadU32(&sequence);
//   reader.ReadBytes(8, &token);
//   if (!reader.ok()) return;  // Truncated.

#ifndef WEFT_CORE_BYTES_H_
#define WEFT_CORE_BYTES_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/types/span.h"

namespace weft {

namespace internal {

// Not byte by byte: where much else is stored around it, compilers do not see one store in four,
// and put together in vector registers what is faster swapped.
template <typename T>
constexpr T LoadBig(const uint8_t* p) {
  T value = 0;
  if (!std::is_constant_evaluated() && std::endian::native == std::endian::little) {
    std::memcpy(&value, p, sizeof(value));
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  }
  for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value << 8 | p[i]);
  return value;
}
template <typename T>
constexpr void StoreBig(uint8_t* p, T value) {
  if (!std::is_constant_evaluated() && std::endian::native == std::endian::little) {
    value = LoadBig<T>(reinterpret_cast<const uint8_t*>(&value));
    std::memcpy(p, &value, sizeof(value));
    return;
  }
  for (size_t i = sizeof(T); i > 0; --i, value = static_cast<T>(value >> 8)) {
    p[i - 1] = static_cast<uint8_t>(value);
  }
}

}  // namespace internal

// Integers at any address, whether aligned or not. The bytes must exist.
constexpr uint16_t LoadBig16(const uint8_t* p) { return internal::LoadBig<uint16_t>(p); }
constexpr uint32_t LoadBig32(const uint8_t* p) { return internal::LoadBig<uint32_t>(p); }
constexpr uint64_t LoadBig64(const uint8_t* p) { return internal::LoadBig<uint64_t>(p); }

constexpr void StoreBig16(uint8_t* p, uint16_t value) { internal::StoreBig(p, value); }
constexpr void StoreBig32(uint8_t* p, uint32_t value) { internal::StoreBig(p, value); }
constexpr void StoreBig64(uint8_t* p, uint64_t value) { internal::StoreBig(p, value); }

// Reads from the front of bytes that it does not own and that must outlive it and what it hands
// out. A read that does not fit consumes nothing, leaves its result as it was and returns false,
// and so does every read after it.
class ByteReader {
 public:
  constexpr explicit ByteReader(absl::Span<const uint8_t> bytes)
      : next_(bytes.data()), remaining_(bytes.size()) {}

  [[nodiscard]] constexpr size_t remaining() const { return remaining_; }

  // Whether every read so far has succeeded.
  [[nodiscard]] constexpr bool ok() const { return ok_; }

  constexpr bool ReadU8(uint8_t* value) {
    const uint8_t* const p = Take(1);
    if (p == nullptr) return false;
    *value = *p;
    return true;
  }
  constexpr bool ReadU16(uint16_t* value) {
    const uint8_t* const p = Take(2);
    if (p == nullptr) return false;
    *value = LoadBig16(p);
    return true;
  }
  constexpr bool ReadU32(uint32_t* value) {
    const uint8_t* const p = Take(4);
    if (p == nullptr) return false;
    *value = LoadBig32(p);
    return true;
  }
  constexpr bool ReadU64(uint64_t* value) {
    const uint8_t* const p = Take(8);
    if (p == nullptr) return false;
    *value = LoadBig64(p);
    return true;
  }

  // `n` bytes, which are not copied. With n = 0 it succeeds unless an earlier read failed.
  constexpr bool ReadBytes(size_t n, absl::Span<const uint8_t>* bytes) {
    const uint8_t* const p = next_;
    if (!Skip(n)) return false;
    *bytes = absl::Span<const uint8_t>(p, n);
    return true;
  }
  constexpr bool Skip(size_t n) {
    ok_ = ok_ && n <= remaining_;
    if (!ok_) return false;
    next_ += n;
    remaining_ -= n;
    return true;
  }

 private:
  // The next `n` bytes, n > 0; null when they are not there.
  constexpr const uint8_t* Take(size_t n) {
    const uint8_t* const p = next_;
    return Skip(n) ? p : nullptr;
  }

  const uint8_t* next_;
  size_t remaining_;
  bool ok_ = true;
};

// Writes to the front of bytes that it does not own. A write that does not fit changes nothing and
// returns false, and so does every write after it.
class ByteWriter {
 public:
  constexpr explicit ByteWriter(absl::Span<uint8_t> bytes)
      : begin_(bytes.data()), remaining_(bytes.size()) {}

  // How many bytes have been written, and how many more would fit.
  [[nodiscard]] constexpr size_t written() const { return written_; }
  [[nodiscard]] constexpr size_t remaining() const { return remaining_; }

  // Whether every write so far has succeeded.
  [[nodiscard]] constexpr bool ok() const { return ok_; }

  constexpr bool WriteU8(uint8_t value) {
    uint8_t* const p = Take(1);
    if (p == nullptr) return false;
    *p = value;
    return true;
  }
  constexpr bool WriteU16(uint16_t value) {
    uint8_t* const p = Take(2);
    if (p == nullptr) return false;
    StoreBig16(p, value);
    return true;
  }
  constexpr bool WriteU32(uint32_t value) {
    uint8_t* const p = Take(4);
    if (p == nullptr) return false;
    StoreBig32(p, value);
    return true;
  }
  constexpr bool WriteU64(uint64_t value) {
    uint8_t* const p = Take(8);
    if (p == nullptr) return false;
    StoreBig64(p, value);
    return true;
  }

  // A copy of `bytes`, which must not overlap the writer's own.
  bool WriteBytes(absl::Span<const uint8_t> bytes) {
    // No bytes may have no address, which memcpy does not take.
    if (bytes.empty()) return ok_;
    uint8_t* const p = Take(bytes.size());
    if (p == nullptr) return false;
    std::memcpy(p, bytes.data(), bytes.size());
    return true;
  }

 private:
  // Room for the next `n` bytes, n > 0; null when there is none.
  constexpr uint8_t* Take(size_t n) {
    ok_ = ok_ && n <= remaining_;
    if (!ok_) return nullptr;
    uint8_t* const p = begin_ + written_;
    written_ += n;
    remaining_ -= n;
    return p;
  }

  uint8_t* begin_;
  size_t written_ = 0;
  size_t remaining_;
  bool ok_ = true;
};

}  // namespace weft

#endif  // WEFT_CORE_BYTES_H_
