// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/codegen/text.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace weft::rpc::codegen {
namespace {

constexpr size_t kColumns = 100;
constexpr size_t kContinuation = 4;

// `elements` behind `first`, whose end is in column `column`, in lines that begin there. False if
// one of them is too long for that.
bool Fill(absl::string_view first, size_t column, const std::vector<std::string>& elements,
          absl::string_view close, std::string* text) {
  std::string lines(first);
  size_t used = column;
  for (size_t i = 0; i < elements.size(); ++i) {
    const std::string element = absl::StrCat(elements[i], i + 1 < elements.size() ? "," : close);
    if (column + element.size() > kColumns) return false;
    if (i > 0 && used + 1 + element.size() > kColumns) {
      absl::StrAppend(&lines, "\n", std::string(column, ' '));
      used = column;
    } else if (i > 0) {
      absl::StrAppend(&lines, " ");
      ++used;
    }
    absl::StrAppend(&lines, element);
    used += element.size();
  }
  *text = absl::StrCat(lines, "\n");
  return true;
}

}  // namespace

std::string List(size_t indent, absl::string_view open, const std::vector<std::string>& elements,
                 absl::string_view close) {
  const std::string begin = absl::StrCat(std::string(indent, ' '), open);
  const std::string line = absl::StrCat(begin, absl::StrJoin(elements, ", "), close);
  if (line.size() <= kColumns || elements.empty()) return absl::StrCat(line, "\n");
  std::string text;
  if (Fill(begin, begin.size(), elements, close, &text)) return text;
  const size_t column = indent + kContinuation;
  const std::string broken = absl::StrCat(begin, "\n", std::string(column, ' '));
  if (Fill(broken, column, elements, close, &text)) return text;
  // Names that no line holds: one a line.
  return absl::StrCat(
      broken, absl::StrJoin(elements, absl::StrCat(",\n", std::string(column, ' '))), close, "\n");
}

std::string Function(size_t indent, absl::string_view head,
                     const std::vector<std::string>& parameters, absl::string_view tail) {
  return List(indent, absl::StrCat(head, "("), parameters, absl::StrCat(")", tail));
}

std::string Paragraph(absl::string_view text) {
  std::string out;
  std::string line = "//";
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (line.size() + 1 + word.size() > kColumns && line.size() > 2) {
      absl::StrAppend(&out, line, "\n");
      line = "//";
    }
    absl::StrAppend(&line, " ", word);
  }
  return absl::StrCat(out, line, "\n");
}

std::string Comment(absl::string_view text, size_t indent) {
  if (absl::StripAsciiWhitespace(text).empty()) return "";
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  while (absl::StripAsciiWhitespace(lines.back()).empty()) lines.pop_back();
  std::string out;
  for (absl::string_view line : lines) {
    line = absl::StripTrailingAsciiWhitespace(line);
    // One at the end would make the next line a comment too.
    while (absl::ConsumeSuffix(&line, "\\")) line = absl::StripTrailingAsciiWhitespace(line);
    absl::ConsumePrefix(&line, " ");
    absl::StrAppend(&out, std::string(indent, ' '), line.empty() ? "//" : "// ", line, "\n");
  }
  return out;
}

}  // namespace weft::rpc::codegen
