// SPDX-License-Identifier: Apache-2.0

#include "weft/core/json_writer.h"

#include <algorithm>
#include <cmath>

#include "weft/core/utf8.h"

namespace weft {
namespace {

// An ASCII character that needs no escape.
bool IsPlain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
}

}  // namespace

JsonWriter& JsonWriter::Key(absl::string_view key) {
  Separate();
  Quote(key);
  text_ += layout_ == Layout::kLine ? ":" : ": ";
  after_key_ = true;
  return *this;
}

void JsonWriter::Value(absl::string_view text) {
  Separate();
  Quote(text);
}

void JsonWriter::Value(double number) {
  Raw(std::isfinite(number) ? absl::StrCat(number) : "null");
}

void JsonWriter::Open(char bracket) {
  Separate();
  text_ += bracket;
  ++depth_;
  first_ = true;
}

void JsonWriter::Close(char bracket) {
  --depth_;
  if (!first_) NewLine();
  text_ += bracket;
  first_ = false;
}

void JsonWriter::Raw(absl::string_view token) {
  Separate();
  absl::StrAppend(&text_, token);
}

void JsonWriter::Separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!first_) text_ += ',';
  first_ = false;
  NewLine();
}

void JsonWriter::Clear() {
  text_.clear();
  depth_ = 0;
  first_ = true;
  after_key_ = false;
}

void JsonWriter::NewLine() {
  if (layout_ == Layout::kLine) return;
  text_ += '\n';
  text_.append(2 * static_cast<size_t>(depth_), ' ');
}

void JsonWriter::Quote(absl::string_view text) {
  text_ += '"';
  while (true) {
    // Nearly all that is ever written stands for itself.
    const auto plain =
        static_cast<size_t>(std::find_if_not(text.begin(), text.end(), &IsPlain) - text.begin());
    text_.append(text.data(), plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const char c = text[0];
    const size_t length = Utf8CharacterBytes(text);
    if (length == 0) {
      text_ += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(&text_, "\\u", absl::Hex(c, absl::kZeroPad4));
    } else {
      text_.append(text.data(), length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  text_ += '"';
}

}  // namespace weft
