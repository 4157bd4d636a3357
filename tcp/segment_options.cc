// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/segment_options.h"

#include <algorithm>

#include "weft/core/bytes.h"

namespace weft::tcp {
namespace {

// Kinds (iana.org/assignments/tcp-parameters) and their lengths.
constexpr uint8_t kEnd = 0;
constexpr uint8_t kNop = 1;
constexpr uint8_t kMss = 2;
constexpr uint8_t kMssBytes = 4;
constexpr uint8_t kWindowScale = 3;
constexpr uint8_t kWindowScaleBytes = 3;
constexpr uint8_t kSackPermitted = 4;
constexpr uint8_t kSackPermittedBytes = 2;
constexpr uint8_t kSack = 5;
constexpr uint8_t kTimestamps = 8;
constexpr uint8_t kTimestampsBytes = 10;
constexpr uint8_t kUserTimeout = 28;
constexpr uint8_t kUserTimeoutBytes = 4;

// The timestamps, aligned by two NOPs (RFC 7323, appendix A), as one word.
constexpr uint32_t kAlignedTimestamps = 0x0101080a;

constexpr uint32_t kUserTimeoutMinutes = 0x8000;
constexpr uint32_t kUserTimeoutMax = 0x7fff;

uint32_t Word(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

bool ReadSack(absl::Span<const uint8_t> option, SegmentOptions* out) {
  const size_t count = (option.size() - 2) / 8;
  if (count == 0 || count > kSackBlocksMax || option.size() != 2 + count * 8) return false;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* const block = option.data() + 2 + i * 8;
    out->sacks[i] = {Seq(LoadBig32(block)), Seq(LoadBig32(block + 4))};
  }
  out->sack_count = static_cast<uint8_t>(count);
  return true;
}

void ReadTimestamps(const uint8_t* at, SegmentOptions* out) {
  out->has_timestamps = true;
  out->timestamp_value = LoadBig32(at);
  out->timestamp_echo = LoadBig32(at + 4);
}

bool ReadUserTimeout(const uint8_t* at, SegmentOptions* out) {
  const uint32_t word = LoadBig16(at);
  const uint32_t timeout_s =
      (word & kUserTimeoutMinutes) != 0 ? (word & kUserTimeoutMax) * 60 : word;
  if (timeout_s == 0) return false;  // RFC 5482, 3.3
  out->has_user_timeout = true;
  out->user_timeout_s = timeout_s;
  return true;
}

// `option`: whole, kind and length included. False: it is not as it should be.
bool ReadOption(absl::Span<const uint8_t> option, SegmentOptions* out) {
  const uint8_t* const value = option.data() + 2;
  switch (option[0]) {
    case kMss:
      if (option.size() != kMssBytes) return false;
      out->mss = LoadBig16(value);
      return true;
    case kWindowScale:
      if (option.size() != kWindowScaleBytes) return false;
      out->has_window_scale = true;
      out->window_scale = std::min(*value, kWindowScaleMax);
      return true;
    case kSackPermitted:
      if (option.size() != kSackPermittedBytes) return false;
      out->sack_permitted = true;
      return true;
    case kSack:
      return ReadSack(option, out);
    case kTimestamps:
      if (option.size() != kTimestampsBytes) return false;
      ReadTimestamps(value, out);
      return true;
    case kUserTimeout:
      return option.size() == kUserTimeoutBytes && ReadUserTimeout(value, out);
    default:
      return true;
  }
}

size_t SacksThatFit(const SegmentOptions& options, size_t bytes) {
  const size_t room = netstack::kTcpOptionBytesMax - bytes;
  if (options.sack_count == 0 || room < 12) return 0;
  return std::min({size_t{options.sack_count}, kSackBlocksMax, (room - 4) / 8});
}

size_t BytesBeforeSacks(const SegmentOptions& options) {
  return (options.mss != 0 ? 4 : 0) + (options.has_timestamps ? kTimestampBytes : 0) +
         (options.sack_permitted && !options.has_timestamps ? 4 : 0) +
         (options.has_window_scale ? 4 : 0) + (options.has_user_timeout ? 4 : 0);
}

}  // namespace

SegmentOptions ParseSegmentOptions(absl::Span<const uint8_t> bytes) {
  SegmentOptions options;
  if (bytes.size() == kTimestampBytes && LoadBig32(bytes.data()) == kAlignedTimestamps) {
    ReadTimestamps(bytes.data() + 4, &options);
    return options;
  }
  while (!bytes.empty() && bytes[0] != kEnd) {
    if (bytes[0] == kNop) {
      bytes.remove_prefix(1);
      continue;
    }
    const size_t length = bytes.size() >= 2 ? bytes[1] : 0;
    if (length < 2 || length > bytes.size()) {
      ++options.malformed;
      break;
    }
    if (!ReadOption(bytes.first(length), &options)) ++options.malformed;
    bytes.remove_prefix(length);
  }
  return options;
}

size_t SegmentOptionsBytes(const SegmentOptions& options) {
  const size_t bytes = BytesBeforeSacks(options);
  const size_t sacks = SacksThatFit(options, bytes);
  return bytes + (sacks > 0 ? 4 + sacks * 8 : 0);
}

size_t WriteSegmentOptions(const SegmentOptions& options, uint8_t* to) {
  uint8_t* at = to;
  const auto word = [&at](uint32_t value) {
    StoreBig32(at, value);
    at += 4;
  };
  if (options.mss != 0) word(Word(kMss, kMssBytes, 0, 0) | options.mss);
  if (options.has_timestamps) {
    // In a SYN "SACK permitted" takes the place of the padding.
    word(options.sack_permitted
             ? Word(kSackPermitted, kSackPermittedBytes, kTimestamps, kTimestampsBytes)
             : kAlignedTimestamps);
    word(options.timestamp_value);
    word(options.timestamp_echo);
  } else if (options.sack_permitted) {
    word(Word(kNop, kNop, kSackPermitted, kSackPermittedBytes));
  }
  if (options.has_window_scale) {
    word(Word(kNop, kWindowScale, kWindowScaleBytes, options.window_scale));
  }
  if (options.has_user_timeout) {
    const uint32_t seconds = std::max(options.user_timeout_s, 1u);
    word(Word(kUserTimeout, kUserTimeoutBytes, 0, 0) |
         (seconds <= kUserTimeoutMax
              ? seconds
              : kUserTimeoutMinutes | std::min(seconds / 60, kUserTimeoutMax)));
  }
  if (const size_t sacks = SacksThatFit(options, static_cast<size_t>(at - to)); sacks > 0) {
    word(Word(kNop, kNop, kSack, static_cast<uint32_t>(2 + sacks * 8)));
    for (size_t i = 0; i < sacks; ++i) {
      word(options.sacks[i].begin.value());
      word(options.sacks[i].end.value());
    }
  }
  return static_cast<size_t>(at - to);
}

void WriteTimestamps(uint32_t value, uint32_t echo, uint8_t* to) {
  StoreBig32(to, kAlignedTimestamps);
  StoreBig32(to + 4, value);
  StoreBig32(to + 8, echo);
}

}  // namespace weft::tcp
