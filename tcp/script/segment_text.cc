// SPDX-License-Identifier: Apache-2.0
//
// Segments of the engine: how they are shown, and whether they are what was expected.
#include "weft/tcp/script/segment_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/netstack/wire/tcp.h"

namespace weft::tcp::script {
namespace {

using Kind = OptionText::Kind;

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

}  // namespace weft::tcp::script
