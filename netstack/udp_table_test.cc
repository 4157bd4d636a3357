// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/udp_table.h"

#include <vector>

#include "gtest/gtest.h"

namespace weft::netstack {
namespace {

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

class UdpTableTest : public testing::Test {
 protected:
  // Tables do not look at ports.
  UdpPort* Port(int n) { return reinterpret_cast<UdpPort*>(&marks_[n]); }
  void Add(const char* address, uint16_t port, int n) { table_.Add({Ip(address), port}, Port(n)); }
  // -1: nobody.
  int Find(const char* address, uint16_t port) {
    UdpPort* const found = table_.Find(Ip(address), port);
    EXPECT_EQ(found, table_.Find(Ip(address), port)) << "and again, as it is remembered";
    return found == nullptr ? -1 : static_cast<int>(reinterpret_cast<char*>(found) - marks_);
  }

  UdpTable table_;
  char marks_[16] = {};
};

TEST(PortBindingTest, TakesAndOverlaps) {
  const PortBinding any = {Ip("::"), 7};
  const PortBinding any_v4 = {Ip("0.0.0.0"), 7};
  const PortBinding host = {Ip("10.0.0.2"), 7};
  EXPECT_TRUE(any.Takes(Ip("10.0.0.2")));
  EXPECT_TRUE(any.Takes(Ip("fd00::2")));
  EXPECT_TRUE(any_v4.Takes(Ip("10.0.0.2")));
  EXPECT_FALSE(any_v4.Takes(Ip("fd00::2")));
  EXPECT_TRUE(host.Takes(Ip("10.0.0.2")));
  EXPECT_FALSE(host.Takes(Ip("10.0.0.3")));
  EXPECT_TRUE(any.Overlaps(host));
  EXPECT_TRUE(host.Overlaps(any_v4));
  EXPECT_FALSE(host.Overlaps({Ip("::"), 8}));
  EXPECT_FALSE(any_v4.Overlaps({Ip("fd00::2"), 7}));
}

TEST_F(UdpTableTest, FindsTheMostSpecial) {
  EXPECT_EQ(Find("10.0.0.2", 7), -1);
  EXPECT_FALSE(table_.Has(7));
  Add("::", 7, 0);
  Add("10.0.0.2", 7, 1);
  Add("0.0.0.0", 7, 2);
  Add("10.0.0.2", 8, 3);
  EXPECT_EQ(Find("10.0.0.2", 7), 1);
  EXPECT_EQ(Find("10.0.0.3", 7), 2);
  EXPECT_EQ(Find("fd00::2", 7), 0);
  EXPECT_EQ(Find("10.0.0.2", 8), 3);
  EXPECT_EQ(Find("10.0.0.3", 8), -1);
  EXPECT_EQ(Find("10.0.0.2", 9), -1);
  EXPECT_TRUE(table_.Has(7));
  EXPECT_EQ(table_.size(), 4u);
}

TEST_F(UdpTableTest, TheOrderInWhichTheyCameDoesNotMatter) {
  Add("0.0.0.0", 7, 2);
  Add("10.0.0.2", 7, 1);
  Add("::", 7, 0);
  EXPECT_EQ(Find("10.0.0.2", 7), 1);
  EXPECT_EQ(Find("10.0.0.3", 7), 2);
  EXPECT_EQ(Find("fd00::2", 7), 0);
}

TEST_F(UdpTableTest, ForgetsWhatWasRemoved) {
  Add("::", 7, 0);
  Add("10.0.0.2", 7, 1);
  EXPECT_EQ(Find("10.0.0.2", 7), 1);
  table_.Remove(Port(1));
  EXPECT_EQ(Find("10.0.0.2", 7), 0);
  table_.Remove(Port(5));
  EXPECT_EQ(table_.ports(), std::vector<UdpPort*>{Port(0)});
  table_.Remove(Port(0));
  EXPECT_EQ(Find("10.0.0.2", 7), -1);
  EXPECT_FALSE(table_.Has(7));
}

TEST_F(UdpTableTest, ThePortNumbersAtTheEndsWork) {
  Add("10.0.0.2", 1, 1);
  Add("10.0.0.2", 65535, 2);
  EXPECT_EQ(Find("10.0.0.2", 1), 1);
  EXPECT_EQ(Find("10.0.0.2", 65535), 2);
  EXPECT_EQ(Find("10.0.0.2", 0), -1);
}

}  // namespace
}  // namespace weft::netstack
