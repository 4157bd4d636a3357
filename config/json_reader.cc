// SPDX-License-Identifier: Apache-2.0

#include <google/protobuf/any.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <map>
#include <set>
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
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;

// RFC 8259 section 6: no leading zero, no sign but minus, digits around the point.
bool IsNumber(absl::string_view text) {
  const auto digits = [&text] {
    const size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(n);
    return n > 0;
  };
  absl::ConsumePrefix(&text, "-");
  if (!absl::ConsumePrefix(&text, "0") && !digits()) return false;
  if (absl::ConsumePrefix(&text, ".") && !digits()) return false;
  if (absl::ConsumePrefix(&text, "e") || absl::ConsumePrefix(&text, "E")) {
    if (!absl::ConsumePrefix(&text, "-")) absl::ConsumePrefix(&text, "+");
    if (!digits()) return false;
  }
  return text.empty();
}

// Walks JSON text (RFC 8259) beside a message type: checks the syntax and the
// names of fields and enumerators, and records places, which protobuf's own
// parser does not tell. Values are left to that parser.
class Scanner {
 public:
  Scanner(const std::string& text, Reading* reading) : text_(text), reading_(*reading) {}

  void Scan(const Descriptor& root) {
    SkipSpace();
    if (Peek() != '{') {
      Add(at_, "", "the configuration is not an object; begin with '{'");
      return;
    }
    if (!Object("", &root)) return;
    SkipSpace();
    if (position_ < text_.size()) Add(at_, "", "text after the end; remove it");
  }

 private:
  char Peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  void Advance() {
    const char c = text_[position_++];
    if (c == '\n') {
      at_ = {at_.line + 1, 1};
    } else {
      at_.column = c == '\t' ? ((at_.column - 1) / 8 + 1) * 8 + 1 : at_.column + 1;
    }
  }

  void SkipSpace() {
    while (Peek() == ' ' || Peek() == '\t' || Peek() == '\n' || Peek() == '\r') Advance();
  }

  bool Consume(char wanted) {
    SkipSpace();
    if (Peek() != wanted || position_ == text_.size()) return false;
    Advance();
    return true;
  }

  void Add(Location at, const std::string& path, std::string what) {
    reading_.problems.push_back({at, path, std::move(what)});
  }

  // Reports a syntax error and ends the scan: nothing behind it makes sense.
  bool Fail(const std::string& path, const std::string& wanted) {
    SkipSpace();
    Add(at_, path,
        position_ == text_.size()
            ? absl::StrCat("the file ends; give ", wanted)
            : absl::StrCat("unexpected '", std::string(1, Peek()), "'; give ", wanted));
    return false;
  }

  // A string as it stands between its quotes. The parser resolves its escapes.
  bool String(const std::string& path, const char* wanted, std::string* raw) {
    if (!Consume('"')) return Fail(path, wanted);
    const size_t begin = position_;
    while (Peek() != '"') {
      if (static_cast<unsigned char>(Peek()) < ' ') {
        Add(at_, path, "the text is not closed; give '\"' at its end");
        return false;
      }
      if (Peek() == '\\') {
        Advance();
        if (!absl::StrContains("\"\\/bfnrtu", Peek())) return Fail(path, "an escape of JSON");
      }
      Advance();
    }
    *raw = text_.substr(begin, position_ - begin);
    Advance();
    return true;
  }

  // What of an object's members is known so far.
  struct Members {
    const Descriptor* type;  // Null where names are not known: within an unknown field.
    bool type_follows;       // In an Any, "@type" comes first and says the type of the rest.
    std::set<std::string> seen = {};
    std::map<const OneofDescriptor*, std::string> chosen = {};
  };

  bool Object(const std::string& path, const Descriptor* type) {
    if (++depth_ > kDepthMax) {
      Add(at_, path, TooDeep());
      return false;
    }
    Advance();
    Members members = {type, type == google::protobuf::Any::descriptor()};
    if (!Consume('}')) {
      do {
        if (!Member(path, &members)) return false;
      } while (Consume(','));
      if (!Consume('}')) return Fail(path, "',' or '}'");
    }
    --depth_;
    return true;
  }

  // One `"name": value`.
  bool Member(const std::string& path, Members* members) {
    SkipSpace();
    const Location at = at_;
    std::string name;
    if (!String(path, "a field's name in double quotes", &name)) return false;
    if (!Consume(':')) return Fail(Join(path, name), "':'");
    if (members->type_follows) return AnyType(at, path, name, members);

    const FieldDescriptor* field = members->type ? FindMember(*members->type, name) : nullptr;
    if (members->type != nullptr && field == nullptr) {
      Add(at, path, UnknownField(name, *members->type));
    }
    const std::string field_path = Join(path, field != nullptr ? field->name() : name);
    if (!members->seen.insert(field_path).second) Add(at, field_path, "given twice; remove one");
    if (field != nullptr && field->containing_oneof() != nullptr) {
      const auto [other, first] = members->chosen.emplace(field->containing_oneof(), field->name());
      if (!first && other->second != field->name()) {
        Add(at, field_path, SetAlongWith(other->second));
      }
    }
    reading_.locations.emplace(field_path, at);
    return Value(field_path, field);
  }

