// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/conditions.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "weft/examples/http/date.h"

namespace weft::http {
namespace {

// Whether `list`, "*" or entity tags, has `etag`. Tags may contain commas.
bool HasTag(absl::string_view list, absl::string_view etag, bool weakly) {
  if (list == "*") return true;
  while (!list.empty()) {
    const size_t skip = std::min(list.find_first_not_of(" \t,"), list.size());
    list.remove_prefix(skip);
    const bool weak = absl::ConsumePrefix(&list, "W/");
    if (list.empty() || list.front() != '"') return false;
    const size_t end = list.find('"', 1);
    if (end == absl::string_view::npos) return false;
    if (list.substr(0, end + 1) == etag && (weakly || !weak)) return true;
    list.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace

int CheckConditions(const RequestHead& head, absl::string_view etag, int64_t modified_s) {
  if (const Field* match = head.Find("if-match")) {
    if (!HasTag(match->value, etag, /*weakly=*/false)) return 412;
  } else if (const Field* since = head.Find("if-unmodified-since")) {
    const std::optional<int64_t> date = ParseDate(since->value);
    if (date && modified_s > *date) return 412;
  }
  if (const Field* none = head.Find("if-none-match")) {
    return HasTag(none->value, etag, /*weakly=*/true) ? 304 : 200;
  }
  if (const Field* since = head.Find("if-modified-since")) {
    const std::optional<int64_t> date = ParseDate(since->value);
    if (date && modified_s <= *date) return 304;
  }
  return 200;
}

bool RangeApplies(const RequestHead& head, absl::string_view etag, int64_t modified_s) {
  const Field* field = head.Find("if-range");
  if (field == nullptr || field->value == etag) return true;
  if (absl::StrContains(field->value, '"')) return false;
  const std::optional<int64_t> date = ParseDate(field->value);
  return date && *date == modified_s;
}

}  // namespace weft::http
