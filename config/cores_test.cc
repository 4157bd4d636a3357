// SPDX-License-Identifier: Apache-2.0

#include "weft/config/cores.h"

#include <gtest/gtest.h>

namespace weft::config {
namespace {

TEST(CoresTest, NumbersAndRangesInTheirOrder) {
  EXPECT_EQ(ParseCores("").value(), std::vector<int>());
  EXPECT_EQ(ParseCores("3").value(), std::vector<int>({3}));
  EXPECT_EQ(ParseCores("4-6,0").value(), std::vector<int>({4, 5, 6, 0}));
  EXPECT_EQ(ParseCores("2-2").value(), std::vector<int>({2}));
  EXPECT_EQ(ParseCores("0-4095").value().size(), 4096u);
}

TEST(CoresTest, RefusesOtherText) {
  for (const char* text :
       {",", "1,", "a", "1-", "-1", "3-1", "1 2", "+1", "4096", "0-4096", "1-2-3", "99999999999"}) {
    EXPECT_FALSE(ParseCores(text).ok()) << text;
  }
  EXPECT_EQ(ParseCores("0-2,1").status().message(), "CPU 1 is named twice");
  EXPECT_EQ(ParseCores("0,x").status().message(), "'x' is not a CPU number or a range of them");
}

}  // namespace
}  // namespace weft::config
