// SPDX-License-Identifier: Apache-2.0
//
// The messages of config.proto: weft::config::Config and its parts.
//
// Accessors give the schema's default for a field that is not set, so a
// `Config{}` is complete: `config.host().loop().spin_us()` is 50.

#ifndef WEFT_CONFIG_CONFIG_H_
#define WEFT_CONFIG_CONFIG_H_

// GCC's GNU dialects define `linux` as 1, which would break the field of that name.
#undef linux

#include <cstdint>

#include "weft/config/config.pb.h"  // IWYU pragma: export

namespace weft::config {

// Buffers.count of a transport that pins its buffers' memory for a device.
inline uint32_t PinnedCount(const Buffers& buffers) {
  constexpr uint32_t kDefault = 4096;
  return buffers.has_count() ? buffers.count() : kDefault;
}

// Buffers.bytes of a transport whose packets are Ethernet's.
inline uint32_t EthernetBytes(const Buffers& buffers) {
  constexpr uint32_t kDefault = 2048;
  return buffers.has_bytes() ? buffers.bytes() : kDefault;
}

}  // namespace weft::config

#endif  // WEFT_CONFIG_CONFIG_H_
