// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/ip_address.h"

#include <cstring>
#include <string>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/transports/address.h"

namespace weft::netstack {
namespace {

IpAddress Ip(absl::string_view text) {
  const absl::StatusOr<IpAddress> ip = IpAddress::Parse(text);
  EXPECT_TRUE(ip.ok()) << ip.status();
  return ip.value_or(IpAddress());
}
IpPrefix Prefix(absl::string_view text) {
  const absl::StatusOr<IpPrefix> prefix = IpPrefix::Parse(text);
  EXPECT_TRUE(prefix.ok()) << prefix.status();
  return prefix.value_or(IpPrefix());
}

TEST(IpAddressTest, TextRoundTrips) {
  for (const char* text : {"0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "::1", "fd00::1",
                           "fe80::1:2:3:4", "ff02::1:ff00:2", "2001:db8:1:2:3:4:5:6"}) {
    EXPECT_EQ(Ip(text).ToString(), text);
  }
  EXPECT_EQ(Ip("::ffff:10.0.0.1"), Ip("10.0.0.1"));
}

TEST(IpAddressTest, RefusesOtherTexts) {
  for (const absl::string_view text :
       {absl::string_view(""), absl::string_view("10.0.0"), absl::string_view("10.0.0.256"),
        absl::string_view("10.0.0.1 "), absl::string_view("10.0.0.1:80"), absl::string_view("::g"),
        absl::string_view("[::1]"), absl::string_view("fe80::1%eth0"), absl::string_view("host"),
        absl::string_view("10.0.0.1\0", 9), absl::string_view("::1\0x", 5)}) {
    const absl::StatusOr<IpAddress> ip = IpAddress::Parse(text);
    ASSERT_FALSE(ip.ok()) << text;
    EXPECT_NE(ip.status().message().find("is not an IP address such as"), std::string::npos);
  }
}

TEST(IpAddressTest, BytesAreInNetworkOrder) {
  const IpAddress v4 = IpAddress::V4(0x0a000102u);
  EXPECT_TRUE(v4.is_v4());
  EXPECT_EQ(v4.v4(), 0x0a000102u);
  const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 1, 2};
  EXPECT_EQ(std::memcmp(v4.bytes(), mapped, 16), 0);
  EXPECT_EQ(IpAddress::V4(mapped + 12), v4);
  EXPECT_EQ(IpAddress::V6(mapped), v4);
  EXPECT_EQ(IpAddress::FromWords(v4.words()[0], v4.words()[1]), v4);
}

TEST(IpAddressTest, OnlyTheMappedPrefixIsIpv4) {
  for (const char* text : {"::", "::1", "::fffe:a00:1", "::1:ffff:a00:1", "::ffff:0:a00:1",
                           "1::ffff:a00:1", "64:ff9b::a00:1"}) {
    EXPECT_TRUE(Ip(text).is_v6()) << text;
  }
}

TEST(IpAddressTest, Kinds) {
  EXPECT_FALSE(IpAddress());
  EXPECT_TRUE(IpAddress().is_unspecified());
  EXPECT_TRUE(Ip("0.0.0.0").is_unspecified());
  EXPECT_TRUE(static_cast<bool>(Ip("0.0.0.0")));
  EXPECT_FALSE(Ip("::1").is_unspecified());
  EXPECT_FALSE(Ip("0.0.0.1").is_unspecified());

  EXPECT_FALSE(Ip("223.255.255.255").is_multicast());
  EXPECT_TRUE(Ip("224.0.0.0").is_multicast());
  EXPECT_TRUE(Ip("239.255.255.255").is_multicast());
  EXPECT_FALSE(Ip("240.0.0.0").is_multicast());
  EXPECT_TRUE(Ip("ff02::1").is_multicast());
  EXPECT_FALSE(Ip("fe02::1").is_multicast());

  EXPECT_TRUE(Ip("255.255.255.255").is_limited_broadcast());
  EXPECT_FALSE(Ip("255.255.255.254").is_limited_broadcast());
  EXPECT_FALSE(Ip("ffff::ffff:ffff").is_limited_broadcast());

  EXPECT_TRUE(Ip("127.255.0.1").is_loopback());
  EXPECT_TRUE(Ip("::1").is_loopback());
  EXPECT_FALSE(Ip("128.0.0.1").is_loopback());
  EXPECT_FALSE(Ip("1::1").is_loopback());

  EXPECT_TRUE(Ip("169.254.1.1").is_link_local());
  EXPECT_FALSE(Ip("169.253.1.1").is_link_local());
  EXPECT_TRUE(Ip("fe80::1").is_link_local());
  EXPECT_TRUE(Ip("febf::1").is_link_local());
  EXPECT_FALSE(Ip("fec0::1").is_link_local());
}

TEST(IpAddressTest, ConvertsToAndFromAddresses) {
  for (const char* text : {"10.0.0.1:80", "[fd00::1]:80"}) {
    const Address address = Address::Parse(text).value();
    EXPECT_EQ(IpAddress::From(address).ToAddress(80), address);
  }
  EXPECT_EQ(Ip("fe80::1").ToAddress(1, 7).scope(), 7u);
}

TEST(IpAddressTest, EqualAddressesHashAlike) {
  EXPECT_EQ(absl::HashOf(Ip("10.0.0.1")), absl::HashOf(IpAddress::V4(0x0a000001u)));
  EXPECT_NE(Ip("10.0.0.1"), Ip("10.0.0.2"));
  EXPECT_NE(Ip("::a00:1"), Ip("10.0.0.1"));
}

TEST(IpPrefixTest, TextRoundTrips) {
  for (const char* text :
       {"10.0.0.2/24", "0.0.0.0/0", "10.0.0.2/32", "fd00::/64", "::/0", "fd00::1/128"}) {
    EXPECT_EQ(Prefix(text).ToString(), text);
  }
}

TEST(IpPrefixTest, RefusesOtherTexts) {
  for (const char* text : {"", "/", "10.0.0.2", "10.0.0.2/", "10.0.0.2/33", "fd00::/129",
                           "10.0.0.2/-1", "10.0.0.2/+8", "10.0.0.2/ 8", "10.0.0.2/8 ", "/8",
                           "10.0.0.2/8/8", "10.0.0.2/4294967297", "::ffff:10.0.0.0/104"}) {
    EXPECT_FALSE(IpPrefix::Parse(text).ok()) << text;
  }
}

TEST(IpPrefixTest, ContainsByFirstBits) {
  for (int length = 0; length <= 32; ++length) {
    const IpPrefix prefix{Ip("10.1.2.3"), static_cast<uint8_t>(length)};
    EXPECT_TRUE(prefix.Contains(Ip("10.1.2.3")));
    for (int bit = 0; bit < 32; ++bit) {
      const IpAddress other = IpAddress::V4(Ip("10.1.2.3").v4() ^ (0x80000000u >> bit));
      EXPECT_EQ(prefix.Contains(other), bit >= length) << length << " " << bit;
    }
    EXPECT_FALSE(prefix.Contains(Ip("fd00::1")));
  }
  for (int length = 0; length <= 128; ++length) {
    const IpPrefix prefix{Ip("fd00::1"), static_cast<uint8_t>(length)};
    for (int bit = 0; bit < 128; ++bit) {
      uint8_t bytes[16];
      std::memcpy(bytes, prefix.address.bytes(), 16);
      bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ 0x80 >> bit % 8);
      EXPECT_EQ(prefix.Contains(IpAddress::V6(bytes)), bit >= length) << length << " " << bit;
    }
  }
  EXPECT_FALSE(Prefix("::/0").Contains(Ip("10.0.0.1")));
}

