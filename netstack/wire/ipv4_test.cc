// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/ipv4.h"

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

// A well-known header: 115 bytes of UDP, checksum b861.
const Bytes kHeader = FromHex("4500 0073 0000 4000 4011 b861 c0a80001 c0a800c7");

Bytes Packet() {
  Bytes packet = kHeader;
  packet.resize(0x73, 0x5a);
  return packet;
}

TEST(Ipv4Test, GoldenHeader) {
  const Bytes packet = Packet();
  Ipv4View view;
  ASSERT_TRUE(Ipv4View::Parse(packet, &view));
  EXPECT_EQ(view.header_bytes(), 20u);
  EXPECT_EQ(view.total_bytes(), 115u);
  EXPECT_EQ(view.payload_bytes(), 95u);
  EXPECT_EQ(view.payload(), packet.data() + 20);
  EXPECT_EQ(view.tos(), 0);
  EXPECT_EQ(view.id(), 0);
  EXPECT_TRUE(view.dont_fragment());
  EXPECT_FALSE(view.is_fragment());
  EXPECT_EQ(view.ttl(), 64);
  EXPECT_EQ(view.protocol(), IpProtocol::kUdp);
  EXPECT_EQ(view.source().ToString(), "192.168.0.1");
  EXPECT_EQ(view.destination().ToString(), "192.168.0.199");
  EXPECT_TRUE(view.ChecksumIsGood());

  Bytes written(kIpv4HeaderBytes, 0xee);
  Ipv4Fields{.total_bytes = 115,
             .dont_fragment = true,
             .source = view.source(),
             .destination = view.destination()}
      .Write(written.data());
  EXPECT_EQ(written, kHeader);
}

TEST(Ipv4Test, EveryFieldIsWrittenToItsPlace) {
  Bytes written(kIpv4HeaderBytes, 0xee);
  Ipv4Fields{.tos = 0xb9,
             .total_bytes = 1500,
             .id = 0x1234,
             .more_fragments = true,
             .fragment_offset_bytes = 65528,
             .ttl = 1,
             .protocol = IpProtocol::kIcmp,
             .source = IpAddress::V4(0x01020304u),
             .destination = IpAddress::V4(0xe0000001u)}
      .Write(written.data());
  EXPECT_EQ(NaiveChecksum(written), 0);
  written[10] = written[11] = 0;
  EXPECT_EQ(written, FromHex("45b9 05dc 1234 3fff 0101 0000 01020304 e0000001"));
}

TEST(Ipv4Test, EachBitOfTheHeaderIsCoveredByTheChecksum) {
  for (size_t bit = 0; bit < kIpv4HeaderBytes * 8; ++bit) {
    Bytes packet = Packet();
    packet[bit / 8] = static_cast<uint8_t>(packet[bit / 8] ^ 0x80 >> bit % 8);
    Ipv4View view;
    EXPECT_FALSE(Ipv4View::Parse(packet, &view) && view.ChecksumIsGood()) << bit;
  }
}

TEST(Ipv4Test, RefusesWhatIsCutAtAnyLength) {
  const Bytes packet = Packet();
  Ipv4View view;
  for (size_t n = 0; n < packet.size(); ++n) {
    EXPECT_FALSE(Ipv4View::Parse(Slice(packet, 0, n), &view)) << n;
  }
}

TEST(Ipv4Test, PaddingIsNoPartOfThePacket) {
  Bytes packet = Packet();
  packet.resize(200);
  Ipv4View view;
  ASSERT_TRUE(Ipv4View::Parse(packet, &view));
  EXPECT_EQ(view.total_bytes(), 115u);
}

TEST(Ipv4Test, HeaderLengthIsChecked) {
  for (int words = 0; words < 16; ++words) {
    Bytes packet = Packet();
    packet[0] = static_cast<uint8_t>(0x40 | words);
    Ipv4View view;
    ASSERT_EQ(Ipv4View::Parse(packet, &view), words >= 5) << words;
    if (words < 5) continue;
    EXPECT_EQ(view.header_bytes(), static_cast<size_t>(words) * 4);
    EXPECT_EQ(view.payload_bytes(), 115u - static_cast<size_t>(words) * 4);
  }
}

TEST(Ipv4Test, TotalLengthMustCoverTheHeaderWithItsOptions) {
  for (const size_t total : {0u, 19u, 20u, 59u, 60u, 115u, 116u, 65535u}) {
    Bytes packet = Packet();
    packet[0] = 0x4f;
    packet[2] = static_cast<uint8_t>(total >> 8);
    packet[3] = static_cast<uint8_t>(total);
    Ipv4View view;
    EXPECT_EQ(Ipv4View::Parse(packet, &view), total >= 60 && total <= 115) << total;
  }
}

TEST(Ipv4Test, RefusesOtherVersions) {
  for (int version = 0; version < 16; ++version) {
    Bytes packet = Packet();
    packet[0] = static_cast<uint8_t>(version << 4 | 5);
    Ipv4View view;
    EXPECT_EQ(Ipv4View::Parse(packet, &view), version == 4) << version;
  }
}

TEST(Ipv4Test, ChecksumCoversOptions) {
  Bytes packet = Ipv4Packet({.options = FromHex("94040000")}, Pattern(8));
  Ipv4View view;
  ASSERT_TRUE(Ipv4View::Parse(packet, &view));
  EXPECT_TRUE(view.ChecksumIsGood());
  packet[22] ^= 1;
  EXPECT_FALSE(view.ChecksumIsGood());
}

TEST(Ipv4Test, FragmentsAreThoseWithAnOffsetOrMoreToCome) {
  const struct {
    uint16_t field;
    bool fragment;
    size_t offset;
  } kCases[] = {{0x0000, false, 0}, {0x4000, false, 0}, {0x8000, false, 0},    {0x2000, true, 0},
                {0x0001, true, 8},  {0x2001, true, 8},  {0x1fff, true, 65528}, {0x4001, true, 8}};
  for (const auto& c : kCases) {
    Bytes packet = Packet();
    packet[6] = static_cast<uint8_t>(c.field >> 8);
    packet[7] = static_cast<uint8_t>(c.field);
    Ipv4View view;
    ASSERT_TRUE(Ipv4View::Parse(packet, &view));
    EXPECT_EQ(view.is_fragment(), c.fragment) << c.field;
    EXPECT_EQ(view.fragment_offset_bytes(), c.offset) << c.field;
  }
}

}  // namespace
}  // namespace weft::netstack
