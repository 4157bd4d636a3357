// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/script/segment_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/core/bytes.h"

namespace weft::tcp::script {
namespace {

using Kind = OptionText::Kind;

constexpr absl::string_view kAny = "*";
constexpr absl::string_view kFlagLetters = "FSRP.UEW";  // from the lowest bit on
constexpr absl::string_view kEcnWords[] = {"not_ect", "ect1", "ect0", "ce"};

// Kinds and lengths of options (RFC 9293, 3.1; RFC 7323; RFC 2018).
constexpr uint8_t kEndOption = 0, kNopOption = 1, kMssOption = 2, kScaleOption = 3,
                  kSackOkOption = 4, kSackOption = 5, kTimestampsOption = 8;

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

void Append16(std::vector<uint8_t>& to, uint32_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
void Append32(std::vector<uint8_t>& to, uint32_t value) {
  Append16(to, value >> 16);
  Append16(to, value);
}

void AppendOption(const OptionText& option, const Origins& origins, uint32_t last_timestamp,
                  std::vector<uint8_t>& to) {
  const auto value = static_cast<uint32_t>(option.value.value_or(0));
  switch (option.kind) {
    case Kind::kMss:
      to.insert(to.end(), {kMssOption, 4});
      Append16(to, value);
      break;
    case Kind::kWindowScale:
      to.insert(to.end(), {kScaleOption, 3, static_cast<uint8_t>(value)});
      break;
    case Kind::kSackPermitted:
      to.insert(to.end(), {kSackOkOption, 2});
      break;
    case Kind::kTimestamps:
      to.insert(to.end(), {kTimestampsOption, 10});
      Append32(to, value);
      Append32(to, option.echo ? origins.timestamps + static_cast<uint32_t>(*option.echo)
                               : last_timestamp);
      break;
    case Kind::kSack:
      to.insert(to.end(), {kSackOption, static_cast<uint8_t>(2 + 8 * option.blocks.size())});
      for (const SeqRange& block : option.blocks) {
        Append32(to, (origins.ours + block.begin.value()).value());
        Append32(to, (origins.ours + block.end.value()).value());
      }
      break;
    case Kind::kNop:
      to.push_back(kNopOption);
      break;
    case Kind::kEnd:
      to.push_back(kEndOption);
      break;
    case Kind::kRaw:
      to.insert(to.end(), option.raw.begin(), option.raw.end());
      break;
  }
}

bool IsThere(Kind kind, const SegmentOptions& options) {
  switch (kind) {
    case Kind::kMss:
      return options.mss != 0;
    case Kind::kWindowScale:
      return options.has_window_scale;
    case Kind::kSackPermitted:
      return options.sack_permitted;
    case Kind::kTimestamps:
      return options.has_timestamps;
    case Kind::kSack:
      return options.sack_count > 0;
    default:
      return false;
  }
}

bool OptionMatches(const OptionText& option, const SegmentOptions& heard, const Origins& origins) {
  const bool there = IsThere(option.kind, heard);
  if (option.absent || !there) return option.absent && !there;
  const auto is = [](std::optional<int64_t> wanted, uint32_t value) {
    return !wanted || static_cast<uint32_t>(*wanted) == value;
  };
  switch (option.kind) {
    case Kind::kMss:
      return is(option.value, heard.mss);
    case Kind::kWindowScale:
      return is(option.value, heard.window_scale);
    case Kind::kTimestamps:
      return is(option.value, heard.timestamp_value - origins.timestamps) &&
             is(option.echo, heard.timestamp_echo);
    case Kind::kSack: {
      if (option.blocks.empty()) return true;
      if (option.blocks.size() != heard.sack_count) return false;
      for (size_t i = 0; i < option.blocks.size(); ++i) {
        const SeqRange wanted = {origins.peers + option.blocks[i].begin.value(),
                                 origins.peers + option.blocks[i].end.value()};
        if (wanted != heard.sacks[i]) return false;
      }
      return true;
    }
    default:
      return true;
  }
}

bool OptionsMatch(const SegmentText& expected, const Heard& heard, const Origins& origins) {
  for (const OptionText& option : *expected.options) {
    if (!OptionMatches(option, heard.options, origins)) return false;
  }
  if (expected.more_options) return true;
  for (const Kind kind :
       {Kind::kMss, Kind::kWindowScale, Kind::kSackPermitted, Kind::kTimestamps, Kind::kSack}) {
    if (!IsThere(kind, heard.options)) continue;
    const auto named = [kind](const OptionText& option) { return option.kind == kind; };
    if (std::none_of(expected.options->begin(), expected.options->end(), named)) return false;
  }
  return true;
}

std::string OptionsText(const SegmentOptions& options, const Origins& origins) {
  std::vector<std::string> texts;
  if (options.mss != 0) texts.push_back(absl::StrCat("mss ", options.mss));
  if (options.sack_permitted) texts.push_back("sack_ok");
  if (options.has_timestamps) {
    texts.push_back(absl::StrCat("ts ", options.timestamp_value - origins.timestamps, " ",
                                 options.timestamp_echo));
  }
  if (options.has_window_scale) texts.push_back(absl::StrCat("wscale ", options.window_scale));
  if (options.sack_count > 0) {
    std::string& text = texts.emplace_back("sack");
    for (const SeqRange& block : options.sack_blocks()) {
      absl::StrAppend(&text, " ", block.begin - origins.peers, ":", block.end - origins.peers);
    }
  }
  std::string all;
  for (const std::string& text : texts) absl::StrAppend(&all, all.empty() ? "" : ",", text);
  return all;
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

std::string ToText(const Heard& heard, const Origins& origins) {
  std::string text;
  static constexpr absl::string_view kOrder = "SFRPUEW.";
  for (const char letter : kOrder) {
    if ((heard.flags & (1u << kFlagLetters.find(letter))) != 0) text += letter;
  }
  if (text.empty()) text.push_back('-');
  const int32_t begin = heard.seq - origins.ours;
  const auto bytes = static_cast<int32_t>(heard.payload.size());
  absl::StrAppend(&text, " ", begin, ":", begin + bytes, "(", bytes, ")");
  if ((heard.flags & netstack::kTcpAck) != 0) {
    absl::StrAppend(&text, " ack ", static_cast<int32_t>(heard.ack - origins.peers));
  }
  absl::StrAppend(&text, " win ", heard.window);
  const std::string options = OptionsText(heard.options, origins);
  if (!options.empty()) absl::StrAppend(&text, " <", options, ">");
  if (heard.ecn != 0) absl::StrAppend(&text, " ", kEcnWords[heard.ecn & 3]);
  if (heard.dscp != 0) absl::StrAppend(&text, " dscp ", heard.dscp);
  if (heard.ttl != 0) absl::StrAppend(&text, " ttl ", heard.ttl);
  return text;
}

std::string Difference(const SegmentText& expected, const Heard& heard, const Origins& origins) {
  const auto seq = [](Seq origin, int64_t relative) {
    return origin + static_cast<uint32_t>(relative);
  };
  if (expected.flags && *expected.flags != heard.flags) return "flags";
  if (expected.begin && seq(origins.ours, *expected.begin) != heard.seq) return "sequence number";
  if (expected.bytes && *expected.bytes != heard.payload.size()) return "length";
  if (expected.ack && seq(origins.peers, *expected.ack) != heard.ack) return "ack";
  if (expected.window && !Holds(heard.window, expected.window_is, *expected.window)) return "win";
  if (expected.options && !OptionsMatch(expected, heard, origins)) return "options";
  if (expected.ecn && *expected.ecn != heard.ecn) return "ECN bits";
  if (expected.dscp && *expected.dscp != heard.dscp) return "dscp";
  if (expected.ttl && *expected.ttl != heard.ttl) return "ttl";
  return "";
}

std::vector<uint8_t> OptionBytes(const SegmentText& segment, const Origins& origins,
                                 uint32_t last_timestamp) {
  std::vector<uint8_t> bytes;
  if (!segment.options) return bytes;
  for (const OptionText& option : *segment.options) {
    AppendOption(option, origins, last_timestamp, bytes);
  }
  while (bytes.size() % 4 != 0) bytes.push_back(kEndOption);
  return bytes;
}

}  // namespace weft::tcp::script
