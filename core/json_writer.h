// SPDX-License-Identifier: Apache-2.0
//
// Writes JSON (RFC 8259), for the --json of programs, pages, and files of a line for each object.
//
//   JsonWriter json;
//   json.BeginObject();
//   json.Field("name", "linux");
//   json.Key("latency_us").BeginObject();
//   json.Field("p50", 4.8);
//   json.EndObject();
//   json.EndObject();
//   std::cout << json.text() << "\n";

#ifndef WEFT_CORE_JSON_WRITER_H_
#define WEFT_CORE_JSON_WRITER_H_

#include <concepts>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace weft {

// The calls must follow JSON's grammar: in an object each value behind a Key(), every Begin ended.
class JsonWriter {
 public:
  enum class Layout {
    kIndented,  // in lines, so that people can read it too
    kLine,      // in one line, without spaces
  };
  explicit JsonWriter(Layout layout = Layout::kIndented) : layout_(layout) {}

  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }

  // Of the value or the Begin that follows.
  JsonWriter& Key(absl::string_view key);

  // What JSON does not take as it is gets escaped; bytes that are not UTF-8 become U+FFFD.
  void Value(absl::string_view text);
  void Value(const char* text) { Value(absl::string_view(text)); }
  void Value(bool value) { Raw(value ? "true" : "false"); }
  void Value(std::integral auto number) { Raw(absl::StrCat(number)); }
  // Six significant digits; null for what is no number.
  void Value(double number);

  template <typename T>
  void Field(absl::string_view key, const T& value) {
    Key(key).Value(value);
  }

  const std::string& text() const { return text_; }
  // Begins anew; memory is kept.
  void Clear();

 private:
  void Open(char bracket);
  void Close(char bracket);
  void Raw(absl::string_view token);
  // What stands between the last token and the next one.
  void Separate();
  void NewLine();
  void Quote(absl::string_view text);

  const Layout layout_;
  std::string text_;
  int depth_ = 0;
  bool first_ = true;  // nothing in the innermost bracket yet
  bool after_key_ = false;
};

}  // namespace weft

#endif  // WEFT_CORE_JSON_WRITER_H_
