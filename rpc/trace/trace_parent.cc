// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/trace/trace_parent.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace weft::rpc {
namespace {

// "00-" trace id "-" span id "-" flags
constexpr size_t kVersionAt = 0;
constexpr size_t kTraceAt = 3;
constexpr size_t kSpanAt = 36;
constexpr size_t kFlagsAt = 53;
constexpr size_t kBytes = 55;

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Reads two digits a byte.
bool ReadHex(absl::string_view text, absl::Span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = DigitOf(text[2 * i]);
    const int low = DigitOf(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

template <size_t kSize>
bool IsZero(const std::array<uint8_t, kSize>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

bool IsValid(const TraceParent& parent) {
  return !IsZero(parent.trace_id) && !IsZero(parent.span_id);
}

std::optional<TraceParent> ParseTraceParent(absl::string_view text) {
  if (text.size() < kBytes || text[kTraceAt - 1] != '-' || text[kSpanAt - 1] != '-' ||
      text[kFlagsAt - 1] != '-') {
    return std::nullopt;
  }
  uint8_t version = 0;
  TraceParent parent;
  if (!ReadHex(text.substr(kVersionAt), {&version, 1}) ||
      !ReadHex(text.substr(kTraceAt), absl::MakeSpan(parent.trace_id)) ||
      !ReadHex(text.substr(kSpanAt), absl::MakeSpan(parent.span_id)) ||
      !ReadHex(text.substr(kFlagsAt), {&parent.flags, 1})) {
    return std::nullopt;
  }
  const bool has_more = text.size() > kBytes;
  if (version == 0xff || (has_more && (version == 0 || text[kBytes] != '-'))) return std::nullopt;
  if (!IsValid(parent)) return std::nullopt;
  return parent;
}

std::string TraceIdText(absl::Span<const uint8_t> id) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(id.data()), id.size()});
}

std::string FormatTraceParent(const TraceParent& parent) {
  return absl::StrCat("00-", TraceIdText(parent.trace_id), "-", TraceIdText(parent.span_id), "-",
                      absl::Hex(parent.flags, absl::kZeroPad2));
}

}  // namespace weft::rpc
