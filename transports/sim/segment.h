// SPDX-License-Identifier: Apache-2.0
//
// What simulated streams send each other: a piece of a stream, numbered by bytes as in TCP (RFC
// 9293).
//
//   0        8       16       24       32       40       44       48
//   | checksum | from   | to     | seq    | ack    | window | flags  | payload ...
//
// All in network byte order. The end of a stream takes the number behind its last byte.
#ifndef WEFT_TRANSPORTS_SIM_SEGMENT_H_
#define WEFT_TRANSPORTS_SIM_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/transports/sim/hash.h"

namespace weft::sim {

struct Segment {
  static constexpr size_t kHeaderBytes = 48;
  static constexpr size_t kMaxPayloadBytes = 1452;

  // Flags.
  static constexpr uint32_t kSyn = 1;     // wants to connect; `to` is unknown yet, so 0
  static constexpr uint32_t kAck = 2;     // `ack` and `window` hold
  static constexpr uint32_t kFin = 4;     // the stream ends behind the payload
  static constexpr uint32_t kReset = 8;   // the stream is no more
  static constexpr uint32_t kProbe = 16;  // wants an answer, to learn the window

  uint64_t from = 0;    // stream of the sender
  uint64_t to = 0;      // stream of the receiver
  uint64_t seq = 0;     // number of the first byte of the payload
  uint64_t ack = 0;     // everything before it has arrived
  uint32_t window = 0;  // bytes that may follow it
  uint32_t flags = 0;
  absl::Span<const uint8_t> payload;

  bool Has(uint32_t flag) const { return (flags & flag) != 0; }
  // The number behind this segment.
  uint64_t end() const { return seq + payload.size() + (Has(kFin) ? 1 : 0); }
};

// Writes the header in front of a payload that lies there already; `bytes` is both.
inline void SealSegment(const Segment& segment, absl::Span<uint8_t> bytes) {
  uint8_t* p = bytes.data();
  StoreBig64(p + 8, segment.from);
  StoreBig64(p + 16, segment.to);
  StoreBig64(p + 24, segment.seq);
  StoreBig64(p + 32, segment.ack);
  StoreBig32(p + 40, segment.window);
  StoreBig32(p + 44, segment.flags);
  StoreBig64(p, HashBytes(0, bytes.subspan(8)));
}

// Nothing if the bytes are no segment or were damaged. The payload lies within `bytes`.
inline std::optional<Segment> ParseSegment(absl::Span<const uint8_t> bytes) {
  if (bytes.size() < Segment::kHeaderBytes) return std::nullopt;
  const uint8_t* p = bytes.data();
  if (LoadBig64(p) != HashBytes(0, bytes.subspan(8))) return std::nullopt;
  return Segment{.from = LoadBig64(p + 8),
                 .to = LoadBig64(p + 16),
                 .seq = LoadBig64(p + 24),
                 .ack = LoadBig64(p + 32),
                 .window = LoadBig32(p + 40),
                 .flags = LoadBig32(p + 44),
                 .payload = bytes.subspan(Segment::kHeaderBytes)};
}

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_SEGMENT_H_
