// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/virtio_header.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/transports/conformance/packet.h"

namespace weft::linux_transport {
namespace {

class VirtioHeaderTest : public testing::Test {
 protected:
  Buffer FrameOf(const Packet& packet) {
    Buffer frame = pool_.Allocate();
    std::memset(frame.Append(12), 2, 12);
    StoreBig16(frame.Append(2), packet.type());
    const std::string bytes = packet.Bytes();
    std::memcpy(frame.Append(bytes.size()), bytes.data(), bytes.size());
    return frame;
  }
  BufferPool pool_{{.count = 64, .bytes = 4096}};
};

TEST_F(VirtioHeaderTest, NothingIsAskedForByDefault) {
  Buffer frame = FrameOf({});
  VirtioHeader header;
  std::memset(&header, 0xff, sizeof(header));
  ASSERT_TRUE(ToVirtio(frame, &header));
  for (size_t i = 0; i < sizeof(header); ++i) {
    EXPECT_EQ(reinterpret_cast<const uint8_t*>(&header)[i], 0);
  }
}

TEST_F(VirtioHeaderTest, ChecksumsAreAskedFor) {
  const Packet packet = {.ipv4 = false, .protocol = kProtocolTcp, .payload = "x"};
  Buffer frame = FrameOf(packet);
  RequestChecksums(packet, frame);
  VirtioHeader header;
  ASSERT_TRUE(ToVirtio(frame, &header));
  EXPECT_EQ(header.flags, kVirtioNeedsChecksum);
  EXPECT_EQ(header.checksum_start, 54);
  EXPECT_EQ(header.checksum_offset, 16);
  EXPECT_EQ(header.gso_type, 0);
}

TEST_F(VirtioHeaderTest, TheChecksumOfIpv4IsFilledIn) {
  const Packet packet;
  const Buffer good = FrameOf(packet);
  Buffer frame = FrameOf(packet);
  StoreBig16(frame.data() + 24, 0);
  frame.offload() = {
      .flags = FrameOffload::kIpv4 | FrameOffload::kSendIpChecksum, .l2_bytes = 14, .l3_bytes = 20};
  VirtioHeader header;
  ASSERT_TRUE(ToVirtio(frame, &header));
  EXPECT_EQ(header.flags, 0);
  EXPECT_EQ(std::memcmp(frame.data(), good.data(), good.size()), 0);
}

TEST_F(VirtioHeaderTest, SegmentsAreAskedFor) {
  struct Case {
    bool ipv4;
    uint8_t protocol;
    uint8_t type;
    uint16_t header_bytes;
  };
  for (const Case& test :
       {Case{true, kProtocolTcp, kVirtioTcpV4, 54}, Case{false, kProtocolTcp, kVirtioTcpV6, 74},
        Case{true, kProtocolUdp, kVirtioUdpL4, 42}, Case{false, kProtocolUdp, kVirtioUdpL4, 62}}) {
    const Packet packet = {
        .ipv4 = test.ipv4, .protocol = test.protocol, .payload = std::string(1001, 'x')};
    Buffer frame = FrameOf(packet);
    RequestSegments(packet, 500, frame);
    VirtioHeader header;
    ASSERT_TRUE(ToVirtio(frame, &header));
    EXPECT_EQ(header.flags, kVirtioNeedsChecksum);
    EXPECT_EQ(header.gso_type, test.type);
    EXPECT_EQ(header.segment_bytes, 500);
    EXPECT_EQ(header.header_bytes, test.header_bytes);
    // Only the first one is to have CWR (RFC 3168, 6.1.2).
    if (test.protocol == kProtocolTcp) {
      frame.data()[test.header_bytes - 20 + 13] |= 0x80;
      ASSERT_TRUE(ToVirtio(frame, &header));
      EXPECT_EQ(header.gso_type, test.type | kVirtioEcn);
    }
    // What fits one segment is not cut.
    RequestSegments(packet, 1001, frame);
    ASSERT_TRUE(ToVirtio(frame, &header));
    EXPECT_EQ(header.gso_type, 0);
    EXPECT_EQ(header.flags, kVirtioNeedsChecksum);
  }
}

TEST_F(VirtioHeaderTest, RequestsBeyondTheFrameAreRefused) {
  const Packet packet = {.payload = "short"};
  VirtioHeader header;
  for (const auto change :
       {+[](FrameOffload& o) { o.l3_bytes = 5000; }, +[](FrameOffload& o) { o.l2_bytes = 255; },
        +[](FrameOffload& o) { o.l3_bytes = 0; },
        +[](FrameOffload& o) { o.flags &= ~FrameOffload::kUdp; },
        +[](FrameOffload& o) { o.segment_bytes = 0; },
        +[](FrameOffload& o) { o.l4_bytes = 200; }}) {
    Buffer frame = FrameOf(packet);
    RequestSegments(packet, 2, frame);
    change(frame.offload());
    EXPECT_FALSE(ToVirtio(frame, &header));
  }
}

TEST_F(VirtioHeaderTest, AMissingChecksumThatIsGoodIsAskedFor) {
  for (const bool ipv4 : {true, false}) {
    for (const uint8_t protocol : {kProtocolTcp, kProtocolUdp}) {
      const Packet packet = {.ipv4 = ipv4, .protocol = protocol, .payload = "payload"};
      Buffer expected = FrameOf(packet);
      RequestChecksums(packet, expected);
      Buffer frame = FrameOf(packet);
      StoreBig16(frame.data() + packet.checksum(), 0x1234);
      frame.offload().flags = FrameOffload::kL4ChecksumGood;
      VirtioHeader header;
      ASSERT_TRUE(ToVirtio(frame, &header));
      EXPECT_EQ(header.flags, kVirtioNeedsChecksum);
      EXPECT_EQ(header.checksum_start, packet.l4());
      EXPECT_EQ(LoadBig16(frame.data() + packet.checksum()),
                LoadBig16(expected.data() + packet.checksum()));
    }
  }
  // UDP that has none goes on without.
  Buffer frame = FrameOf({});
  frame.offload().flags = FrameOffload::kL4ChecksumGood;
  VirtioHeader header;
  ASSERT_TRUE(ToVirtio(frame, &header));
  EXPECT_EQ(header.flags, 0);
  FillMissingChecksum(frame);
  EXPECT_EQ(LoadBig16(frame.data() + Packet().checksum()), 0);
}

TEST_F(VirtioHeaderTest, AMissingChecksumThatIsGoodIsFilledIn) {
  for (const bool ipv4 : {true, false}) {
    for (const uint8_t protocol : {kProtocolTcp, kProtocolUdp}) {
      for (const char* payload : {"payload", "payload of even length"}) {
        const Packet packet = {.ipv4 = ipv4, .protocol = protocol, .payload = payload};
        Buffer frame = FrameOf(packet);
        RequestChecksums(packet, frame);  // with the sum of the pseudo-header, as it is received
        frame.offload() = {};
        FillMissingChecksum(frame);
        EXPECT_FALSE(HasGoodChecksums(frame)) << "nobody said that it was good";
        frame.offload().flags = FrameOffload::kL4ChecksumGood;
        FillMissingChecksum(frame);
        frame.offload().flags = FrameOffload::kIpChecksumGood;
        EXPECT_TRUE(HasGoodChecksums(frame));
      }
    }
  }
}

TEST_F(VirtioHeaderTest, WhatTheKernelSaysOfAFrame) {
  EXPECT_EQ(FromVirtio({}).flags, 0);
  VirtioHeader header = {};
  header.flags = kVirtioNeedsChecksum;
  EXPECT_EQ(FromVirtio(header).flags, FrameOffload::kL4ChecksumGood);
  header.flags = kVirtioDataValid;
  EXPECT_EQ(FromVirtio(header).flags, FrameOffload::kL4ChecksumGood);
}

TEST_F(VirtioHeaderTest, JoinedDatagramsAreCutApart) {
  for (const bool ipv4 : {true, false}) {
    Packet packet = {.ipv4 = ipv4, .payload = std::string(100, 'a') + std::string(100, 'b') + "c"};
    Buffer joined = FrameOf(packet);
    StoreBig16(joined.data() + packet.checksum(), 1);  // there is one
    std::memset(joined.Append(3), 0, 3);               // padding
    VirtioHeader header = {};
    header.gso_type = kVirtioUdpL4;
    header.segment_bytes = 100;
    ASSERT_TRUE(UdpSegments::IsJoined(header));
    UdpSegments segments(joined.bytes(), header);
    ASSERT_TRUE(segments.valid());
    for (const std::string& payload :
         {std::string(100, 'a'), std::string(100, 'b'), std::string("c")}) {
      ASSERT_FALSE(segments.done());
      packet.payload = payload;
      Buffer expected = FrameOf(packet);
      RequestChecksums(packet, expected);
      Buffer piece = pool_.Allocate();
      EXPECT_EQ(segments.next_bytes(), expected.size());
      segments.Next(piece);
      ASSERT_EQ(piece.size(), expected.size());
      EXPECT_TRUE(HasGoodChecksums(piece));
      // From UDP on: the IPv4 header has an identification of its own.
      EXPECT_EQ(std::memcmp(piece.data() + packet.l4(), expected.data() + packet.l4(),
                            piece.size() - packet.l4()),
                0);
    }
    EXPECT_TRUE(segments.done());
  }
}

// Whatever the bytes are, nothing outside of the frame is touched, and it comes to an end.
TEST_F(VirtioHeaderTest, AnyBytesAreHarmless) {
  Prng prng(1);
  const Packet packet = {.payload = std::string(100, 'x')};
  const Buffer whole = FrameOf(packet);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<uint8_t> bytes(whole.data(), whole.data() + prng.Below(whole.size() + 1));
    for (int flips = 0; flips < 3 && !bytes.empty(); ++flips) {
      bytes[prng.Below(std::min<size_t>(bytes.size(), 44))] ^=
          static_cast<uint8_t>(1 << prng.Below(8));
    }
    VirtioHeader header = {};
    header.gso_type = kVirtioUdpL4;
    header.segment_bytes = static_cast<uint16_t>(prng.Below(40));
    UdpSegments segments(bytes, header);
    for (int n = 0; segments.valid() && !segments.done(); ++n) {
      ASSERT_LT(n, 200);
      Buffer piece = pool_.Allocate();
      ASSERT_LE(segments.next_bytes(), bytes.size());
      segments.Next(piece);
    }
    Buffer frame = pool_.Allocate();
    if (!bytes.empty()) std::memcpy(frame.Append(bytes.size()), bytes.data(), bytes.size());
    frame.offload().flags = FrameOffload::kL4ChecksumGood;
    FillMissingChecksum(frame);
    ToVirtio(frame, &header);
  }
}

}  // namespace
}  // namespace weft::linux_transport
