// SPDX-License-Identifier: Apache-2.0

#include "weft/config/cores.h"

#include <bitset>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weft::config {
namespace {

constexpr int kCoresMax = 4096;

bool ParseCore(absl::string_view text, int* core) {
  return !text.empty() && absl::ascii_isdigit(text[0]) && absl::SimpleAtoi(text, core) &&
         *core < kCoresMax;
}

}  // namespace

absl::StatusOr<std::vector<int>> ParseCores(const std::string& text) {
  std::vector<int> cores;
  if (text.empty()) return cores;
  std::bitset<kCoresMax> seen;
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> range =
        absl::StrSplit(item, absl::MaxSplits('-', 1));
    int first = 0;
    int last = 0;
    const bool is_range = absl::StrContains(item, "-");
    if (!ParseCore(range.first, &first) ||
        !ParseCore(is_range ? range.second : range.first, &last) || last < first) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", item, "' is not a CPU number or a range of them"));
    }
    for (int core = first; core <= last; ++core) {
      if (seen[core])
        return absl::InvalidArgumentError(absl::StrCat("CPU ", core, " is named twice"));
      seen[core] = true;
      cores.push_back(core);
    }
  }
  return cores;
}

}  // namespace weft::config
