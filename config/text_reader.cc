// SPDX-License-Identifier: Apache-2.0

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "weft/config/reader.h"

namespace weft::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;
using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::ErrorCollector;
using google::protobuf::io::Tokenizer;

Location At(int line, int column) { return {line + 1, column + 1}; }

// What protobuf's parser said.
class Messages : public ErrorCollector {
 public:
  struct Entry {
    Location at;
    std::string text;
  };

  void AddError(int line, int column, const std::string& text) override {
    entries_.push_back({At(line, column), text});
  }
  // Unknown fields come as warnings, so that the parser goes on and finds them all.
  void AddWarning(int line, int column, const std::string& text) override {
    AddError(line, column, text);
  }
  // In the order of the file.
  std::vector<Entry> InOrder() const {
    std::vector<Entry> entries = entries_;
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.at < b.at; });
    return entries;
  }

 private:
  std::vector<Entry> entries_;
};

class Silence : public ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

// The parser reports the place where it stopped, which is often behind the
// culprit, and not the field. This follows the same tokens up to that place.
class Cursor {
 public:
  Cursor(const std::string& text, const Descriptor& root)
      : input_(text.data(), static_cast<int>(text.size())), tokens_(&input_, &silence_) {
    tokens_.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
    levels_.push_back({"", &root});
    tokens_.Next();
  }

  // Takes all tokens before `place`. Places must not decrease.
  void AdvanceTo(Location place) {
    while (tokens_.current().type != Tokenizer::TYPE_END && Here() < place) {
      Take(tokens_.current());
      previous_at_ = Here();
      previous_ = tokens_.current().text;
      tokens_.Next();
    }
  }

  // The message that the place is within, and its type: null if that is unknown.
  const std::string& message_path() const { return levels_.back().path; }
  const Descriptor* message() const { return levels_.back().type; }
  // The last field named within it, and whether its value is still to come.
  const std::string& field() const { return levels_.back().field; }
  bool in_field() const { return levels_.back().in_field; }
  Location field_at() const { return levels_.back().field_at; }
  std::string field_path() const { return Join(message_path(), field()); }
  const FieldDescriptor* field_descriptor() const {
    return message() == nullptr ? nullptr : message()->FindFieldByName(field());
  }
  // The last token.
  const std::string& previous() const { return previous_; }
  Location previous_at() const { return previous_at_; }

 private:
  struct Level {
    std::string path;
    const Descriptor* type;
    std::string field = "";
    Location field_at = {};
    bool in_field = false;
    bool in_list = false;
    bool in_brackets = false;                  // Of an extension's or an Any's type name.
    std::map<std::string, int> messages = {};  // Of each repeated field so far.
  };

  Location Here() { return At(tokens_.current().line, tokens_.current().column); }

  void Take(const Tokenizer::Token& token) {
    Level& level = levels_.back();
    const std::string& text = token.text;
    if (level.in_brackets) {
      level.field += text;
      level.in_brackets = text != "]";
    } else if (text == "{" || text == "<") {
      Enter();
    } else if (text == "}" || text == ">") {
      if (levels_.size() > 1) levels_.pop_back();
      levels_.back().in_field = levels_.back().in_list;
    } else if (text == "[" && level.in_field) {
      level.in_list = true;
    } else if (text == "]" && level.in_list) {
      level.in_list = level.in_field = false;
    } else if (!level.in_field && (text == "[" || token.type != Tokenizer::TYPE_SYMBOL)) {
      level.field = text;
      level.field_at = Here();
      level.in_brackets = text == "[";
      level.in_field = true;
    } else if (level.in_field && text != ":" && text != "-" && text != ",") {
      level.in_field = level.in_list;
    }
  }

  void Enter() {
    Level inner = {field_path(), nullptr};
    if (const FieldDescriptor* descriptor = field_descriptor(); descriptor != nullptr) {
      inner.type = descriptor->message_type();
      if (descriptor->is_repeated()) {
        absl::StrAppend(&inner.path, "[", levels_.back().messages[field()]++, "]");
      }
    } else if (absl::EndsWith(field(), "]")) {
      inner = {message_path(), FindType(field().substr(1, field().size() - 2))};
    }
    levels_.push_back(std::move(inner));
  }

  Silence silence_;
  ArrayInputStream input_;
  Tokenizer tokens_;
  std::vector<Level> levels_;
  std::string previous_;
  Location previous_at_;
};

// What stands between the `n`th pair of double quotes, from 0.
std::string Quoted(const std::string& said, size_t n) {
  const std::vector<std::string> parts = absl::StrSplit(said, '"');
  return parts.size() > 2 * n + 1 ? parts[2 * n + 1] : "";
}

