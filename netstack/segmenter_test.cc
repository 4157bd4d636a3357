// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/segmenter.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

constexpr uint16_t kRequests =
    FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum | FrameOffload::kSegment;

// A frame by its parts, and what the naive reference makes of them.
struct Parts {
  bool v6 = false;
  bool tcp = true;
  bool vlan = false;
  uint16_t id = 0xfffe;
  Bytes ip_options =
      {};  // IPv4 options or IPv6 extension headers, which begin with destination ones
  Bytes tcp_options = {};
  uint8_t tcp_flags = 0x18;
  uint32_t sequence = 0xfffffff0;
  Bytes payload = {};

  size_t l2_bytes() const { return vlan ? 18 : 14; }
  size_t l3_bytes() const { return (v6 ? 40 : 20) + ip_options.size(); }
  size_t l4_bytes() const { return tcp ? 20 + tcp_options.size() : 8; }
  uint8_t protocol() const { return tcp ? 6 : 17; }
  IpAddress source() const { return IpAddress::Parse(v6 ? "fd00::1" : "10.0.0.1").value(); }
  IpAddress destination() const { return IpAddress::Parse(v6 ? "fd00::2" : "10.0.0.2").value(); }

  Bytes Message(uint16_t checksum) const {
    Bytes message;
    if (tcp) {
      message = FromHex("1f900035 00000000 00000001 0000 0100 0000 0000");
      StoreBig32(&message[4], sequence);
      message[12] = static_cast<uint8_t>(l4_bytes() / 4 << 4);
      message[13] = tcp_flags;
      StoreBig16(&message[16], checksum);
      message = Join({message, tcp_options});
    } else {
      message = FromHex("1f900035 0000 0000");
      StoreBig16(&message[4], static_cast<uint16_t>(8 + payload.size()));
      StoreBig16(&message[6], checksum);
    }
    return Join({message, payload});
  }
  Bytes Frame(const Bytes& message) const {
    const Bytes macs = FromHex("020000000002 020000000001");
    const Bytes type = FromHex(v6 ? "86dd" : "0800");
    const Bytes packet =
        v6 ? Ipv6Packet({.next_header = ip_options.empty() ? protocol() : uint8_t{60}},
                        Join({ip_options, message}))
           : Ipv4Packet(
                 {.id = id, .dont_fragment = true, .protocol = protocol(), .options = ip_options},
                 message);
    return Join({macs, vlan ? FromHex("8100000a") : Bytes(), type, packet});
  }
  // With all checksums.
  Bytes Finished() const {
    uint16_t checksum = NaiveL4Checksum(source(), destination(), protocol(), Message(0));
    if (!tcp && checksum == 0) checksum = 0xffff;
    return Frame(Message(checksum));
  }
  // As the stack hands it down: the sum of the pseudo-header in the field, that of IPv4 0.
  Bytes Requested() const {
    // The complement of the pseudo-header's sum is the checksum of a message of zeros.
    const size_t bytes = Message(0).size();
    const uint16_t sum = static_cast<uint16_t>(
        ~NaiveL4Checksum(source(), destination(), protocol(), Bytes(bytes, 0)));
    Bytes frame = Frame(Message(sum));
    if (!v6) StoreBig16(&frame[l2_bytes() + 10], 0);
    return frame;
  }
  std::vector<Bytes> Segments(size_t segment_bytes) const {
    std::vector<Bytes> segments;
    for (size_t at = 0; at == 0 || at < payload.size(); at += segment_bytes) {
      Parts part = *this;
      part.payload = Slice(payload, at, segment_bytes);
      part.id = static_cast<uint16_t>(id + segments.size());
      part.sequence = sequence + static_cast<uint32_t>(at);
      if (at + segment_bytes < payload.size()) part.tcp_flags &= static_cast<uint8_t>(~0x09);
      if (at > 0) part.tcp_flags &= 0x7f;
      segments.push_back(part.Finished());
    }
    return segments;
  }
  FrameOffload Offload(uint16_t requests, size_t segment_bytes = 0) const {
    return {
        .flags = static_cast<uint16_t>((v6 ? FrameOffload::kIpv6 : FrameOffload::kIpv4) |
                                       (tcp ? FrameOffload::kTcp : FrameOffload::kUdp) | requests),
        .l2_bytes = static_cast<uint8_t>(l2_bytes()),
        .l4_bytes = static_cast<uint8_t>(l4_bytes()),
        .l3_bytes = static_cast<uint16_t>(l3_bytes()),
        .segment_bytes = static_cast<uint16_t>(segment_bytes)};
  }
};

std::vector<Parts> AllShapes(const Bytes& payload) {
  std::vector<Parts> shapes;
  for (int bits = 0; bits < 16; ++bits) {
    Parts parts{
        .v6 = (bits & 1) != 0, .tcp = (bits & 2) != 0, .vlan = (bits & 4) != 0, .payload = payload};
    if ((bits & 8) != 0) {
      parts.ip_options =
          parts.v6 ? Bytes{parts.protocol(), 0, 1, 4, 0, 0, 0, 0} : FromHex("94040000");
      parts.tcp_options = FromHex("0101080a 01020304 05060708");
    }
    shapes.push_back(parts);
  }
  return shapes;
}

