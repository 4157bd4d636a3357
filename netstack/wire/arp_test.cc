// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/arp.h"

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

// "Who has 10.0.0.2? Tell 10.0.0.1", as Linux sends it.
const Bytes kRequest = FromHex("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002");

TEST(ArpTest, GoldenRequest) {
  Arp arp;
  ASSERT_TRUE(Arp::Parse(kRequest, &arp));
  EXPECT_EQ(arp.operation, Arp::Operation::kRequest);
  EXPECT_EQ(MacToString(arp.sender_mac), "02:00:00:00:00:01");
  EXPECT_EQ(arp.sender.ToString(), "10.0.0.1");
  EXPECT_EQ(MacToString(arp.target_mac), "00:00:00:00:00:00");
  EXPECT_EQ(arp.target.ToString(), "10.0.0.2");
  Bytes written(kArpBytes, 0xee);
  arp.Write(written.data());
  EXPECT_EQ(written, kRequest);
}

TEST(ArpTest, GoldenReply) {
  const Arp reply = {.operation = Arp::Operation::kReply,
                     .sender_mac = {2, 0, 0, 0, 0, 2},
                     .sender = IpAddress::V4(0x0a000002u),
                     .target_mac = {2, 0, 0, 0, 0, 1},
                     .target = IpAddress::V4(0x0a000001u)};
  Bytes written(kArpBytes, 0xee);
  reply.Write(written.data());
  EXPECT_EQ(written, FromHex("0001080006040002 020000000002 0a000002 020000000001 0a000001"));
}

TEST(ArpTest, PaddingBehindItIsIgnored) {
  Bytes padded = kRequest;
  padded.resize(46, 0xff);
  Arp arp;
  EXPECT_TRUE(Arp::Parse(padded, &arp));
}

TEST(ArpTest, RefusesWhatIsCutAtAnyLength) {
  Arp arp;
  for (size_t n = 0; n < kArpBytes; ++n) EXPECT_FALSE(Arp::Parse(Slice(kRequest, 0, n), &arp)) << n;
}

TEST(ArpTest, RefusesOtherHardwareProtocolsLengthsAndOperations) {
  for (size_t i = 0; i < 8; ++i) {
    for (const int value : {0, 1, 2, 3, 4, 6, 8, 9, 16, 255}) {
      Bytes other = kRequest;
      other[i] = static_cast<uint8_t>(value);
      Arp arp;
      const bool reply = i == 7 && value == 2;
      EXPECT_EQ(Arp::Parse(other, &arp), other == kRequest || reply) << i << " " << value;
    }
  }
}

}  // namespace
}  // namespace weft::netstack
