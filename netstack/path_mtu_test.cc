// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/path_mtu.h"

#include "gtest/gtest.h"

namespace weft::netstack {
namespace {

constexpr int64_t kS = 1'000'000'000;

class PathMtuTest : public testing::Test {
 protected:
  IpAddress v4_ = *IpAddress::Parse("192.0.2.1");
  IpAddress v6_ = *IpAddress::Parse("2001:db8::1");
  PathMtuCache mtus_{{.link_mtu = 1500, .forget_ns = 600 * kS, .paths_max = 4}};
};

TEST_F(PathMtuTest, ErrorsLowerAndTimeForgets) {
  EXPECT_EQ(mtus_.Get(v4_, 0), 1500u);
  const uint64_t generation = mtus_.generation();
  EXPECT_TRUE(mtus_.Lower(v4_, 1400, 0));
  EXPECT_NE(mtus_.generation(), generation);
  int64_t valid_until_ns = 0;
  EXPECT_EQ(mtus_.Get(v4_, 599 * kS, &valid_until_ns), 1400u);
  EXPECT_EQ(valid_until_ns, 600 * kS);
  EXPECT_EQ(mtus_.Get(v6_, 0), 1500u);
  EXPECT_EQ(mtus_.Get(v4_, 600 * kS, &valid_until_ns), 1500u);
  EXPECT_EQ(valid_until_ns, INT64_MAX);
  EXPECT_EQ(mtus_.size(), 0u);
  EXPECT_EQ(mtus_.stats().forgotten, 1u);
}

TEST_F(PathMtuTest, NothingRaisesIt) {
  EXPECT_FALSE(mtus_.Lower(v4_, 9000, 0));
  EXPECT_EQ(mtus_.size(), 0u);
  EXPECT_TRUE(mtus_.Lower(v4_, 1000, 0));
  const uint64_t generation = mtus_.generation();
  EXPECT_FALSE(mtus_.Lower(v4_, 1400, kS));
  EXPECT_FALSE(mtus_.Lower(v4_, 1000, 300 * kS));
  EXPECT_EQ(mtus_.generation(), generation);
  EXPECT_EQ(mtus_.Get(v4_, 700 * kS), 1000u) << "heard of again, it is remembered for longer";
}

TEST_F(PathMtuTest, ThereIsAFloor) {
  EXPECT_TRUE(mtus_.Lower(v4_, 68, 0));
  EXPECT_EQ(mtus_.Get(v4_, 0), 552u);
  EXPECT_FALSE(mtus_.Lower(v6_, 1279, 0)) << "RFC 8201, 4: discarded";
  EXPECT_EQ(mtus_.Get(v6_, 0), 1500u);
  EXPECT_TRUE(mtus_.Lower(v6_, 1280, 0));
  EXPECT_EQ(mtus_.Get(v6_, 0), 1280u);
}

TEST_F(PathMtuTest, RoutersThatDoNotSayLowerItByPlateaus) {
  for (const size_t plateau : {1492u, 1006u, 552u}) {
    EXPECT_TRUE(mtus_.Lower(v4_, 0, 0));
    EXPECT_EQ(mtus_.Get(v4_, 0), plateau);
  }
  EXPECT_FALSE(mtus_.Lower(v4_, 0, 0));
  EXPECT_FALSE(mtus_.Lower(v6_, 0, 0)) << "IPv6 has no such routers";
}

TEST_F(PathMtuTest, AFloodOfErrorsStaysWithinTheTable) {
  for (uint32_t n = 0; n < 1000; ++n) {
    EXPECT_TRUE(mtus_.Lower(IpAddress::V4(0x0a000000 + n), 1000, n));
    EXPECT_LE(mtus_.size(), 4u);
  }
  EXPECT_EQ(mtus_.stats().evictions, 996u);
  EXPECT_EQ(mtus_.Get(IpAddress::V4(0x0a000000 + 999), 1000), 1000u);
  EXPECT_EQ(mtus_.Get(IpAddress::V4(0x0a000000), 1000), 1500u);
}

TEST_F(PathMtuTest, ALinkBelowTheFloorStaysAsItIs) {
  PathMtuCache small({.link_mtu = 500});
  EXPECT_FALSE(small.Lower(v4_, 100, 0));
  EXPECT_FALSE(small.Lower(v4_, 0, 0));
  EXPECT_EQ(small.Get(v4_, 0), 500u);
}

}  // namespace
}  // namespace weft::netstack