class SegmenterTest : public testing::Test {
 protected:
  Buffer Load(const Bytes& frame, const FrameOffload& offload) {
    Buffer buffer = large_.Allocate();
    if (!frame.empty()) std::memcpy(buffer.Append(frame.size()), frame.data(), frame.size());
    buffer.offload() = offload;
    return buffer;
  }
  // Nothing where it returns false.
  std::vector<Bytes> Cut(const Bytes& frame, const FrameOffload& offload) {
    std::vector<Bytes> segments;
    const bool good = Segment(Load(frame, offload), pool_, [&](Buffer segment) {
      EXPECT_EQ(segment.offload().flags, 0);
      EXPECT_EQ(segment.headroom(), 32u);
      segments.push_back(Slice(segment.bytes(), 0));
    });
    EXPECT_EQ(good, !segments.empty());
    EXPECT_EQ(pool_.available(), pool_.count());
    return segments;
  }

  BufferPool large_{{.count = 2, .bytes = 70000, .headroom = 0}};
  BufferPool pool_{{.count = 128, .bytes = 2048, .headroom = 32}};
};

TEST_F(SegmenterTest, ChecksumsAsTheReference) {
  for (const size_t length : {0u, 1u, 2u, 17u, 1400u, 60001u}) {
    for (const Parts& parts : AllShapes(Pattern(length))) {
      Buffer frame = Load(parts.Requested(), parts.Offload(FrameOffload::kSendIpChecksum |
                                                           FrameOffload::kSendL4Checksum));
      ASSERT_TRUE(FinishChecksums(frame));
      ASSERT_EQ(Slice(frame.bytes(), 0), parts.Finished()) << length;
      EXPECT_EQ(frame.offload().flags, parts.Offload(0).flags) << "requests are done";
      EXPECT_TRUE(FinishChecksums(frame));
      EXPECT_EQ(Slice(frame.bytes(), 0), parts.Finished()) << "nothing left to do";
    }
  }
}

TEST_F(SegmenterTest, OneChecksumAlone) {
  const Parts parts{.payload = Pattern(100)};
  const Bytes requested = parts.Requested();
  const Bytes finished = parts.Finished();
  Buffer frame = Load(requested, parts.Offload(FrameOffload::kSendIpChecksum));
  ASSERT_TRUE(FinishChecksums(frame));
  EXPECT_EQ(Slice(frame.bytes(), 0, 34), Slice(finished, 0, 34));
  EXPECT_EQ(Slice(frame.bytes(), 34), Slice(requested, 34));
  frame = Load(requested, parts.Offload(FrameOffload::kSendL4Checksum));
  ASSERT_TRUE(FinishChecksums(frame));
  EXPECT_EQ(Slice(frame.bytes(), 0, 34), Slice(requested, 0, 34));
  EXPECT_EQ(Slice(frame.bytes(), 34), Slice(finished, 34));
}

TEST_F(SegmenterTest, AUdpChecksumOfZeroIsSentAsOnes) {
  // Two bytes that make the sum of all the rest ffff.
  Parts parts{.tcp = false, .payload = Bytes(2, 0)};
  const uint16_t rest = NaiveL4Checksum(parts.source(), parts.destination(), 17, parts.Message(0));
  StoreBig16(parts.payload.data(), rest);
  ASSERT_EQ(NaiveL4Checksum(parts.source(), parts.destination(), 17, parts.Message(0)), 0);
  Buffer frame = Load(parts.Requested(), parts.Offload(FrameOffload::kSendL4Checksum));
  ASSERT_TRUE(FinishChecksums(frame));
  EXPECT_EQ(LoadBig16(frame.data() + 14 + 20 + 6), 0xffff);
}

TEST_F(SegmenterTest, PaddingIsNoPartOfTheMessage) {
  const Parts parts{.payload = Pattern(3)};
  Bytes padded = parts.Requested();
  padded.resize(60, 0xa5);
  Buffer frame =
      Load(padded, parts.Offload(FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum));
  ASSERT_TRUE(FinishChecksums(frame));
  EXPECT_EQ(Slice(frame.bytes(), 0, 57), parts.Finished());
}

TEST_F(SegmenterTest, SegmentsAsTheReference) {
  for (const size_t length : {0u, 1u, 99u, 100u, 101u, 4321u}) {
    for (Parts parts : AllShapes(Pattern(length))) {
      for (const uint8_t flags : {0x18, 0x99, 0x10}) {
        parts.tcp_flags = flags;
        ASSERT_EQ(Cut(parts.Requested(), parts.Offload(kRequests, 100)), parts.Segments(100))
            << length;
      }
    }
  }
}

TEST_F(SegmenterTest, SegmentationImpliesChecksums) {
  const Parts parts{.payload = Pattern(3000)};
  EXPECT_EQ(Cut(parts.Requested(), parts.Offload(FrameOffload::kSegment, 1400)),
            parts.Segments(1400));
}

