// SPDX-License-Identifier: Apache-2.0
//
// The options of a TCP header: maximum segment size (RFC 9293, 3.7.1), window scale and timestamps
// (RFC 7323), SACK (RFC 2018), user timeout (RFC 5482).
//
//   const SegmentOptions options = ParseSegmentOptions(view.options());
//   if (options.has_timestamps) ...
//
//   uint8_t room[kTcpOptionBytesMax];
//   size_t n = WriteSegmentOptions({.mss = 1460, .sack_permitted = true}, room);
//
// MSS, window scale and "SACK permitted" mean something in a SYN only; whether the segment is one
// is for the caller to see.
#ifndef WEFT_TCP_SEGMENT_OPTIONS_H_
#define WEFT_TCP_SEGMENT_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

inline constexpr uint8_t kWindowScaleMax = 14;  // RFC 7323, 2.2
inline constexpr size_t kSackBlocksMax = 4;     // as many as fit; 3 beside timestamps
inline constexpr size_t kTimestampBytes = 12;   // with what aligns them

struct SegmentOptions {
  uint16_t mss = 0;  // 0: not said
  bool has_window_scale = false;
  bool sack_permitted = false;
  bool has_timestamps = false;
  bool has_user_timeout = false;
  uint8_t window_scale = 0;  // a peer's larger one is kWindowScaleMax (RFC 7323, 2.3)
  uint8_t sack_count = 0;
  uint8_t malformed = 0;  // options that were ignored as their lengths are wrong
  uint32_t timestamp_value = 0;
  uint32_t timestamp_echo = 0;
  uint32_t user_timeout_s = 0;          // 1 to 1,966,020; in whole minutes above 32,767
  SeqRange sacks[kSackBlocksMax] = {};  // as they stand there: not checked against any window

  absl::Span<const SeqRange> sack_blocks() const { return {sacks, sack_count}; }
};

// `bytes`: TcpView::options(). Never fails: what is not known is skipped (RFC 9293, MUST-6); a
// known option of the wrong length is ignored and counted; behind a length that is less than 2 or
// leads beyond the end nothing more is read, and that is counted too (MUST-7). Of options that come
// twice the last one holds.
SegmentOptions ParseSegmentOptions(absl::Span<const uint8_t> bytes);

// Bytes that WriteSegmentOptions() writes: a multiple of 4, at most kTcpOptionBytesMax.
size_t SegmentOptionsBytes(const SegmentOptions& options);

// Writes them to `to`, which has kTcpOptionBytesMax bytes, in the order and with the padding that
// Linux has, so that peers find their short cuts. Of SACK blocks as many as there is room for, the
// first ones. Returns the bytes written.
size_t WriteSegmentOptions(const SegmentOptions& options, uint8_t* to);

// How many SACK blocks fit a segment that has timestamps or not, and nothing else.
constexpr size_t SackRoom(bool timestamps) {
  const size_t room = netstack::kTcpOptionBytesMax - (timestamps ? kTimestampBytes : 0);
  return (room - 4) / 8;
}
static_assert(SackRoom(false) == kSackBlocksMax && SackRoom(true) == 3);

// The timestamps alone, as all segments but the first have them: kTimestampBytes.
void WriteTimestamps(uint32_t value, uint32_t echo, uint8_t* to);

}  // namespace weft::tcp

#endif  // WEFT_TCP_SEGMENT_OPTIONS_H_
