// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/table.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace weft::cli {

std::string Printable(absl::string_view text) {
  std::string printable(text);
  for (char& c : printable) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return printable;
}

std::vector<std::string> TableLines(const std::vector<std::vector<std::string>>& rows,
                                    size_t texts) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::vector<std::string> lines;
  for (const auto& row : rows) {
    std::string& line = lines.emplace_back();
    for (size_t i = 0; i < row.size(); ++i) {
      const int width = static_cast<int>(widths[i]);
      if (i > 0) line += "  ";
      if (i >= texts) {
        absl::StrAppendFormat(&line, "%*s", width, row[i]);
      } else if (i + 1 < row.size()) {
        absl::StrAppendFormat(&line, "%-*s", width, row[i]);
      } else {
        line += row[i];
      }
    }
  }
  return lines;
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  for (const std::string& line : TableLines(rows)) std::printf("%s\n", line.c_str());
}

}  // namespace weft::cli
