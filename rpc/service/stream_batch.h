// SPDX-License-Identifier: Apache-2.0
//
// How messages of a stream lie in a batch, the body of a PUSH or of a PULL's reply: each behind its
// length, a varint as protobuf has them (at most kLengthBytesMax bytes).
//
//   | length | message | length | message | ...
#ifndef WEFT_RPC_SERVICE_STREAM_BATCH_H_
#define WEFT_RPC_SERVICE_STREAM_BATCH_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace weft::rpc {

inline constexpr size_t kLengthBytesMax = 5;
inline constexpr size_t kStreamMessageBytesMax = size_t{1} << 31;

// Bytes that `length`, below kStreamMessageBytesMax, takes.
constexpr size_t LengthBytes(size_t length) {
  return (static_cast<size_t>(std::bit_width(length | 1)) + 6) / 7;
}

// Writes it and returns where it ends.
constexpr uint8_t* WriteLength(size_t length, uint8_t* out) {
  while (length >= 0x80) {
    *out++ = static_cast<uint8_t>(length | 0x80);
    length >>= 7;
  }
  *out++ = static_cast<uint8_t>(length);
  return out;
}

// Reads the length at the beginning of `bytes` and returns how many bytes it took; 0 if it is none.
constexpr size_t ReadLength(absl::Span<const uint8_t> bytes, size_t* length) {
  size_t value = 0;
  const size_t most = std::min(bytes.size(), kLengthBytesMax);
  for (size_t i = 0; i < most; ++i) {
    value |= size_t{bytes[i] & 0x7Fu} << (7 * i);
    if (bytes[i] < 0x80) {
      *length = value;
      return value < kStreamMessageBytesMax ? i + 1 : 0;
    }
  }
  return 0;
}

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_BATCH_H_