TEST_F(SegmenterTest, RandomShapes) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Prng prng(seed);
    std::vector<Parts> shapes = AllShapes(Pattern(prng.Below(20000), seed));
    Parts parts = shapes[prng.Below(shapes.size())];
    parts.id = static_cast<uint16_t>(prng.Next());
    parts.sequence = static_cast<uint32_t>(prng.Next());
    parts.tcp_flags = static_cast<uint8_t>(prng.Next());
    const size_t segment = 200 + prng.Below(1700);
    ASSERT_EQ(Cut(parts.Requested(), parts.Offload(kRequests, segment)), parts.Segments(segment))
        << "seed " << seed;
  }
}

TEST_F(SegmenterTest, LengthsThatDoNotFitAreRefused) {
  for (const Parts& parts : AllShapes(Pattern(500))) {
    const Bytes good = parts.Requested();
    const FrameOffload offload = parts.Offload(kRequests, 100);
    ASSERT_FALSE(Cut(good, offload).empty());
    // Cut anywhere: the packet is longer than the frame.
    for (size_t n = 0; n < good.size(); n += n < 120 ? 1 : 50) {
      EXPECT_TRUE(Cut(Slice(good, 0, n), offload).empty()) << n;
    }
    const auto refused = [&](auto change) {
      FrameOffload other = offload;
      change(other);
      return Cut(good, other).empty();
    };
    EXPECT_TRUE(refused([](FrameOffload& o) { o.segment_bytes = 0; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l2_bytes = 0; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l2_bytes = 255; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l3_bytes = 0; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l3_bytes = 12; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l3_bytes = 65535; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l4_bytes = 0; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.l4_bytes = 255; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.flags ^= FrameOffload::kSegment; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.flags ^= FrameOffload::kIpv4; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.flags ^= FrameOffload::kIpv6; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.flags ^= FrameOffload::kTcp; }));
    EXPECT_TRUE(refused([](FrameOffload& o) { o.flags ^= FrameOffload::kUdp; }));
  }
  EXPECT_FALSE(Segment(Buffer(), pool_, [](Buffer) {}));
}

TEST_F(SegmenterTest, ChecksumsOfFramesThatDoNotFitTheirLengthsAreNotWritten) {
  for (const Parts& parts : AllShapes(Pattern(20))) {
    const Bytes good = parts.Requested();
    const FrameOffload offload =
        parts.Offload(FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum);
    for (size_t n = 0; n < good.size(); ++n) {
      const Bytes cut = Slice(good, 0, n);
      Buffer frame = Load(cut, offload);
      EXPECT_FALSE(FinishChecksums(frame)) << n;
      EXPECT_EQ(Slice(frame.bytes(), 0), cut) << n;
      EXPECT_EQ(frame.offload().flags, parts.Offload(0).flags);
    }
    Buffer frame = Load(good, parts.Offload(kRequests, 100));
    EXPECT_FALSE(FinishChecksums(frame)) << "segmentation is another function's";
    EXPECT_EQ(frame.offload().flags, parts.Offload(kRequests).flags);
  }
}

TEST_F(SegmenterTest, AllOrNothingWhenThePoolIsShort) {
  const Parts parts{.payload = Pattern(450)};
  for (size_t count = 1; count <= 6; ++count) {
    BufferPool pool({.count = count, .bytes = 512, .headroom = 32});
    size_t segments = 0;
    EXPECT_EQ(Segment(Load(parts.Requested(), parts.Offload(kRequests, 100)), pool,
                      [&](Buffer) { ++segments; }),
              count >= 5);
    EXPECT_EQ(segments, count >= 5 ? 5u : 0u);
  }
  // Segments longer than its buffers.
  EXPECT_TRUE(
      Cut(Parts{.payload = Pattern(3000)}.Requested(), parts.Offload(kRequests, 2000)).empty());
}

TEST_F(SegmenterTest, WhoTakesSegmentsMayEmptyThePool) {
  const Parts parts{.payload = Pattern(450)};
  std::vector<Buffer> held;
  size_t segments = 0;
  EXPECT_TRUE(Segment(Load(parts.Requested(), parts.Offload(kRequests, 100)), pool_, [&](Buffer) {
    ++segments;
    while (Buffer buffer = pool_.Allocate()) held.push_back(std::move(buffer));
  }));
  EXPECT_EQ(segments, 5u);
}

TEST_F(SegmenterTest, AllocatesNothing) {
  const Parts parts{.payload = Pattern(9000)};
  const Bytes requested = parts.Requested();
  for (int round = 0; round < 10; ++round) {
    Buffer frame = Load(requested, parts.Offload(kRequests, 1400));
    const int64_t before = AllocationsOfThisThread();
    EXPECT_TRUE(Segment(std::move(frame), pool_, [](Buffer) {}));
    EXPECT_EQ(AllocationsOfThisThread(), before);
  }
}

}  // namespace
}  // namespace weft::netstack
