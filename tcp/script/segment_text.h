// SPDX-License-Identifier: Apache-2.0
//
// Segments as scripts write them: one that the peer sends, or what one that it receives is to be.
// README.md has the syntax.
#ifndef WEFT_TCP_SCRIPT_SEGMENT_TEXT_H_
#define WEFT_TCP_SCRIPT_SEGMENT_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/buffer.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/engine_stage.h"
#include "weft/tcp/script/words.h"
#include "weft/tcp/seq.h"

namespace weft::tcp::script {

// A header option. Of a segment that is sent they are written as they stand, bytes and all.
struct OptionText {
  enum class Kind : uint8_t {
    kMss,
    kWindowScale,
    kSackPermitted,
    kTimestamps,
    kSack,
    kNop,
    kEnd,
    kRaw
  };
  Kind kind = Kind::kNop;
  bool absent = false;           // "!ts": must not be there
  std::optional<int64_t> value;  // of MSS, scale, timestamp; nothing: any
  std::optional<int64_t> echo;   // nothing: any, or the last one that was heard
  std::vector<SeqRange> blocks;  // relative numbers
  std::vector<uint8_t> raw;
};

// Numbers are relative to the SYN of whose stream they speak; what has no value is not said, and of
// an expected segment may be anything.
struct SegmentText {
  std::optional<uint8_t> flags;
  std::optional<int64_t> begin;
  std::optional<uint32_t> bytes;
  std::optional<int64_t> ack;
  std::optional<int64_t> window;
  Comparison window_is = Comparison::kEqual;
  uint16_t urgent = 0;
  std::optional<std::vector<OptionText>> options;
  bool more_options = false;  // "...": there may be others
  std::optional<uint8_t> ecn;
  std::optional<uint8_t> dscp;
  std::optional<uint8_t> ttl;
};

inline constexpr absl::string_view kFlagLetters = "FSRP.UEW";  // from the lowest bit on
inline constexpr absl::string_view kEcnWords[] = {"not_ect", "ect1", "ect0", "ce"};

// What numbers are relative to.
struct Origins {
  Seq ours;  // the engine's initial sequence number
  Seq peers;
  uint32_t timestamps = 0;  // the engine's first one
};

// What stands behind "<" or, with `expected`, behind ">". InvalidArgument: see Words::Wrong().
absl::StatusOr<SegmentText> ParseSegment(Words& words, bool expected);

// As a script writes it.
std::string ToText(const Heard& heard, const Origins& origins);

// What of `heard` is not as `expected` says: "ack", "win", ...; empty if nothing is.
std::string Difference(const SegmentText& expected, const Heard& heard, const Origins& origins);

// The options of a segment that the peer sends, padded. `last_timestamp`: what it echoes unless the
// text says something else. At most 40 bytes, as the parser has seen to.
std::vector<uint8_t> OptionBytes(const SegmentText& segment, const Origins& origins,
                                 uint32_t last_timestamp);

// The segment with its options, flags, numbers and data; its ports and its window are those of
// `fields`. Null: no buffer is free, or long enough.
Buffer MakeSegment(const SegmentText& segment, const Origins& origins, netstack::TcpFields fields,
                   uint32_t last_timestamp, BufferPool& pool);

}  // namespace weft::tcp::script

#endif  // WEFT_TCP_SCRIPT_SEGMENT_TEXT_H_
