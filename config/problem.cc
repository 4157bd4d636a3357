// SPDX-License-Identifier: Apache-2.0

#include "weft/config/problem.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/config/rule.pb.h"
#include "weft/core/suggest.h"

namespace weft::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

std::vector<std::string> Names(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

// A limit as people write it: 4294967295, not 4.29497e+09.
std::string Number(double value) {
  if (value == static_cast<double>(static_cast<int64_t>(value))) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrCat(value);
}

std::string Range(const Rule& rule, double min, const std::string& max) {
  return absl::StrCat(" from ", Number(rule.has_min() ? rule.min() : min), " to ",
                      rule.has_max() ? Number(rule.max()) : max);
}

std::string WholeNumber(const Rule& rule, double min, const std::string& max) {
  return absl::StrCat(rule.power_of_two() ? "give a power of two" : "give a whole number",
                      Range(rule, min, max));
}

std::string Text(const Rule& rule) {
  switch (rule.form()) {
    case Rule::CORES:
      if (rule.has_form())
        return "give numbers below 4096 and ranges, each core once, such as \"0-3,6\"";
      break;
    case Rule::PERMISSIONS:
      return "give permission bits in octal, such as \"0600\"";
    case Rule::HOST_PORT:
      return "give \"HOST:PORT\", \"[IPV6]:PORT\" or \"PORT\"";
    case Rule::IP:
      return "give an IP address such as \"10.0.0.2\" or \"fd00::2\"";
    case Rule::IP_PREFIX:
      return "give an IP address with its prefix length, such as \"10.0.0.2/24\" or "
             "\"fd00::2/64\"";
    case Rule::MAC:
      return "give six bytes in hexadecimal, such as \"02:00:00:00:00:01\"";
  }
  return "give a text in double quotes";
}

}  // namespace

Location Find(const Locations& locations, std::string path) {
  while (!path.empty()) {
    const auto found = locations.find(path);
    if (found != locations.end()) return found->second;
    const size_t end = path.find_last_of(".[");
    path.resize(end == std::string::npos ? 0 : end);
  }
  return {};
}

std::string Join(const std::string& path, const std::string& field) {
  return path.empty() ? field : absl::StrCat(path, ".", field);
}

absl::Status ToStatus(std::vector<Problem> problems, const std::string& origin) {
  if (problems.empty()) return absl::OkStatus();
  std::stable_sort(problems.begin(), problems.end(),
                   [](const Problem& a, const Problem& b) { return a.at < b.at; });
  std::string text;
  for (const Problem& problem : problems) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", origin);
    if (problem.at.line > 0) absl::StrAppend(&text, ":", problem.at.line, ":", problem.at.column);
    absl::StrAppend(&text, ": ", problem.field, problem.field.empty() ? "" : ": ", problem.what);
  }
  return absl::InvalidArgumentError(text);
}

std::string WhatIsRight(const FieldDescriptor& field) {
  const Rule& rule = field.options().GetExtension(config::rule);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return WholeNumber(rule, std::numeric_limits<int32_t>::min(), "2147483647");
    case FieldDescriptor::CPPTYPE_INT64:
      return WholeNumber(rule, std::numeric_limits<int64_t>::min(), "9223372036854775807");
    case FieldDescriptor::CPPTYPE_UINT32:
      return WholeNumber(rule, 0, "4294967295");
    case FieldDescriptor::CPPTYPE_UINT64:
      return WholeNumber(rule, 0, "18446744073709551615");
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return rule.has_min() && rule.has_max() ? absl::StrCat("give a number", Range(rule, 0, ""))
                                              : "give a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "give true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("give one of ", absl::StrJoin(Names(*field.enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_STRING:
      return Text(rule);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "give fields in braces";
  }
  return "";
}

std::string UnknownField(const std::string& name, const Descriptor& message) {
  std::vector<std::string> known;
  for (int i = 0; i < message.field_count(); ++i) known.push_back(message.field(i)->name());
  return absl::StrCat("unknown field '", name, "' in ", message.full_name(), Suggest(name, known));
}

std::string UnknownValue(const std::string& name, const EnumDescriptor& type) {
  return absl::StrCat("unknown value '", name, "'", Suggest(name, Names(type)));
}

std::string SetAlongWith(const std::string& other) {
  return absl::StrCat("cannot be set along with ", other, "; remove one");
}

std::string TooDeep() { return absl::StrCat("too deep; give at most ", kDepthMax, " levels"); }

const Descriptor* FindType(const std::string& url) {
  return DescriptorPool::generated_pool()->FindMessageTypeByName(url.substr(url.rfind('/') + 1));
}

std::string UnknownType(const std::string& url) {
  return absl::StrCat("message type '", url.substr(url.rfind('/') + 1),
                      "' is unknown to this program; link the plugin that defines it");
}

}  // namespace weft::config
