// SPDX-License-Identifier: Apache-2.0
#include "weft/core/utf8.h"

#include <gtest/gtest.h>

namespace weft {
namespace {

TEST(Utf8Test, CharactersOfEachLength) {
  EXPECT_EQ(Utf8CharacterBytes("abc"), 1u);
  EXPECT_EQ(Utf8CharacterBytes("\xc3\xa9x"), 2u);
  EXPECT_EQ(Utf8CharacterBytes("\xe2\x82\xac"), 3u);
  EXPECT_EQ(Utf8CharacterBytes("\xf0\x9f\x98\x80"), 4u);
  EXPECT_EQ(Utf8CharacterBytes(absl::string_view("\0", 1)), 1u);
}

TEST(Utf8Test, WhatIsNone) {
  EXPECT_EQ(Utf8CharacterBytes(""), 0u);
  EXPECT_EQ(Utf8CharacterBytes("\x80"), 0u) << "begins in the middle";
  EXPECT_EQ(Utf8CharacterBytes("\xe2\x82"), 0u) << "cut short";
  EXPECT_EQ(Utf8CharacterBytes("\xe2\x82g"), 0u);
  EXPECT_EQ(Utf8CharacterBytes("\xc0\x80"), 0u) << "overlong";
  EXPECT_EQ(Utf8CharacterBytes("\xe0\x80\x80"), 0u) << "overlong";
  EXPECT_EQ(Utf8CharacterBytes("\xed\xa0\x80"), 0u) << "surrogate";
  EXPECT_EQ(Utf8CharacterBytes("\xf4\x90\x80\x80"), 0u) << "beyond U+10FFFF";
  EXPECT_EQ(Utf8CharacterBytes("\xff"), 0u);
}

TEST(Utf8Test, WholeTexts) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("a\xc3\xa9 \xe2\x82\xac"));
  EXPECT_FALSE(IsUtf8("a\xc3"));
}

}  // namespace
}  // namespace weft
