// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/range.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "weft/examples/http/request.h"

namespace weft::http {

Range ParseRange(absl::string_view value, uint64_t size) {
  const Range whole = {.kind = Range::Kind::kWhole, .begin = 0, .length = size};
  const Range unsatisfiable = {.kind = Range::Kind::kUnsatisfiable};
  constexpr absl::string_view kUnit = "bytes=";
  if (!absl::StartsWithIgnoreCase(value, kUnit)) return whole;
  const absl::string_view range = absl::StripAsciiWhitespace(value.substr(kUnit.size()));
  const size_t dash = range.find('-');
  if (dash == absl::string_view::npos) return whole;
  const absl::string_view first = range.substr(0, dash);
  const absl::string_view last = range.substr(dash + 1);
  uint64_t begin = 0;
  uint64_t end = 0;  // the last byte
  if (first.empty()) {
    // The last `end` bytes.
    if (!ParseLength(last, &end)) return whole;
    if (end == 0 || size == 0) return unsatisfiable;
    const uint64_t length = std::min(end, size);
    return {.kind = Range::Kind::kPart, .begin = size - length, .length = length};
  }
  if (!ParseLength(first, &begin)) return whole;
  if (last.empty()) {
    end = UINT64_MAX;
  } else if (!ParseLength(last, &end) || end < begin) {
    return whole;
  }
  if (begin >= size) return unsatisfiable;
  return {
      .kind = Range::Kind::kPart, .begin = begin, .length = std::min(end, size - 1) - begin + 1};
}

}  // namespace weft::http