  bool AnyType(Location at, const std::string& path, const std::string& name, Members* members) {
    members->type_follows = false;
    members->type = nullptr;
    if (name != "@type") {
      Add(at, path, absl::StrCat("unexpected '", name, "'; give '@type' before other fields"));
      return false;
    }
    SkipSpace();
    at = at_;
    std::string url;
    if (!String(path, "the type's URL in double quotes", &url)) return false;
    members->type = FindType(url);
    if (members->type == nullptr) Add(at, path, UnknownType(url));
    return true;
  }

  static const FieldDescriptor* FindMember(const Descriptor& type, const std::string& name) {
    for (int i = 0; i < type.field_count(); ++i) {
      if (type.field(i)->name() == name || type.field(i)->json_name() == name) return type.field(i);
    }
    return nullptr;
  }

  bool Value(const std::string& path, const FieldDescriptor* field) {
    SkipSpace();
    const Location at = at_;
    const char c = Peek();
    const bool is_message = field != nullptr && field->message_type() != nullptr;
    // Those of google.protobuf have forms of their own.
    const bool special =
        is_message && (field->is_map() ||
                       absl::StartsWith(field->message_type()->full_name(), "google.protobuf."));
    if (field != nullptr && !special && (c == '{') != is_message && c != '[' && c != '\0') {
      Add(at, path,
          absl::StrCat("unexpected ", c == '{' ? "object" : "value", "; ", WhatIsRight(*field)));
      field = nullptr;
    }
    if (c == '{')
      return Object(path, is_message && !field->is_map() ? field->message_type() : nullptr);
    if (c == '[') return Array(path, field);
    std::string raw;
    if (c == '"' ? !String(path, "a text", &raw) : !Literal(path, &raw)) return false;
    if (field == nullptr) return true;
    if (c != '"' && raw == "null") {
      Add(at, path, "null is no value; leave the field out for its default");
    } else if (const EnumDescriptor* type = field->enum_type();
               type != nullptr && type->FindValueByName(raw) == nullptr) {
      Add(at, path, UnknownValue(raw, *type));
    }
    return true;
  }

  bool Array(const std::string& path, const FieldDescriptor* field) {
    if (++depth_ > kDepthMax) {
      Add(at_, path, TooDeep());
      return false;
    }
    if (field != nullptr && !field->is_repeated()) {
      Add(at_, path, absl::StrCat("unexpected list; ", WhatIsRight(*field)));
      field = nullptr;
    }
    Advance();
    if (!Consume(']')) {
      int i = 0;
      do {
        SkipSpace();
        const std::string element = absl::StrCat(path, "[", i++, "]");
        reading_.locations.emplace(element, at_);
        if (!Value(element, field)) return false;
      } while (Consume(','));
      if (!Consume(']')) return Fail(path, "',' or ']'");
    }
    --depth_;
    return true;
  }

  // A number or one of the three words.
  bool Literal(const std::string& path, std::string* raw) {
    const Location at = at_;
    while (absl::ascii_isalnum(Peek()) || absl::StrContains("+-._", Peek())) {
      raw->push_back(Peek());
      Advance();
    }
    if (raw->empty()) return Fail(path, "a value");
    if (IsNumber(*raw) || *raw == "true" || *raw == "false" || *raw == "null") return true;
    Add(at, path,
        absl::StrCat("unexpected '", *raw,
                     "'; give a number, true, false or a text in double quotes"));
    return false;
  }

  const std::string& text_;
  Reading& reading_;
  size_t position_ = 0;
  Location at_ = {1, 1};
  int depth_ = 0;
};

const FieldDescriptor* FindField(const Descriptor* type, absl::string_view path) {
  const FieldDescriptor* field = nullptr;
  for (absl::string_view part : absl::StrSplit(path, '.')) {
    if (type == nullptr) return nullptr;
    field = type->FindFieldByName(std::string(part.substr(0, part.find('['))));
    type = field == nullptr ? nullptr : field->message_type();
  }
  return field;
}

// Says in the loader's words what protobuf's parser said about a value:
//   (host.workers): invalid value "abc" for type TYPE_UINT32
Problem Explain(const std::string& said, const Descriptor& root, const Locations& locations) {
  absl::string_view rest = said;
  std::string path;
  if (absl::ConsumePrefix(&rest, "(")) {
    path = std::string(rest.substr(0, rest.find(')')));
    rest.remove_prefix(std::min(rest.size(), path.size() + sizeof("):") - 1));
  }
  std::string what(absl::StripAsciiWhitespace(rest.substr(0, rest.find('\n'))));
  const FieldDescriptor* field = FindField(&root, path);
  if (field != nullptr && field->message_type() == nullptr) {
    what = absl::StrCat(what.substr(0, what.rfind(" for type ")), "; ", WhatIsRight(*field));
  }
  return {Find(locations, path), path, what};
}

}  // namespace

Reading ReadJson(const std::string& text, Message* message) {
  Reading reading;
  Scanner(text, &reading).Scan(*message->GetDescriptor());
  if (!reading.problems.empty()) return reading;
  const auto status = google::protobuf::util::JsonStringToMessage(text, message);
  if (!status.ok()) {
    reading.problems.push_back(
        Explain(std::string(status.message()), *message->GetDescriptor(), reading.locations));
  }
  return reading;
}

}  // namespace weft::config
