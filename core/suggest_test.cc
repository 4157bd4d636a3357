// SPDX-License-Identifier: Apache-2.0

#include "weft/core/suggest.h"

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(Suggest, NamesTheNearest) {
  EXPECT_EQ(Suggest("--cuont", {"--config", "--count"}), "; did you mean '--count'?");
  EXPECT_EQ(Suggest("linx", {"shm", "linux", "sim"}), "; did you mean 'linux'?");
}

TEST(Suggest, NamesAllWhenNoneIsNear) {
  EXPECT_EQ(Suggest("dpdk", {"linux", "shm"}), "; known are linux, shm");
  EXPECT_EQ(Suggest(std::string(1000, 'x'), {"linux", "shm"}), "; known are linux, shm");
}

}  // namespace
}  // namespace weft
