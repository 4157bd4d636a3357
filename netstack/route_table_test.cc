// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/route_table.h"

#include <string>

#include "gtest/gtest.h"

namespace weft::netstack {
namespace {

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }
IpPrefix Net(const char* text) { return *IpPrefix::Parse(text); }

class RouteTableTest : public testing::Test {
 protected:
  RouteTableTest() {
    EXPECT_TRUE(routes_.Add(Net("10.0.0.2/24")).ok());
    EXPECT_TRUE(routes_.Add(Net("fd00::2/64")).ok());
    EXPECT_TRUE(routes_.Add(Net("fe80::/64")).ok());
  }
  // "direct", the gateway, or "none".
  std::string To(const char* destination) {
    const std::optional<NextHop> hop = routes_.Lookup(Ip(destination));
    if (!hop) return "none";
    if (hop->connected) {
      EXPECT_EQ(hop->neighbor, Ip(destination));
      return "direct";
    }
    return hop->neighbor.ToString();
  }
  RouteTable routes_;
};

TEST_F(RouteTableTest, TheLongestPrefixWins) {
  ASSERT_TRUE(routes_.Add(Net("0.0.0.0/0"), Ip("10.0.0.1")).ok());
  ASSERT_TRUE(routes_.Add(Net("10.1.0.0/16"), Ip("10.0.0.3")).ok());
  ASSERT_TRUE(routes_.Add(Net("10.1.2.3/32"), Ip("10.0.0.5")).ok());
  ASSERT_TRUE(routes_.Add(Net("10.1.2.0/24"), Ip("10.0.0.4")).ok());
  ASSERT_TRUE(routes_.Add(Net("::/0"), Ip("fe80::1")).ok());
  EXPECT_EQ(To("10.0.0.77"), "direct");
  EXPECT_EQ(To("192.0.2.1"), "10.0.0.1");
  EXPECT_EQ(To("10.1.9.9"), "10.0.0.3");
  EXPECT_EQ(To("10.1.2.9"), "10.0.0.4");
  EXPECT_EQ(To("10.1.2.3"), "10.0.0.5");
  EXPECT_EQ(To("fd00::99"), "direct");
  EXPECT_EQ(To("2001:db8::1"), "fe80::1");
  EXPECT_EQ(routes_.Snapshot().front().prefix.length, 64);
  EXPECT_EQ(routes_.Snapshot().back().prefix.length, 0);
}

TEST_F(RouteTableTest, WithoutARouteThereIsNone) {
  EXPECT_EQ(To("10.0.1.1"), "none");
  EXPECT_EQ(To("2001:db8::1"), "none");
  ASSERT_TRUE(routes_.Add(Net("0.0.0.0/0"), Ip("10.0.0.1")).ok());
  EXPECT_EQ(To("2001:db8::1"), "none") << "a default route is that of one family";
}

TEST_F(RouteTableTest, SeveralAddressesMayBeInOneNetwork) {
  EXPECT_TRUE(routes_.Add(Net("10.0.0.3/24")).ok());
  EXPECT_EQ(routes_.Snapshot().size(), 3u);
  EXPECT_TRUE(routes_.IsConnected(Ip("10.0.0.200")));
  EXPECT_FALSE(routes_.IsConnected(Ip("10.0.1.200")));
}

TEST_F(RouteTableTest, ErrorsSayWhatIsWrong) {
  EXPECT_EQ(routes_.Add(Net("10.1.0.0/16"), Ip("10.9.0.1")).message(),
            "route to 10.1.0.0/16 by 10.9.0.1: the gateway is in no connected network; connected "
            "are fd00::/64, fe80::/64, 10.0.0.0/24");
  EXPECT_EQ(
      routes_.Add(Net("10.1.0.0/16"), Ip("fe80::1")).message(),
      "route to 10.1.0.0/16 by fe80::1: one is of IPv4 and the other of IPv6; both must be of "
      "one family");
  EXPECT_EQ(routes_.Add(Net("10.1.0.0/16"), Ip("10.0.0.255")).message(),
            "route to 10.1.0.0/16 by 10.0.0.255: the gateway is the broadcast address of "
            "10.0.0.0/24");
  EXPECT_FALSE(routes_.Add(Net("10.1.0.0/16"), Ip("224.0.0.5")).ok());
  EXPECT_FALSE(routes_.Add(Net("224.0.0.0/8"), Ip("10.0.0.1")).ok());
  EXPECT_EQ(RouteTable().Add(Net("0.0.0.0/0"), Ip("10.0.0.1")).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RouteTableTest, OneRouteANetwork) {
  ASSERT_TRUE(routes_.Add(Net("10.1.0.0/16"), Ip("10.0.0.1")).ok());
  EXPECT_EQ(routes_.Add(Net("10.1.2.3/16"), Ip("10.0.0.3")).message(),
            "there is a route to 10.1.0.0/16 already: by 10.0.0.1");
  EXPECT_EQ(routes_.Add(Net("10.0.0.0/24"), Ip("10.0.0.3")).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(routes_.Add(Net("10.1.0.0/16")).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(RouteTableTest, IsBounded) {
  absl::Status status;
  size_t added = 0;
  for (uint32_t n = 0; status.ok(); ++n) {
    status = routes_.Add({IpAddress::V4(0x0b000000 + n), 32}, Ip("10.0.0.1"));
    if (status.ok()) ++added;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(added, RouteTable::kRoutesMax - 3);
}

}  // namespace
}  // namespace weft::netstack