TEST(IpPrefixTest, Network) {
  EXPECT_EQ(Prefix("10.1.2.3/24").Network(), Ip("10.1.2.0"));
  EXPECT_EQ(Prefix("10.1.2.3/9").Network(), Ip("10.0.0.0"));
  EXPECT_EQ(Prefix("10.1.2.3/0").Network(), Ip("0.0.0.0"));
  EXPECT_EQ(Prefix("10.1.2.3/32").Network(), Ip("10.1.2.3"));
  EXPECT_EQ(Prefix("fd00:0:0:1:2::3/63").Network(), Ip("fd00::"));
  EXPECT_EQ(Prefix("fd00::3/128").Network(), Ip("fd00::3"));
}

TEST(IpPrefixTest, Broadcast) {
  EXPECT_EQ(Prefix("10.1.2.3/24").Broadcast(), Ip("10.1.2.255"));
  EXPECT_EQ(Prefix("10.1.2.3/30").Broadcast(), Ip("10.1.2.3"));
  EXPECT_EQ(Prefix("10.1.2.3/0").Broadcast(), Ip("255.255.255.255"));
  EXPECT_FALSE(Prefix("10.1.2.3/31").Broadcast());
  EXPECT_FALSE(Prefix("10.1.2.3/32").Broadcast());
  EXPECT_FALSE(Prefix("fd00::/64").Broadcast());
}

TEST(MacTest, OfGroups) {
  EXPECT_EQ(MacToString(MulticastMac(Ip("224.0.0.251"))), "01:00:5e:00:00:fb");
  EXPECT_EQ(MacToString(MulticastMac(Ip("239.129.2.3"))), "01:00:5e:01:02:03");
  EXPECT_EQ(MacToString(MulticastMac(Ip("ff02::1:ff28:9c5a"))), "33:33:ff:28:9c:5a");
}

TEST(MacTest, SolicitedNodeGroupOfRfc4291) {
  EXPECT_EQ(SolicitedNodeGroup(Ip("4037::01:800:200e:8c6c")), Ip("ff02::1:ff0e:8c6c"));
}

TEST(MacTest, LinkLocalAddressOfRfc4291) {
  EXPECT_EQ(LinkLocalAddress({0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}),
            Ip("fe80::3656:78ff:fe9a:bcde"));
}

TEST(MacTest, Text) {
  EXPECT_EQ(MacToString(ParseMac("02:00:aB:Cd:00:9f").value()), "02:00:ab:cd:00:9f");
  for (const char* text : {"", "02:00:00:00:00", "02:00:00:00:00:1", "02:00:00:00:00:001",
                           "02-00-00-00-00-01", " 2:00:00:00:00:01", "+2:00:00:00:00:01",
                           "0x:00:00:00:00:01", "02:00:00:00:00:0g", "02:00:00:00:00:01 "}) {
    EXPECT_FALSE(ParseMac(text).ok()) << text;
  }
}

}  // namespace
}  // namespace weft::netstack
