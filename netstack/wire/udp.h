// SPDX-License-Identifier: Apache-2.0
//
// UDP headers (RFC 768).
#ifndef WEFT_NETSTACK_WIRE_UDP_H_
#define WEFT_NETSTACK_WIRE_UDP_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::netstack {

inline constexpr size_t kUdpHeaderBytes = 8;
inline constexpr size_t kUdpChecksumOffset = 6;

class UdpView {
 public:
  // False where the header is not whole or its length does not fit the IP payload `bytes`.
  static bool Parse(absl::Span<const uint8_t> bytes, UdpView* view) {
    if (bytes.size() < kUdpHeaderBytes) return false;
    const size_t length = LoadBig16(bytes.data() + 4);
    if (length < kUdpHeaderBytes || length > bytes.size()) return false;
    view->p_ = bytes.data();
    return true;
  }

  uint16_t source_port() const { return LoadBig16(p_); }
  uint16_t destination_port() const { return LoadBig16(p_ + 2); }
  size_t length_bytes() const { return LoadBig16(p_ + 4); }  // header included
  size_t payload_bytes() const { return length_bytes() - kUdpHeaderBytes; }
  const uint8_t* payload() const { return p_ + kUdpHeaderBytes; }
  uint16_t checksum() const { return LoadBig16(p_ + kUdpChecksumOffset); }  // 0: none

 private:
  const uint8_t* p_ = nullptr;
};

inline void WriteUdp(uint8_t* to, uint16_t source_port, uint16_t destination_port,
                     uint16_t length_bytes, uint16_t checksum) {
  StoreBig16(to, source_port);
  StoreBig16(to + 2, destination_port);
  StoreBig16(to + 4, length_bytes);
  StoreBig16(to + kUdpChecksumOffset, checksum);
}

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_UDP_H_
