// SPDX-License-Identifier: Apache-2.0
//
// TCP headers (RFC 9293, 3.1). Options are read and written by tcp/segment_options.h.
//
//   TcpView tcp;
//   if (!TcpView::Parse(segment, &tcp)) return;  // malformed
//   if ((tcp.flags() & kTcpSyn) != 0) ...
#ifndef WEFT_NETSTACK_WIRE_TCP_H_
#define WEFT_NETSTACK_WIRE_TCP_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::netstack {

inline constexpr size_t kTcpHeaderBytes = 20;     // without options
inline constexpr size_t kTcpHeaderBytesMax = 60;  // what the data offset can say
inline constexpr size_t kTcpOptionBytesMax = kTcpHeaderBytesMax - kTcpHeaderBytes;

inline constexpr size_t kTcpSequenceOffset = 4;
inline constexpr size_t kTcpAcknowledgmentOffset = 8;
inline constexpr size_t kTcpDataOffsetOffset = 12;
inline constexpr size_t kTcpFlagsOffset = 13;
inline constexpr size_t kTcpWindowOffset = 14;
inline constexpr size_t kTcpChecksumOffset = 16;
inline constexpr size_t kTcpUrgentOffset = 18;

// RFC 9293, 3.1; ECE and CWR are of RFC 3168, 6.1.
inline constexpr uint8_t kTcpFin = 0x01;
inline constexpr uint8_t kTcpSyn = 0x02;
inline constexpr uint8_t kTcpReset = 0x04;
inline constexpr uint8_t kTcpPush = 0x08;
inline constexpr uint8_t kTcpAck = 0x10;
inline constexpr uint8_t kTcpUrgent = 0x20;
inline constexpr uint8_t kTcpEce = 0x40;
inline constexpr uint8_t kTcpCwr = 0x80;

// A segment whose header is whole, options included. The checksum is a question of its own, as a
// device may have answered it.
class TcpView {
 public:
  // `bytes`: the IP payload. False where the header is not whole, or its data offset is less than a
  // header has or more than the bytes that are there.
  static bool Parse(absl::Span<const uint8_t> bytes, TcpView* view) {
    if (bytes.size() < kTcpHeaderBytes) return false;
    const size_t header = HeaderBytesOf(bytes.data());
    if (header < kTcpHeaderBytes || header > bytes.size()) return false;
    view->p_ = bytes.data();
    view->bytes_ = bytes.size();
    return true;
  }

  uint16_t source_port() const { return LoadBig16(p_); }
  uint16_t destination_port() const { return LoadBig16(p_ + 2); }
  uint32_t sequence() const { return LoadBig32(p_ + kTcpSequenceOffset); }
  uint32_t acknowledgment() const { return LoadBig32(p_ + kTcpAcknowledgmentOffset); }
  size_t header_bytes() const { return HeaderBytesOf(p_); }
  uint8_t flags() const { return p_[kTcpFlagsOffset]; }
  uint16_t window() const { return LoadBig16(p_ + kTcpWindowOffset); }  // not scaled
  uint16_t checksum() const { return LoadBig16(p_ + kTcpChecksumOffset); }
  uint16_t urgent_pointer() const { return LoadBig16(p_ + kTcpUrgentOffset); }
  absl::Span<const uint8_t> options() const {
    return {p_ + kTcpHeaderBytes, header_bytes() - kTcpHeaderBytes};
  }
  absl::Span<const uint8_t> payload() const { return {p_ + header_bytes(), payload_bytes()}; }
  size_t payload_bytes() const { return bytes_ - header_bytes(); }
  // What the segment takes of the sequence space: SYN and FIN count as a byte each (RFC 9293, 3.4).
  uint32_t sequence_bytes() const {
    return static_cast<uint32_t>(payload_bytes()) + ((flags() & kTcpSyn) != 0 ? 1 : 0) +
           ((flags() & kTcpFin) != 0 ? 1 : 0);
  }

 private:
  static size_t HeaderBytesOf(const uint8_t* p) { return size_t{p[kTcpDataOffsetOffset]} / 16 * 4; }

  const uint8_t* p_ = nullptr;
  size_t bytes_ = 0;
};

// A header; its options follow it.
struct TcpFields {
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint32_t sequence = 0;
  uint32_t acknowledgment = 0;
  size_t header_bytes = kTcpHeaderBytes;  // with options: a multiple of 4, at most 60
  uint8_t flags = 0;
  uint16_t window = 0;
  uint16_t checksum = 0;
  uint16_t urgent_pointer = 0;

  // 20 bytes.
  void Write(uint8_t* to) const {
    StoreBig16(to, source_port);
    StoreBig16(to + 2, destination_port);
    StoreBig32(to + kTcpSequenceOffset, sequence);
    StoreBig32(to + kTcpAcknowledgmentOffset, acknowledgment);
    to[kTcpDataOffsetOffset] = static_cast<uint8_t>(header_bytes / 4 << 4);
    to[kTcpFlagsOffset] = flags;
    StoreBig16(to + kTcpWindowOffset, window);
    StoreBig16(to + kTcpChecksumOffset, checksum);
    StoreBig16(to + kTcpUrgentOffset, urgent_pointer);
  }
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_TCP_H_
