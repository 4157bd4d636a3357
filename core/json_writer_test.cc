// SPDX-License-Identifier: Apache-2.0

#include "weft/core/json_writer.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(JsonWriter, NestsAndSeparates) {
  JsonWriter json;
  json.BeginObject();
  json.Field("name", "linux");
  json.Field("ok", true);
  json.Key("sizes").BeginArray();
  json.Value(64);
  json.Value(uint64_t{18446744073709551615u});
  json.EndArray();
  json.Key("none").BeginArray();
  json.EndArray();
  json.Key("latency").BeginObject();
  json.Field("p50", 4.25);
  json.EndObject();
  json.EndObject();
  EXPECT_EQ(json.text(), R"({
  "name": "linux",
  "ok": true,
  "sizes": [
    64,
    18446744073709551615
  ],
  "none": [],
  "latency": {
    "p50": 4.25
  }
})");
}

TEST(JsonWriter, EscapesWhatJsonDoesNotTake) {
  JsonWriter json;
  json.Value("a \"b\" \\ \n \x01 µs");
  EXPECT_EQ(json.text(), R"("a \"b\" \\ \u000a \u0001 µs")");
}

TEST(JsonWriter, WhatIsNotUtf8IsReplaced) {
  JsonWriter json;
  json.Value("a\xff\xc3");
  EXPECT_EQ(json.text(), R"("a\ufffd\ufffd")");
}

TEST(JsonWriter, OneLine) {
  JsonWriter json(JsonWriter::Layout::kLine);
  for (int i = 0; i < 2; ++i) {
    json.Clear();
    json.BeginObject();
    json.Field("a", 1);
    json.Key("b").BeginArray();
    json.Value("x");
    json.Value(true);
    json.EndArray();
    json.EndObject();
    EXPECT_EQ(json.text(), R"({"a":1,"b":["x",true]})");
  }
}

TEST(JsonWriter, NoNumberIsNull) {
  JsonWriter json;
  json.BeginArray();
  json.Value(std::numeric_limits<double>::quiet_NaN());
  json.Value(std::numeric_limits<double>::infinity());
  json.EndArray();
  EXPECT_EQ(json.text(), "[\n  null,\n  null\n]");
}

}  // namespace
}  // namespace weft
