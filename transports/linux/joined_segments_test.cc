// SPDX-License-Identifier: Apache-2.0
//
// What the kernel joins is taken apart, and what follows one another is joined: the bytes of the
// stream stay what they are, and each segment's headers say what it is.
#include "weft/transports/linux/joined_segments.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/transports/linux/frame_headers.h"
#include "weft/transports/linux/segment_joiner.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kMss = 1400;
constexpr uint8_t kPush = 0x08, kAck = 0x10, kCwr = 0x80;

// A frame with `payload`: 14 bytes of Ethernet, IP, TCP with 12 bytes of options.
std::string FrameWith(bool v4, uint32_t sequence, uint8_t flags, const std::string& payload) {
  const size_t ip_bytes = v4 ? 20 : 40;
  std::string frame(14 + ip_bytes + 32, '\0');
  auto* const data = reinterpret_cast<uint8_t*>(frame.data());
  StoreBig16(data + 12, v4 ? 0x0800 : 0x86dd);
  uint8_t* const ip = data + 14;
  uint8_t* const tcp = ip + ip_bytes;
  if (v4) {
    ip[0] = 0x45;
    StoreBig16(ip + 2, static_cast<uint16_t>(52 + payload.size()));
    StoreBig16(ip + 6, 0x4000);
    ip[8] = 64;
    ip[9] = 6;
    StoreBig32(ip + 12, 0x0a000001);
    StoreBig32(ip + 16, 0x0a000002);
    frame_headers::FillIpv4Checksum(ip, 20);
  } else {
    ip[0] = 0x60;
    StoreBig16(ip + 4, static_cast<uint16_t>(32 + payload.size()));
    ip[6] = 6;
    ip[7] = 64;
    ip[23] = 1;
    ip[39] = 2;
  }
  StoreBig16(tcp, 80);
  StoreBig16(tcp + 2, 4000);
  StoreBig32(tcp + 4, sequence);
  tcp[12] = 8 << 4;
  tcp[13] = flags;
  StoreBig16(tcp + 16, frame_headers::PseudoHeaderSum(ip, v4, 6, 32 + payload.size()));
  return frame + payload;
}

std::string Pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return text;
}

VirtioHeader Gso(bool v4) {
  return {.flags = kVirtioNeedsChecksum,
          .gso_type = v4 ? kVirtioTcpV4 : kVirtioTcpV6,
          .header_bytes = 0,
          .segment_bytes = kMss,
          .checksum_start = 0,
          .checksum_offset = 0};
}

class JoinedSegmentsTest : public testing::TestWithParam<bool> {
 protected:
  static bool v4() { return GetParam(); }
  static size_t headers() { return v4() ? 66 : 86; }

  static std::string Text(const Buffer& frame) {
    return {reinterpret_cast<const char*>(frame.data()), frame.size()};
  }
  // Takes all out, expecting a good stream from `sequence` on; returns its bytes.
  static std::string TakeAll(JoinedSegments& segments, uint32_t sequence, size_t* count) {
    std::string stream;
    for (*count = 0; !segments.empty(); ++*count) {
      const Buffer frame = segments.Next();
      const bool last = segments.empty();
      const std::string payload = Text(frame).substr(headers());
      uint8_t flags = kAck;
      if (last) flags |= kPush;
      if (*count == 0) flags |= kCwr;
      std::string expected =
          FrameWith(v4(), sequence + static_cast<uint32_t>(stream.size()), flags, payload);
      if (v4()) {
        auto* const ip = reinterpret_cast<uint8_t*>(expected.data()) + 14;
        StoreBig16(ip + 4, static_cast<uint16_t>(*count));
        frame_headers::FillIpv4Checksum(ip, 20);
      }
      EXPECT_EQ(Text(frame), expected) << *count;
      EXPECT_EQ(frame.offload().flags, FrameOffload::kL4ChecksumGood);
      stream += payload;
    }
    return stream;
  }

  BufferPool pool_{{.count = 128, .bytes = 2048}};
  JoinedSegments segments_;
};

INSTANTIATE_TEST_SUITE_P(Versions, JoinedSegmentsTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "ipv4" : "ipv6"; });