// Says in the loader's words what is wrong with the value of a field, or "".
std::string ExplainValue(const std::string& said, const Cursor& cursor) {
  constexpr absl::string_view kGot = ", got: ";
  constexpr absl::string_view kRange = "Integer out of range (";
  const FieldDescriptor* field = cursor.field_descriptor();
  if (!cursor.in_field() || field == nullptr) return "";
  if (absl::StartsWith(said, kRange)) {
    return absl::StrCat(said.substr(kRange.size(), said.size() - kRange.size() - 1),
                        " is out of range; ", WhatIsRight(*field));
  }
  if (absl::StrContains(said, ", found ")) {
    return absl::StrCat("unexpected '", Quoted(said, 1), "'; give '", Quoted(said, 0), "'");
  }
  const size_t got = said.find(kGot.data());
  if (got == std::string::npos) return "";
  return absl::StrCat("unexpected '", said.substr(got + kGot.size()), "'; ", WhatIsRight(*field));
}

// Says in the loader's words what the parser said, with the culprit's place.
Problem Explain(const Messages::Entry& entry, const Cursor& cursor) {
  const std::string& said = entry.text;
  const FieldDescriptor* field = cursor.field_descriptor();
  if ((absl::StrContains(said, "has no field named") ||
       absl::StartsWith(said, "Ignoring extension")) &&
      cursor.message() != nullptr) {
    return {cursor.field_at(), cursor.message_path(),
            UnknownField(cursor.field(), *cursor.message())};
  }
  if (absl::StartsWith(said, "Unknown enumeration value") && field != nullptr) {
    return {cursor.previous_at(), cursor.field_path(),
            UnknownValue(cursor.previous(), *field->enum_type())};
  }
  if (absl::StartsWith(said, "Invalid value for boolean") && field != nullptr) {
    return {cursor.previous_at(), cursor.field_path(),
            absl::StrCat("unexpected '", cursor.previous(), "'; ", WhatIsRight(*field))};
  }
  if (absl::StartsWith(said, "Non-repeated field")) {
    return {cursor.field_at(), cursor.field_path(), "given twice; remove one"};
  }
  if (absl::StrContains(said, "another member of oneof")) {
    return {cursor.field_at(), cursor.field_path(), SetAlongWith(Quoted(said, 1))};
  }
  if (absl::StartsWith(said, "Could not find type")) {
    return {cursor.field_at(), cursor.message_path(), UnknownType(Quoted(said, 0))};
  }
  if (absl::StartsWith(said, "Message is too deep")) {
    return {entry.at, cursor.message_path(), TooDeep()};
  }
  if (said == "Expected identifier, got: ") {  // An empty token is the end of the file.
    return {entry.at, cursor.message_path(), "the file ends within a message; is a '}' missing?"};
  }
  constexpr absl::string_view kNotAName = "Expected identifier, got: ";
  if (absl::StartsWith(said, kNotAName)) {
    return {entry.at, cursor.message_path(),
            absl::StrCat("unexpected '", said.substr(kNotAName.size()), "'; give a field's name")};
  }
  if (std::string what = ExplainValue(said, cursor); !what.empty()) {
    return {entry.at, cursor.field_path(), what};
  }
  std::string what(absl::StripSuffix(said, "."));
  if (!what.empty()) what[0] = absl::ascii_tolower(what[0]);
  return {entry.at, cursor.in_field() ? cursor.field_path() : cursor.message_path(), what};
}

// Turns the parser's tree of locations into paths.
void Flatten(const Message& message, const TextFormat::ParseInfoTree& tree, const std::string& path,
             Locations* locations) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool repeated = field->is_repeated();
    const int size = repeated ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      const int index = repeated ? i : -1;
      const std::string name =
          absl::StrCat(Join(path, field->name()), repeated ? absl::StrCat("[", i, "]") : "");
      const auto at = tree.GetLocation(field, index);
      if (at.line >= 0) {
        (*locations)[name] = At(at.line, at.column);
      } else if (i > 0) {
        // Of a list in brackets, only the place where it begins is known.
        (*locations)[name] =
            Find(*locations, absl::StrCat(Join(path, field->name()), "[", i - 1, "]"));
      }
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      const auto* nested = tree.GetTreeForNested(field, index);
      if (nested == nullptr) continue;
      Flatten(repeated ? reflection.GetRepeatedMessage(message, field, i)
                       : reflection.GetMessage(message, field),
              *nested, name, locations);
    }
  }
}

}  // namespace

Reading ReadText(const std::string& text, Message* message) {
  Messages messages;
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&messages);
  parser.WriteLocationsTo(&tree);
  parser.AllowUnknownField(true);
  parser.AllowPartialMessage(true);
  parser.SetRecursionLimit(kDepthMax);
  const bool complete = parser.ParseFromString(text, message);

  Reading reading;
  Cursor cursor(text, *message->GetDescriptor());
  for (const auto& entry : messages.InOrder()) {
    cursor.AdvanceTo(entry.at);
    reading.problems.push_back(Explain(entry, cursor));
  }
  if (!complete && reading.problems.empty()) {
    reading.problems.push_back({{}, "", "not protobuf text format"});
  }
  Flatten(*message, tree, "", &reading.locations);
  return reading;
}

}  // namespace weft::config
