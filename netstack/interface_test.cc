// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/interface.h"

#include <string>

#include "gtest/gtest.h"

namespace weft::netstack {
namespace {

Interface With(std::initializer_list<const char*> addresses) {
  Interface interface;
  interface.name = "eth0";
  for (const char* text : addresses) interface.addresses.push_back(*IpPrefix::Parse(text));
  return interface;
}

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

TEST(InterfaceTest, KnowsItsAddresses) {
  const Interface interface = With({"10.0.0.2/24", "fd00::2/64"});
  EXPECT_TRUE(interface.Has(Ip("10.0.0.2")));
  EXPECT_TRUE(interface.Has(Ip("fd00::2")));
  EXPECT_FALSE(interface.Has(Ip("10.0.0.3")));
  EXPECT_FALSE(interface.Has(IpAddress()));
  EXPECT_TRUE(interface.HasFamily(true));
  EXPECT_FALSE(With({"fd00::2/64"}).HasFamily(true));
  EXPECT_EQ(interface.ToString(), "eth0 (10.0.0.2/24, fd00::2/64)");
  EXPECT_EQ(With({}).ToString(), "eth0 (no address)");
}

TEST(InterfaceTest, BroadcastsAreThoseOfItsNetworks) {
  const Interface interface = With({"10.0.0.2/24", "172.16.0.1/16", "10.9.9.8/31", "fd00::2/64"});
  for (const char* yes : {"255.255.255.255", "10.0.0.255", "172.16.255.255"}) {
    EXPECT_TRUE(interface.IsBroadcast(Ip(yes))) << yes;
  }
  for (const char* no :
       {"10.0.0.254", "10.0.1.255", "10.9.9.9", "fd00::ffff:ffff:ffff:ffff", "ff02::1", "::"}) {
    EXPECT_FALSE(interface.IsBroadcast(Ip(no))) << no;
  }
}

TEST(InterfaceTest, TheSourceIsOfTheSameFamilyAndNetwork) {
  const Interface interface = With({"10.0.0.2/24", "172.16.0.1/16", "fd00::2/64", "fd01::2/64"});
  const auto source = [&](const char* to) { return interface.SourceFor(Ip(to)).ToString(); };
  EXPECT_EQ(source("10.0.0.9"), "10.0.0.2");
  EXPECT_EQ(source("172.16.3.4"), "172.16.0.1");
  EXPECT_EQ(source("8.8.8.8"), "10.0.0.2") << "the first";
  EXPECT_EQ(source("172.16.0.1"), "172.16.0.1") << "itself";
  EXPECT_EQ(source("239.1.2.3"), "10.0.0.2");
  EXPECT_EQ(source("255.255.255.255"), "10.0.0.2");
  EXPECT_EQ(source("172.16.255.255"), "172.16.0.1");
  EXPECT_EQ(source("fd01::7"), "fd01::2");
  EXPECT_EQ(source("2001:db8::1"), "fd00::2");
  EXPECT_FALSE(With({"10.0.0.2/24"}).SourceFor(Ip("fd00::1")));
  EXPECT_FALSE(With({"fd00::2/64"}).SourceFor(Ip("10.0.0.1")));
  EXPECT_FALSE(With({}).SourceFor(Ip("10.0.0.1")));
}

TEST(InterfaceTest, LinkLocalTalksToLinkLocal) {
  for (const Interface& interface :
       {With({"fe80::2/64", "fd00::2/64"}), With({"fd00::2/64", "fe80::2/64"})}) {
    const auto source = [&](const char* to) { return interface.SourceFor(Ip(to)).ToString(); };
    EXPECT_EQ(source("fe80::1"), "fe80::2");
    EXPECT_EQ(source("ff02::1"), "fe80::2");
    EXPECT_EQ(source("ff05::1"), "fd00::2");
    EXPECT_EQ(source("2001:db8::1"), "fd00::2");
    EXPECT_EQ(source("fd00::9"), "fd00::2");
  }
  EXPECT_EQ(With({"fe80::2/64"}).SourceFor(Ip("2001:db8::1")).ToString(), "fe80::2");
}

}  // namespace
}  // namespace weft::netstack
