// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/trace/trace_parent.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace weft::rpc {
namespace {

// The example of the recommendation.
constexpr char kExample[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceParentTest, ReadsAndWritesTheTextForm) {
  const auto parent = ParseTraceParent(kExample);
  ASSERT_TRUE(parent.has_value());
  EXPECT_EQ(parent->trace_id[0], 0x4b);
  EXPECT_EQ(parent->trace_id[15], 0x36);
  EXPECT_EQ(parent->span_id[0], 0x00);
  EXPECT_EQ(parent->span_id[7], 0xb7);
  EXPECT_EQ(parent->flags, kTraceSampled);
  EXPECT_EQ(FormatTraceParent(*parent), kExample);
}

TEST(TraceParentTest, UnknownFlagsStay) {
  const std::string text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-a0";
  EXPECT_EQ(FormatTraceParent(ParseTraceParent(text).value()), text);
}

TEST(TraceParentTest, LaterVersionsMayHaveMore) {
  const std::string body = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_TRUE(ParseTraceParent(absl::StrCat("cc-", body)).has_value());
  EXPECT_TRUE(ParseTraceParent(absl::StrCat("cc-", body, "-what-follows")).has_value());
  EXPECT_FALSE(ParseTraceParent(absl::StrCat("cc-", body, "x")).has_value());
  EXPECT_FALSE(ParseTraceParent(absl::StrCat("00-", body, "-what-follows")).has_value());
  EXPECT_FALSE(ParseTraceParent(absl::StrCat("ff-", body)).has_value());
}

TEST(TraceParentTest, EverythingElseIsIgnored) {
  const char* const wrong[] = {
      "",
      "00",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
      "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
      " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  };
  for (const char* text : wrong) EXPECT_FALSE(ParseTraceParent(text).has_value()) << text;
}

}  // namespace
}  // namespace weft::rpc
