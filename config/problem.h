// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with a configuration, and where: shared by the readers of both
// formats and by the validator.

#ifndef WEFT_CONFIG_PROBLEM_H_
#define WEFT_CONFIG_PROBLEM_H_

#include <google/protobuf/descriptor.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace weft::config {

// A place in a file; both count from 1, and 0 is unknown. A tab advances to the
// next multiple of eight columns, as in compilers' messages.
struct Location {
  int line = 0;
  int column = 0;

  auto operator<=>(const Location&) const = default;
};

// Where each field stands, by its path: "transport.decorators[0].fault.loss".
using Locations = std::map<std::string, Location>;

// Where `path` stands, or else the nearest message around it that is known.
Location Find(const Locations& locations, std::string path);

// `path` extended by a field of the message at `path`, which is "" for the root.
std::string Join(const std::string& path, const std::string& field);

struct Problem {
  Location at;
  // Path of the field; empty where there is none.
  std::string field;
  // What is wrong; what would be right.
  std::string what;
};

// InvalidArgument with a line "origin:line:column: field: what" for each
// problem, in the order of the file. OK if there is none.
absl::Status ToStatus(std::vector<Problem> problems, const std::string& origin);

// "give a whole number from 1 to 1024": what the schema allows for a field.
std::string WhatIsRight(const google::protobuf::FieldDescriptor& field);

// "unknown field 'x' in weft.config.Host; did you mean 'y'?"
std::string UnknownField(const std::string& name, const google::protobuf::Descriptor& message);

// "unknown value 'x'; did you mean 'y'?"
std::string UnknownValue(const std::string& name, const google::protobuf::EnumDescriptor& type);

// "cannot be set along with x; remove one": of fields that exclude each other.
std::string SetAlongWith(const std::string& other);

// The message type that the URL in an Any names; null unless it is linked into the program.
const google::protobuf::Descriptor* FindType(const std::string& url);

// Messages within messages; more are refused.
inline constexpr int kDepthMax = 32;

// "too deep; give at most 32 levels"
std::string TooDeep();

// What is wrong with a URL for which FindType() gives nothing.
std::string UnknownType(const std::string& url);

}  // namespace weft::config

#endif  // WEFT_CONFIG_PROBLEM_H_
