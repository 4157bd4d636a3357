// SPDX-License-Identifier: Apache-2.0

#include "weft/core/suggest.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {
namespace {

// Levenshtein's distance: letters to insert, delete or replace.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string Suggest(absl::string_view name, const std::vector<std::string>& known) {
  constexpr size_t kLongestName = 64;  // Beyond it, nothing is near, and distance gets slow.
  const std::string* nearest = nullptr;
  size_t best = 1 + std::max<size_t>(1, name.size() / 3);
  if (name.size() <= kLongestName) {
    for (const std::string& candidate : known) {
      const size_t distance = Distance(name, candidate);
      if (distance < best) {
        best = distance;
        nearest = &candidate;
      }
    }
  }
  if (nearest != nullptr) return absl::StrCat("; did you mean '", *nearest, "'?");
  return absl::StrCat("; known are ", absl::StrJoin(known, ", "));
}

}  // namespace weft
