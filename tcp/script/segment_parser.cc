// SPDX-License-Identifier: Apache-2.0
//
// How segments are written in scripts.
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/script/segment_text.h"

namespace weft::tcp::script {
namespace {

using Kind = OptionText::Kind;

constexpr absl::string_view kAny = "*";

bool ParseFlags(absl::string_view word, uint8_t* flags) {
  if (word == "-") return true;
  for (const char letter : word) {
    const size_t bit = kFlagLetters.find(letter);
    if (bit == absl::string_view::npos) return false;
    *flags |= static_cast<uint8_t>(1u << bit);
  }
  return !word.empty();
}

// BEGIN, BEGIN:END(BYTES) or BEGIN(BYTES), each of which may be any if it is `expected`.
absl::Status ParsePlace(Words& words, bool expected, SegmentText* segment) {
  const bool any = expected && words.Take(kAny);
  if (!any) {
    segment->begin = words.TakeNumber();
    if (!segment->begin) return words.Wrong("where does it begin? Give a sequence number");
  }
  std::optional<int64_t> end;
  if (words.Take(":")) {
    end = words.TakeNumber();
    if (!end) return words.Wrong("where does it end? Give a sequence number");
  }
  if (!words.Take("(")) {
    if (end) return words.Wrong("how long is it? Give (BYTES)");
    if (!any) segment->bytes = 0;
    return absl::OkStatus();
  }
  if (!(expected && words.Take(kAny))) {
    const std::optional<int64_t> bytes = words.TakeNumber();
    constexpr int64_t kBytesMax = 65535;
    if (!bytes || *bytes < 0 || *bytes > kBytesMax) {
      constexpr absl::string_view kWrong = "how long is it? Give bytes, 0 to 65535";
      return bytes ? words.WrongBefore(kWrong) : words.Wrong(kWrong);
    }
    segment->bytes = static_cast<uint32_t>(*bytes);
    if (end && segment->begin && *end - *segment->begin != *bytes) {
      return words.WrongBefore(absl::StrCat(*segment->begin, ":", *end, " are ",
                                            *end - *segment->begin, " bytes, not ", *bytes));
    }
  }
  if (!words.Take(")")) return words.Wrong("')' is missing");
  return absl::OkStatus();
}

// A number within 0 and `most` or, if it is expected, any.
absl::Status ParseValue(Words& words, bool expected, int64_t most, std::optional<int64_t>* value) {
  if (expected && words.Take(kAny)) return absl::OkStatus();
  *value = words.TakeNumber();
  if (*value && **value >= 0 && **value <= most) return absl::OkStatus();
  const std::string wrong = absl::StrCat("give a number, 0 to ", most);
  return *value ? words.WrongBefore(wrong) : words.Wrong(wrong);
}

bool AtEndOfOption(const Words& words) { return words.Peek() == "," || words.Peek() == ">"; }

absl::Status ParseSack(Words& words, OptionText* option) {
  while (!words.done() && !AtEndOfOption(words)) {
    const std::optional<int64_t> begin = words.TakeNumber();
    if (!begin || !words.Take(":")) return words.Wrong("a block is BEGIN:END");
    const std::optional<int64_t> end = words.TakeNumber();
    if (!end) return words.Wrong("a block is BEGIN:END");
    option->blocks.push_back(
        {Seq(static_cast<uint32_t>(*begin)), Seq(static_cast<uint32_t>(*end))});
  }
  return absl::OkStatus();
}

absl::Status ParseOption(Words& words, bool expected, OptionText* option) {
  absl::string_view word = words.Next();
  if (expected && word.size() > 1 && word[0] == '!') {
    option->absent = true;
    word.remove_prefix(1);
  }
  constexpr int64_t k16 = 0xffff, k32 = 0xffffffff, k8 = 0xff;
  const bool bare = option->absent || (expected && AtEndOfOption(words));
  if (word == "mss") {
    option->kind = Kind::kMss;
    return bare ? absl::OkStatus() : ParseValue(words, expected, k16, &option->value);
  }
  if (word == "wscale") {
    option->kind = Kind::kWindowScale;
    return bare ? absl::OkStatus() : ParseValue(words, expected, k8, &option->value);
  }
  if (word == "sack_ok") {
    option->kind = Kind::kSackPermitted;
    return absl::OkStatus();
  }
  if (word == "ts") {
    option->kind = Kind::kTimestamps;
    if (bare) return absl::OkStatus();
    absl::Status status = ParseValue(words, expected, k32, &option->value);
    if (!status.ok() || AtEndOfOption(words)) return status;
    return ParseValue(words, expected, k32, &option->echo);
  }
  if (word == "sack") {
    option->kind = Kind::kSack;
    return ParseSack(words, option);
  }
  if (!expected && word == "nop") {
    option->kind = Kind::kNop;
    return absl::OkStatus();
  }
  if (!expected && word == "eol") {
    option->kind = Kind::kEnd;
    return absl::OkStatus();
  }
  if (!expected && word == "raw") {
    option->kind = Kind::kRaw;
    const absl::string_view hex = words.Next();
    if (hex.empty() || hex.size() % 2 != 0 ||
        hex.find_first_not_of("0123456789abcdef") != absl::string_view::npos) {
      return words.WrongBefore("give bytes by two digits each, as in 1c04803c");
    }
    const std::string bytes = absl::HexStringToBytes(hex);
    option->raw.assign(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  return words.WrongBefore(
      expected ? "options are mss, wscale, sack_ok, ts, sack, each with a ! that it is not there"
               : "options are mss, wscale, sack_ok, ts, sack, nop, eol, raw");
}

absl::Status ParseOptions(Words& words, bool expected, SegmentText* segment) {
  std::vector<OptionText>& options = segment->options.emplace();
  if (words.Take(">")) return absl::OkStatus();
  for (;;) {
    if (expected && words.Take("...")) {
      segment->more_options = true;
    } else {
      absl::Status status = ParseOption(words, expected, &options.emplace_back());
      if (!status.ok()) return status;
    }
    if (words.Take(">")) return absl::OkStatus();
    if (!words.Take(",")) return words.Wrong("'>' or ',' is missing");
  }
}

absl::Status ParseField(Words& words, bool expected, SegmentText* segment) {
  constexpr int64_t k16 = 0xffff;
  if (words.Take("ack")) {
    if (expected && words.Take(kAny)) return absl::OkStatus();
    segment->ack = words.TakeNumber();
    return segment->ack ? absl::OkStatus() : words.Wrong("give the number that is acknowledged");
  }
  if (words.Take("win")) {
    if (expected) {
      segment->window_is = words.TakeComparison().value_or(Comparison::kEqual);
    }
    return ParseValue(words, expected, k16, &segment->window);
  }
  if (!expected && words.Take("urg")) {
    std::optional<int64_t> urgent;
    const absl::Status status = ParseValue(words, false, k16, &urgent);
    segment->urgent = static_cast<uint16_t>(urgent.value_or(0));
    return status;
  }
  if (words.Take("<")) return ParseOptions(words, expected, segment);
  for (size_t i = 0; i < std::size(kEcnWords); ++i) {
    if (words.Take(kEcnWords[i])) {
      segment->ecn = static_cast<uint8_t>(i);
      return absl::OkStatus();
    }
  }
  const bool dscp = words.Peek() == "dscp";
  if (expected && (dscp || words.Peek() == "ttl")) {
    words.Next();
    std::optional<int64_t> value;
    const absl::Status status = ParseValue(words, false, 0xff, &value);
    (dscp ? segment->dscp : segment->ttl) = static_cast<uint8_t>(value.value_or(0));
    return status;
  }
  return words.Wrong(expected ? "it has ack, win, <options>, not_ect, ect0, ect1, ce, dscp, ttl"
                              : "it has ack, win, urg, <options>, not_ect, ect0, ect1, ce");
}

}  // namespace

absl::StatusOr<SegmentText> ParseSegment(Words& words, bool expected) {
  SegmentText segment;
  const absl::string_view flags = words.Next();
  uint8_t bits = 0;
  if (!(expected && flags == kAny)) {
    if (!ParseFlags(flags, &bits)) {
      return words.WrongBefore("flags are of S F R P . U E W, or - for none");
    }
    segment.flags = bits;
  }
  // "> *": a segment.
  if (!segment.flags && words.done()) return segment;
  absl::Status status = ParsePlace(words, expected, &segment);
  while (status.ok() && !words.done()) status = ParseField(words, expected, &segment);
  if (!status.ok()) return status;
  if (!expected && (bits & netstack::kTcpAck) != 0 && !segment.ack) {
    return words.Wrong("what does it acknowledge? Give 'ack NUMBER'");
  }
  if (!expected && OptionBytes(segment, Origins(), 0).size() > netstack::kTcpOptionBytesMax) {
    return words.Wrong("its options take more than 40 bytes");
  }
  return segment;
}

}  // namespace weft::tcp::script
