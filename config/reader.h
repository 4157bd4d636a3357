// SPDX-License-Identifier: Apache-2.0
//
// The two formats of a configuration file. Each reader fills a message and says
// where each field stands; values are checked for their type only.

#ifndef WEFT_CONFIG_READER_H_
#define WEFT_CONFIG_READER_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "weft/config/problem.h"

namespace weft::config {

struct Reading {
  Locations locations;
  // If there are any, the message holds only part of the text.
  std::vector<Problem> problems;
};

// Reads protobuf's text format. All unknown fields are reported, and the first
// error of another kind.
Reading ReadText(const std::string& text, google::protobuf::Message* message);

// Reads JSON as protobuf maps it (https://protobuf.dev/programming-guides/json/), but
// refuses what that leaves open: a field given twice, null, an unknown enumerator.
// The first syntax error is reported, or else all unknown fields, or else the first
// value of a wrong type.
Reading ReadJson(const std::string& text, google::protobuf::Message* message);

}  // namespace weft::config

#endif  // WEFT_CONFIG_READER_H_