TEST_P(JoinedSegmentsTest, ALongFrameFillsBuffers) {
  const std::string payload = Pattern(60'000);
  // Around the wrap of sequence numbers.
  const std::string frame = FrameWith(v4(), 0xffff'f000, kAck | kPush | kCwr, payload);
  segments_.Prepare(pool_, JoinedSegments::kAny);
  ASSERT_TRUE(
      segments_.Copy({reinterpret_cast<const uint8_t*>(frame.data()), frame.size()}, Gso(v4())));
  size_t count;
  EXPECT_EQ(TakeAll(segments_, 0xffff'f000, &count), payload);
  EXPECT_EQ(count, (frame.size() + 1919) / 1920);
}

TEST_P(JoinedSegmentsTest, OrBecomesWhatWasSent) {
  const std::string payload = Pattern(10 * kMss + 1);
  const std::string frame = FrameWith(v4(), 7, kAck | kPush | kCwr, payload);
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(frame.data()),
                                        frame.size());
  // Its headers are enough to know.
  segments_.Prepare(pool_, JoinedSegments::Segments(bytes.first(headers()), Gso(v4())));
  ASSERT_TRUE(segments_.Copy(bytes, Gso(v4())));
  size_t count;
  EXPECT_EQ(TakeAll(segments_, 7, &count), payload);
  EXPECT_EQ(count, 11u);
}

TEST_P(JoinedSegmentsTest, WhatIsNoSegmentIsLostIfItIsLong) {
  std::string frame = FrameWith(v4(), 7, kAck, Pattern(5000));
  const auto take = [&](const VirtioHeader& header) {
    segments_.Prepare(pool_, JoinedSegments::kAny);
    return segments_.Copy({reinterpret_cast<const uint8_t*>(frame.data()), frame.size()}, header);
  };
  EXPECT_FALSE(take({})) << "not said to be joined";
  frame[14 + (v4() ? 9 : 6)] = 17;
  EXPECT_FALSE(take(Gso(v4()))) << "UDP";
  frame = FrameWith(v4(), 7, kAck, Pattern(5000)) + "more";
  EXPECT_FALSE(take(Gso(v4()))) << "not as long as it says";
  frame = FrameWith(v4(), 7, kAck, Pattern(5000));
  frame[headers() - 32 + 12] = static_cast<char>(0xf0);
  EXPECT_TRUE(take(Gso(v4()))) << "options of the other kind";
  while (!segments_.empty()) segments_.Next();
  frame = FrameWith(v4(), 7, kAck, "short");
  EXPECT_TRUE(take({}));
  EXPECT_EQ(Text(segments_.Next()), frame);
  EXPECT_TRUE(segments_.empty());
}

TEST_P(JoinedSegmentsTest, WithoutBuffersItIsLostAndNothingLeaks) {
  const std::string frame = FrameWith(v4(), 7, kAck | kPush | kCwr, Pattern(20'000));
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(frame.data()),
                                        frame.size());
  std::vector<Buffer> taken;
  while (pool_.available() > 5) taken.push_back(pool_.Allocate());
  for (int i = 0; i < 3; ++i) {
    segments_.Prepare(pool_, JoinedSegments::kAny);
    EXPECT_FALSE(segments_.Copy(bytes, Gso(v4())));
    EXPECT_TRUE(segments_.empty());
  }
  taken.clear();
  segments_.Prepare(pool_, JoinedSegments::kAny);
  EXPECT_TRUE(segments_.Copy(bytes, Gso(v4())));
  size_t count;
  EXPECT_EQ(TakeAll(segments_, 7, &count).size(), 20'000u);
  segments_ = JoinedSegments();
  EXPECT_EQ(pool_.available(), pool_.count());
}

// Their copies have to fit in front of each payload, with a tag that the port may put back.
TEST_P(JoinedSegmentsTest, HeadersThatAreLongerThanTheHeadroomLoseIt) {
  for (const size_t more : {size_t{3}, size_t{4}}) {
    BufferPool pool({.count = 64, .bytes = 2048, .headroom = headers() + more});
    JoinedSegments segments;
    const std::string frame = FrameWith(v4(), 7, kAck, Pattern(9000));
    segments.Prepare(pool, JoinedSegments::kAny);
    EXPECT_EQ(
        segments.Copy({reinterpret_cast<const uint8_t*>(frame.data()), frame.size()}, Gso(v4())),
        more == 4);
  }
}

TEST_P(JoinedSegmentsTest, DamagedHeadersDoNoHarm) {
  Prng random(1);
  const std::string good = FrameWith(v4(), 7, kAck, Pattern(9000));
  for (int i = 0; i < 20'000; ++i) {
    std::string frame = good;
    for (int n = 0; n < 3; ++n) {
      frame[random.Below(headers())] = static_cast<char>(random.Next());
    }
    const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(frame.data()),
                                          frame.size());
    segments_.Prepare(pool_, random.Below(2) == 0
                                 ? JoinedSegments::kAny
                                 : JoinedSegments::Segments(bytes.first(200), Gso(v4())));
    if (!segments_.Copy(bytes, Gso(v4()))) continue;
    while (!segments_.empty()) EXPECT_LE(segments_.Next().size(), 2048u);
  }
}

// Segments of a stream as TCP sends them.
class SegmentJoinerTest : public JoinedSegmentsTest {
 protected:
  Buffer Frame(uint32_t sequence, uint8_t flags, const std::string& payload) {
    const std::string text = FrameWith(v4(), sequence, flags, payload);
    Buffer frame = large_.Allocate();
    std::memcpy(frame.Append(text.size()), text.data(), text.size());
    const bool cut = payload.size() > kMss;
    frame.offload() = {.flags = static_cast<uint16_t>(
                           FrameOffload::kTcp | (v4() ? FrameOffload::kIpv4 : FrameOffload::kIpv6) |
                           (cut ? FrameOffload::kSegment : FrameOffload::kSendL4Checksum)),
                       .l2_bytes = 14,
                       .l4_bytes = static_cast<uint8_t>(cut ? 32 : 0),
                       .l3_bytes = static_cast<uint16_t>(v4() ? 20 : 40),
                       .segment_bytes = static_cast<uint16_t>(cut ? kMss : 0)};
    return frame;
  }
  size_t Joined(std::vector<Buffer>& burst) {
    run_.Begin(absl::MakeSpan(burst), absl::MakeSpan(pieces_));
    return run_.frames();
  }

  BufferPool large_{{.count = 64, .bytes = 8192}};
  JoinedRun run_;
  iovec pieces_[64];
};

INSTANTIATE_TEST_SUITE_P(Versions, SegmentJoinerTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "ipv4" : "ipv6"; });

TEST_P(SegmentJoinerTest, WhatFollowsOneAnotherGoesAsOne) {
  const std::string stream = Pattern(11 * kMss + 100);
  std::vector<Buffer> burst;
  for (size_t at = 0; at < stream.size(); at += 5 * kMss) {
    const std::string piece = stream.substr(at, 5 * kMss);
    const bool last = at + piece.size() == stream.size();
    burst.push_back(Frame(static_cast<uint32_t>(at), last ? kAck | kPush : kAck, piece));
  }
  const std::string first = Text(burst[0]);
  ASSERT_EQ(Joined(burst), 3u);
  std::string joined;
  for (size_t i = 0; i < 3; ++i) {
    joined.append(static_cast<const char*>(pieces_[i].iov_base), pieces_[i].iov_len);
  }
  std::string expected = FrameWith(v4(), 0, kAck | kPush, stream);
  // IPv4's checksum is written where the request is told to the kernel.
  if (v4()) std::memcpy(expected.data() + 24, joined.data() + 24, 2);
  EXPECT_EQ(joined, expected);
  run_.Undo(burst[0]);
  EXPECT_EQ(Text(burst[0]), first);
}

TEST_P(SegmentJoinerTest, AtMost64KiB) {
  std::vector<Buffer> burst;
  for (size_t i = 0; i < 20; ++i) {
    burst.push_back(Frame(static_cast<uint32_t>(i * 5 * kMss), kAck, Pattern(5 * kMss)));
  }
  EXPECT_EQ(Joined(burst), 9u);
}

TEST_P(SegmentJoinerTest, WhatDiffersGoesApart) {
  const auto joined_with = [&](Buffer second) {
    std::vector<Buffer> burst;
    burst.push_back(Frame(0, kAck, Pattern(2 * kMss)));
    burst.push_back(std::move(second));
    return Joined(burst);
  };
  const auto next = [&] { return Frame(2 * kMss, kAck, Pattern(2 * kMss)); };
  EXPECT_EQ(joined_with(next()), 2u);
  EXPECT_EQ(joined_with(Frame(2 * kMss, kAck, "a short end")), 2u);
  EXPECT_EQ(joined_with(Buffer()), 1u);
  EXPECT_EQ(joined_with(Frame(2 * kMss + 1, kAck, Pattern(2 * kMss))), 1u) << "a gap";
  EXPECT_EQ(joined_with(Frame(2 * kMss, kAck, "")), 1u) << "only an acknowledgement";
  EXPECT_EQ(joined_with(Frame(2 * kMss, kAck | kCwr, Pattern(2 * kMss))), 1u);
  // Any byte of the headers that is the stream's; not lengths, checksums and what the test above
  // has.
  const size_t tcp = headers() - 32;
  for (const size_t at : {size_t{0}, size_t{6}, size_t{15}, tcp - 1, tcp - 5, tcp, tcp + 3, tcp + 8,
                          tcp + 14, tcp + 20, tcp + 31}) {
    Buffer other = next();
    other.data()[at] ^= 4;
    EXPECT_EQ(joined_with(std::move(other)), 1u) << at;
  }
  // Lengths that cannot be.
  for (int which = 0; which < 2; ++which) {
    std::vector<Buffer> burst;
    for (uint32_t i = 0; i < 2; ++i) {
      burst.push_back(Frame(i * 2 * kMss, kAck, Pattern(2 * kMss)));
      if (which == 0) burst.back().data()[tcp + 12] = 4 << 4;
      if (which == 1) burst.back().offload().l3_bytes = 4;
    }
    EXPECT_EQ(Joined(burst), 1u);
  }
  Buffer plain = next();
  plain.offload() = {};
  EXPECT_EQ(joined_with(std::move(plain)), 1u);
  std::vector<Buffer> uneven;
  uneven.push_back(Frame(0, kAck, Pattern(2 * kMss - 1)));
  uneven.push_back(Frame(2 * kMss - 1, kAck, Pattern(2 * kMss)));
  EXPECT_EQ(Joined(uneven), 1u) << "a segment would be cut elsewhere";
}

}  // namespace
}  // namespace weft::linux_transport
