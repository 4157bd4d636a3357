// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/icmp.h"

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"
#include "weft/netstack/wire/checksum.h"

namespace weft::netstack {
namespace {

// RFC 4861, 4.3 and 4.4.
const Bytes kSolicitation =
    FromHex("8700 0000 00000000 fe800000000000000000000000000002 01 01 020000000001");
const Bytes kAdvertisement =
    FromHex("8800 0000 e0000000 fe800000000000000000000000000002 02 01 020000000002");

bool Parses(const Bytes& bytes, NeighborMessage* message = nullptr) {
  NeighborMessage scratch;
  return NeighborMessage::Parse(bytes, message != nullptr ? message : &scratch);
}

TEST(IcmpTest, GoldenEcho) {
  const Bytes echo = FromHex("0800 f7f4 0003 0007 6161");
  IcmpView view;
  ASSERT_TRUE(IcmpView::Parse(echo, &view));
  EXPECT_EQ(view.type(), static_cast<uint8_t>(IcmpType::kEcho));
  EXPECT_EQ(view.code(), 0);
  EXPECT_EQ(view.id(), 3);
  EXPECT_EQ(view.sequence(), 7);
  EXPECT_EQ(view.rest(), 0x00030007u);
  EXPECT_EQ(Slice(view.body(), 0), FromHex("6161"));
  EXPECT_EQ(view.bytes().size(), echo.size());
  Bytes written(kIcmpHeaderBytes, 0xee);
  WriteIcmp(written.data(), 8, 0, 0x00030007);
  EXPECT_EQ(written, FromHex("0800 0000 0003 0007"));
}

TEST(IcmpTest, RefusesWhatIsCutWithinTheHeader) {
  IcmpView view;
  for (size_t n = 0; n < 8; ++n) EXPECT_FALSE(IcmpView::Parse(Bytes(n), &view)) << n;
  EXPECT_TRUE(IcmpView::Parse(Bytes(8), &view));
  EXPECT_TRUE(view.body().empty());
}

TEST(IcmpTest, Errors) {
  for (int type = 0; type < 256; ++type) {
    const bool v4 = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
    EXPECT_EQ(IsIcmpError(static_cast<uint8_t>(type)), v4) << type;
    EXPECT_EQ(IsIcmpv6Error(static_cast<uint8_t>(type)), type < 128) << type;
  }
}

TEST(NeighborMessageTest, GoldenSolicitation) {
  NeighborMessage message;
  ASSERT_TRUE(Parses(kSolicitation, &message));
  EXPECT_FALSE(message.advertisement);
  EXPECT_EQ(message.target.ToString(), "fe80::2");
  ASSERT_TRUE(message.has_mac);
  EXPECT_EQ(MacToString(message.mac), "02:00:00:00:00:01");
  Bytes written(32, 0xee);
  EXPECT_EQ(message.Write(written.data()), 32u);
  EXPECT_EQ(written, kSolicitation);
}

TEST(NeighborMessageTest, GoldenAdvertisement) {
  NeighborMessage message;
  ASSERT_TRUE(Parses(kAdvertisement, &message));
  EXPECT_TRUE(message.advertisement && message.router && message.solicited && message.override);
  ASSERT_TRUE(message.has_mac);
  Bytes written(32, 0xee);
  EXPECT_EQ(message.Write(written.data()), 32u);
  EXPECT_EQ(written, kAdvertisement);
}

TEST(NeighborMessageTest, WithoutOption) {
  NeighborMessage message;
  ASSERT_TRUE(Parses(Slice(kSolicitation, 0, 24), &message));
  EXPECT_FALSE(message.has_mac);
  Bytes written(24, 0xee);
  EXPECT_EQ(message.Write(written.data()), 24u);
  EXPECT_EQ(written, Slice(kSolicitation, 0, 24));
}

TEST(NeighborMessageTest, RefusesWhatIsCutAtAnyLength) {
  for (size_t n = 0; n < kSolicitation.size(); ++n) {
    EXPECT_EQ(Parses(Slice(kSolicitation, 0, n)), n == 24) << n;
  }
}

TEST(NeighborMessageTest, ReservedFlagsOfSolicitationsAreIgnored) {
  Bytes bytes = kSolicitation;
  bytes[4] = 0xff;
  NeighborMessage message;
  ASSERT_TRUE(Parses(bytes, &message));
  EXPECT_FALSE(message.router || message.solicited || message.override);
}

TEST(NeighborMessageTest, RefusesOtherTypesAndCodes) {
  for (int type = 0; type < 256; ++type) {
    Bytes bytes = kSolicitation;
    bytes[0] = static_cast<uint8_t>(type);
    EXPECT_EQ(Parses(bytes), type == 135 || type == 136) << type;
  }
  Bytes bytes = kSolicitation;
  bytes[1] = 1;
  EXPECT_FALSE(Parses(bytes));
}

TEST(NeighborMessageTest, RefusesTargetsThatAreNoNeighbours) {
  for (const char* target :
       {"ff020000000000000000000000000001", "00000000000000000000ffff0a000001"}) {
    EXPECT_FALSE(Parses(Join({Slice(kSolicitation, 0, 8), FromHex(target)}))) << target;
  }
}

TEST(NeighborMessageTest, Options) {
  const Bytes fixed = Slice(kSolicitation, 0, 24);
  const struct {
    const char* options;
    bool good;
    bool has_mac;
  } kCases[] = {
      {"01 01 020000000001", true, true},
      {"01 00 020000000001", false, false},                    // length 0
      {"01 02 020000000001", false, false},                    // longer than the message
      {"01 02 020000000001 0000000000000000", true, false},    // not of Ethernet
      {"0e 01 000000000000 01 01 020000000001", true, true},   // a nonce (RFC 3971) first
      {"02 01 020000000001", true, false},                     // the other message's
      {"01 01 020000000001 0e 00 000000000000", false, true},  // a bad one behind a good one
      {"ff 03 000000000000 0000000000000000 0000000000000000", true, false},
  };
  for (const auto& c : kCases) {
    NeighborMessage message;
    ASSERT_EQ(Parses(Join({fixed, FromHex(c.options)}), &message), c.good) << c.options;
    if (!c.good) continue;
    EXPECT_EQ(message.has_mac, c.has_mac) << c.options;
  }
}

}  // namespace
}  // namespace weft::netstack
