// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/udp.h"

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

const Bytes kMessage = FromHex("1f90 0035 000c beef 77656674");

TEST(UdpTest, GoldenHeader) {
  UdpView view;
  ASSERT_TRUE(UdpView::Parse(kMessage, &view));
  EXPECT_EQ(view.source_port(), 8080);
  EXPECT_EQ(view.destination_port(), 53);
  EXPECT_EQ(view.length_bytes(), 12u);
  EXPECT_EQ(view.payload_bytes(), 4u);
  EXPECT_EQ(Slice({view.payload(), view.payload_bytes()}, 0), FromHex("77656674"));
  EXPECT_EQ(view.checksum(), 0xbeef);
  Bytes written(kUdpHeaderBytes, 0xee);
  WriteUdp(written.data(), 8080, 53, 12, 0xbeef);
  EXPECT_EQ(written, Slice(kMessage, 0, 8));
}

TEST(UdpTest, RefusesWhatIsCutAtAnyLength) {
  UdpView view;
  for (size_t n = 0; n < kMessage.size(); ++n) {
    EXPECT_FALSE(UdpView::Parse(Slice(kMessage, 0, n), &view)) << n;
  }
}

TEST(UdpTest, LengthMustCoverTheHeaderAndFitTheBytes) {
  for (const uint16_t length : {0, 1, 7, 8, 11, 12, 13, 0x0c00, 0xffff}) {
    Bytes message = kMessage;
    message[4] = static_cast<uint8_t>(length >> 8);
    message[5] = static_cast<uint8_t>(length);
    UdpView view;
    ASSERT_EQ(UdpView::Parse(message, &view), length >= 8 && length <= 12) << length;
    if (length == 8) {
      EXPECT_EQ(view.payload_bytes(), 0u);
    }
  }
}

TEST(UdpTest, BytesBehindTheLengthAreNotPayload) {
  Bytes message = kMessage;
  message.resize(30);
  UdpView view;
  ASSERT_TRUE(UdpView::Parse(message, &view));
  EXPECT_EQ(view.payload_bytes(), 4u);
}

}  // namespace
}  // namespace weft::netstack
