// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/codegen/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "google/protobuf/compiler/cpp/names.h"

namespace weft::rpc::codegen {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// C++20, [lex.key]; sorted.
constexpr absl::string_view kKeywords[] = {
    "NULL",         "alignas",   "alignof",       "and",
    "and_eq",       "asm",       "auto",          "bitand",
    "bitor",        "bool",      "break",         "case",
    "catch",        "char",      "char16_t",      "char32_t",
    "char8_t",      "class",     "co_await",      "co_return",
    "co_yield",     "compl",     "concept",       "const",
    "const_cast",   "consteval", "constexpr",     "constinit",
    "continue",     "decltype",  "default",       "delete",
    "do",           "double",    "dynamic_cast",  "else",
    "enum",         "explicit",  "export",        "extern",
    "false",        "float",     "for",           "friend",
    "goto",         "if",        "inline",        "int",
    "long",         "mutable",   "namespace",     "new",
    "noexcept",     "not",       "not_eq",        "nullptr",
    "operator",     "or",        "or_eq",         "private",
    "protected",    "public",    "register",      "reinterpret_cast",
    "requires",     "return",    "short",         "signed",
    "sizeof",       "static",    "static_assert", "static_cast",
    "struct",       "switch",    "template",      "this",
    "thread_local", "throw",     "true",          "try",
    "typedef",      "typeid",    "typename",      "union",
    "unsigned",     "using",     "virtual",       "void",
    "volatile",     "wchar_t",   "while",         "xor",
    "xor_eq"};

// What weft::rpc::Service and stubs have as members, which hide types of those names; sorted.
constexpr absl::string_view kMembers[] = {"Service",     "Unimplemented", "channel_",  "descriptor",
                                          "descriptor_", "handlers",      "handlers_", "methods_"};

bool Contains(absl::Span<const absl::string_view> sorted, absl::string_view name) {
  return std::binary_search(sorted.begin(), sorted.end(), name);
}

}  // namespace

std::string Identifier(absl::string_view name) {
  return absl::StrCat(name, Contains(kKeywords, name) ? "_" : "");
}

std::vector<std::string> NamespacesOf(const FileDescriptor& file) {
  std::vector<std::string> names;
  if (file.package().empty()) return names;
  for (const absl::string_view part : absl::StrSplit(file.package(), '.')) {
    names.push_back(Identifier(part));
  }
  return names;
}

std::string TypeName(const Descriptor& type, const ServiceDescriptor& service) {
  const std::string name = google::protobuf::compiler::cpp::ClassName(&type);
  bool hidden = type.file()->package() != service.file()->package() || Contains(kMembers, name);
  // In a class, the name of a method hides the type.
  for (int i = 0; i < service.method_count(); ++i) {
    hidden = hidden || MethodName(*service.method(i)) == name;
  }
  if (!hidden) return name;
  std::vector<std::string> parts = NamespacesOf(*type.file());
  parts.push_back(name);
  return absl::StrCat("::", absl::StrJoin(parts, "::"));
}

bool IsRaw(const Descriptor& type) { return type.full_name() == "weft.rpc.RawBytes"; }

std::string ClientName(const ServiceDescriptor& service) {
  return absl::StrCat(service.name(), "Client");
}

std::string ServiceName(const ServiceDescriptor& service) {
  return absl::StrCat(service.name(), "Service");
}

std::string MethodName(const MethodDescriptor& method) {
  // A member that is called as its class is a constructor.
  const ServiceDescriptor& service = *method.service();
  const bool taken = method.name() == ClientName(service) || method.name() == ServiceName(service);
  return taken ? absl::StrCat(method.name(), "_") : Identifier(method.name());
}

std::string FullMethodName(const MethodDescriptor& method) {
  return absl::StrCat(method.service()->full_name(), "/", method.name());
}

std::string VariableName(absl::string_view type) {
  std::string name;
  for (size_t i = 0; i < type.size(); ++i) {
    const bool begins_word = absl::ascii_isupper(type[i]) && i > 0 &&
                             (!absl::ascii_isupper(type[i - 1]) ||
                              (i + 1 < type.size() && absl::ascii_islower(type[i + 1])));
    if (begins_word && type[i - 1] != '_') name += '_';
    name += absl::ascii_tolower(type[i]);
  }
  return Identifier(name);
}

}  // namespace weft::rpc::codegen
