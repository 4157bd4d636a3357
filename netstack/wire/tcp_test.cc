// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/tcp.h"

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

// SYN with MSS 1460, no payload; and one with data and FIN.
const Bytes kSyn = FromHex("c3b4 0050 01020304 00000000 6002 faf0 beef 0000 020405b4");
const Bytes kData = FromHex("0050 c3b4 f0000000 01020305 5019 0100 1234 0007 77656674");

TEST(TcpTest, GoldenHeaders) {
  TcpView view;
  ASSERT_TRUE(TcpView::Parse(kSyn, &view));
  EXPECT_EQ(view.source_port(), 50100);
  EXPECT_EQ(view.destination_port(), 80);
  EXPECT_EQ(view.sequence(), 0x01020304u);
  EXPECT_EQ(view.acknowledgment(), 0u);
  EXPECT_EQ(view.header_bytes(), 24u);
  EXPECT_EQ(view.flags(), kTcpSyn);
  EXPECT_EQ(view.window(), 64240);
  EXPECT_EQ(view.checksum(), 0xbeef);
  EXPECT_EQ(Slice(view.options(), 0), FromHex("020405b4"));
  EXPECT_EQ(view.payload_bytes(), 0u);
  EXPECT_EQ(view.sequence_bytes(), 1u);

  ASSERT_TRUE(TcpView::Parse(kData, &view));
  EXPECT_EQ(view.acknowledgment(), 0x01020305u);
  EXPECT_EQ(view.flags(), kTcpFin | kTcpPush | kTcpAck);
  EXPECT_EQ(view.urgent_pointer(), 7);
  EXPECT_TRUE(view.options().empty());
  EXPECT_EQ(Slice(view.payload(), 0), FromHex("77656674"));
  EXPECT_EQ(view.sequence_bytes(), 5u);
}

TEST(TcpTest, WritesWhatItReads) {
  Bytes written(kTcpHeaderBytes, 0xee);
  TcpFields{.source_port = 50100,
            .destination_port = 80,
            .sequence = 0x01020304,
            .header_bytes = 24,
            .flags = kTcpSyn,
            .window = 64240,
            .checksum = 0xbeef}
      .Write(written.data());
  EXPECT_EQ(written, Slice(kSyn, 0, 20));
  TcpFields{.source_port = 80,
            .destination_port = 50100,
            .sequence = 0xf0000000,
            .acknowledgment = 0x01020305,
            .flags = kTcpFin | kTcpPush | kTcpAck,
            .window = 256,
            .checksum = 0x1234,
            .urgent_pointer = 7}
      .Write(written.data());
  EXPECT_EQ(written, Slice(kData, 0, 20));
}

TEST(TcpTest, RefusesHeadersThatAreCut) {
  TcpView view;
  for (size_t n = 0; n < kSyn.size(); ++n) {
    EXPECT_FALSE(TcpView::Parse(Slice(kSyn, 0, n), &view)) << n;
  }
}

TEST(TcpTest, DataOffsetMustCoverTheHeaderAndFitTheBytes) {
  for (int words = 0; words < 16; ++words) {
    Bytes segment = kData;  // 24 bytes
    segment[12] = static_cast<uint8_t>(words << 4 | 0xf);
    TcpView view;
    ASSERT_EQ(TcpView::Parse(segment, &view), words == 5 || words == 6) << words;
    if (words == 6) {
      EXPECT_EQ(view.payload_bytes(), 0u);
    }
  }
}

}  // namespace
}  // namespace weft::netstack
