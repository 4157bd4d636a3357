// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/ethernet.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

constexpr MacAddress kA = {2, 0, 0, 0, 0, 0x0a};
constexpr MacAddress kB = {2, 0, 0, 0, 0, 0x0b};
const char kMacs[] = "02000000000b 02000000000a ";

Bytes Frame(const char* rest) { return FromHex(std::string(kMacs) + rest); }

TEST(EthernetTest, GoldenHeaderWithoutTag) {
  Bytes written(EthernetHeaderBytes(0), 0xee);
  ASSERT_EQ(written.size(), 14u);
  WriteEthernet(written.data(), kB, kA, 0, EtherType::kIpv4);
  EXPECT_EQ(written, Frame("0800"));
  EthernetView view;
  ASSERT_TRUE(EthernetView::Parse(written, &view));
  EXPECT_EQ(view.source_mac(), kA);
  EXPECT_EQ(std::memcmp(view.destination(), kB.data(), 6), 0);
  EXPECT_EQ(view.type(), EtherType::kIpv4);
  EXPECT_EQ(view.vlan(), 0);
  EXPECT_EQ(view.tags(), 0);
  EXPECT_EQ(view.header_bytes(), 14u);
  EXPECT_FALSE(view.to_group());
}

TEST(EthernetTest, GoldenHeaderWithTag) {
  Bytes written(EthernetHeaderBytes(0xabc), 0xee);
  ASSERT_EQ(written.size(), 18u);
  WriteEthernet(written.data(), kB, kA, 0xabc, EtherType::kIpv6);
  EXPECT_EQ(written, Frame("8100 0abc 86dd"));
}

TEST(EthernetTest, ReadsUpToTwoTags) {
  const struct {
    const char* rest;
    uint16_t vlan;
    int tags;
  } kCases[] = {
      {"8100 e00a 0800", 10, 1},            // the priority is no part of the VLAN
      {"8100 100a 0800", 10, 1},            // nor is "drop eligible"
      {"8100 e000 0800", 0, 1},             // a priority alone
      {"88a8 0005 8100 000a 0800", 10, 2},  // 802.1ad: the inner one counts
      {"88a8 0005 8100 6000 0800", 5, 2},
      {"8100 0005 8100 0006 0800", 6, 2},
  };
  for (const auto& c : kCases) {
    EthernetView view;
    const Bytes frame = Frame(c.rest);
    ASSERT_TRUE(EthernetView::Parse(frame, &view)) << c.rest;
    EXPECT_EQ(view.vlan(), c.vlan) << c.rest;
    EXPECT_EQ(view.tags(), c.tags) << c.rest;
    EXPECT_EQ(view.header_bytes(), 14u + 4u * static_cast<size_t>(c.tags));
    EXPECT_EQ(view.type(), EtherType::kIpv4);
  }
}

TEST(EthernetTest, RefusesThreeTags) {
  EthernetView view;
  EXPECT_FALSE(EthernetView::Parse(Frame("88a8 0005 8100 0006 8100 0007 0800"), &view));
}

TEST(EthernetTest, RefusesWhatIsCutWithinTheHeader) {
  for (const char* rest : {"0800", "8100 000a 0800", "88a8 0005 8100 000a 0800"}) {
    const Bytes frame = Frame(rest);
    EthernetView view;
    for (size_t n = 0; n < frame.size(); ++n) {
      EXPECT_FALSE(EthernetView::Parse(Slice(frame, 0, n), &view)) << rest << " cut at " << n;
    }
    EXPECT_TRUE(EthernetView::Parse(frame, &view)) << rest;
  }
}

TEST(EthernetTest, KnowsGroups) {
  for (const char* header : {"ffffffffffff 02000000000a 0806", "01005e000001 02000000000a 0800"}) {
    const Bytes frame = FromHex(header);
    EthernetView view;
    ASSERT_TRUE(EthernetView::Parse(frame, &view));
    EXPECT_TRUE(view.to_group()) << header;
  }
}

}  // namespace
}  // namespace weft::netstack
