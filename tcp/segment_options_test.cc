// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/segment_options.h"

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"

namespace weft::tcp {
namespace {

using netstack::Bytes;
using netstack::FromHex;
using netstack::kTcpOptionBytesMax;

Bytes Written(const SegmentOptions& options) {
  Bytes bytes(kTcpOptionBytesMax, 0xee);
  const size_t n = WriteSegmentOptions(options, bytes.data());
  EXPECT_EQ(n, SegmentOptionsBytes(options));
  EXPECT_EQ(n % 4, 0u);
  bytes.resize(n);
  return bytes;
}

TEST(SegmentOptionsTest, SynOfLinux) {
  const SegmentOptions options = {.mss = 1460,
                                  .has_window_scale = true,
                                  .sack_permitted = true,
                                  .has_timestamps = true,
                                  .window_scale = 7,
                                  .timestamp_value = 0x01020304,
                                  .timestamp_echo = 0};
  const Bytes golden = FromHex("020405b4 0402080a 01020304 00000000 01030307");
  EXPECT_EQ(Written(options), golden);
  const SegmentOptions read = ParseSegmentOptions(golden);
  EXPECT_EQ(read.mss, 1460);
  EXPECT_TRUE(read.has_window_scale);
  EXPECT_EQ(read.window_scale, 7);
  EXPECT_TRUE(read.sack_permitted);
  EXPECT_TRUE(read.has_timestamps);
  EXPECT_EQ(read.timestamp_value, 0x01020304u);
  EXPECT_EQ(read.timestamp_echo, 0u);
  EXPECT_EQ(read.sack_count, 0);
  EXPECT_FALSE(read.has_user_timeout);
  EXPECT_EQ(read.malformed, 0);
}

TEST(SegmentOptionsTest, SynWithoutTimestamps) {
  EXPECT_EQ(Written({.mss = 536, .has_window_scale = true, .sack_permitted = true}),
            FromHex("02040218 01010402 01030300"));
}

TEST(SegmentOptionsTest, TimestampsAlone) {
  const Bytes golden = FromHex("0101080a 00000007 00000005");
  EXPECT_EQ(Written({.has_timestamps = true, .timestamp_value = 7, .timestamp_echo = 5}), golden);
  Bytes bytes(kTimestampBytes);
  WriteTimestamps(7, 5, bytes.data());
  EXPECT_EQ(bytes, golden);
  const SegmentOptions read = ParseSegmentOptions(golden);
  EXPECT_TRUE(read.has_timestamps);
  EXPECT_EQ(read.timestamp_value, 7u);
  EXPECT_EQ(read.timestamp_echo, 5u);
}

TEST(SegmentOptionsTest, SackBlocksAsManyAsFit) {
  SegmentOptions options = {.sack_count = 4};
  for (uint32_t i = 0; i < 4; ++i) options.sacks[i] = {Seq(i * 16), Seq(i * 16 + 8)};
  const Bytes four =
      FromHex("0101 0522 00000000 00000008 00000010 00000018 00000020 00000028 00000030 00000038");
  EXPECT_EQ(Written(options), four.size() == 36 ? four : Bytes());
  options.has_timestamps = true;
  const Bytes three = FromHex(
      "0101080a 00000000 00000000 0101 051a 00000000 00000008 00000010 00000018 00000020 00000028");
  EXPECT_EQ(Written(options), three);
  const SegmentOptions read = ParseSegmentOptions(three);
  ASSERT_EQ(read.sack_count, 3);
  EXPECT_EQ(read.sack_blocks()[2], (SeqRange{Seq(32), Seq(40)}));
  EXPECT_EQ(ParseSegmentOptions(four).sack_count, 4);
}

TEST(SegmentOptionsTest, NothingIsLongerThanAHeaderHolds) {
  SegmentOptions all = {.mss = 1,
                        .has_window_scale = true,
                        .sack_permitted = true,
                        .has_timestamps = true,
                        .has_user_timeout = true,
                        .sack_count = 4};
  EXPECT_EQ(Written(all).size(), kTcpOptionBytesMax - 4);  // one SACK block
}

TEST(SegmentOptionsTest, UserTimeoutInSecondsAndMinutes) {
  EXPECT_EQ(Written({.has_user_timeout = true, .user_timeout_s = 30}), FromHex("1c04001e"));
  EXPECT_EQ(ParseSegmentOptions(FromHex("1c04001e")).user_timeout_s, 30u);
  EXPECT_EQ(Written({.has_user_timeout = true, .user_timeout_s = 36000}), FromHex("1c048258"));
  EXPECT_EQ(ParseSegmentOptions(FromHex("1c048258")).user_timeout_s, 36000u);
  const SegmentOptions none = ParseSegmentOptions(FromHex("1c040000"));
  EXPECT_FALSE(none.has_user_timeout);
  EXPECT_EQ(none.malformed, 1);
}

TEST(SegmentOptionsTest, UnknownOptionsAreSkipped) {
  // Fast open (34) and one of an experiment stand in front of the MSS.
  const SegmentOptions read = ParseSegmentOptions(FromHex("2204abcd fd06aabbccdd 01 020405b4"));
  EXPECT_EQ(read.mss, 1460);
  EXPECT_EQ(read.malformed, 0);
}

TEST(SegmentOptionsTest, NothingIsReadBehindTheEnd) {
  const SegmentOptions read = ParseSegmentOptions(FromHex("01 00 020405b4"));
  EXPECT_EQ(read.mss, 0);
  EXPECT_EQ(read.malformed, 0);
}

TEST(SegmentOptionsTest, LargeWindowScalesAreCut) {
  EXPECT_EQ(ParseSegmentOptions(FromHex("0303ff")).window_scale, kWindowScaleMax);
  EXPECT_EQ(ParseSegmentOptions(FromHex("03030e")).window_scale, 14);
}

TEST(SegmentOptionsTest, TheLastOfTwoHolds) {
  EXPECT_EQ(ParseSegmentOptions(FromHex("02040001 02040002")).mss, 2);
}

// What is of the wrong length is ignored, and what follows it is read.
TEST(SegmentOptionsTest, WrongLengthsAreIgnoredAndCounted) {
  for (const char* bad : {"0203aa", "0205aaaaaa", "0302", "0304aaaa", "0403aa", "0502",
                          "0506aaaaaaaa", "050baaaaaaaaaaaaaaaaaa", "0809aaaaaaaaaaaaaa",
                          "080baaaaaaaaaaaaaaaaaa", "1c03aa", "1c05aaaaaa"}) {
    Bytes bytes = FromHex(bad);
    const Bytes good = FromHex("03 03 05");
    bytes.insert(bytes.end(), good.begin(), good.end());
    const SegmentOptions read = ParseSegmentOptions(bytes);
    EXPECT_EQ(read.malformed, 1) << bad;
    EXPECT_TRUE(read.has_window_scale) << bad;
    EXPECT_EQ(read.window_scale, 5) << bad;
    EXPECT_EQ(read.mss, 0) << bad;
    EXPECT_FALSE(read.sack_permitted || read.has_timestamps || read.has_user_timeout) << bad;
    EXPECT_EQ(read.sack_count, 0) << bad;
  }
}

// RFC 9293, MUST-7: "be prepared to handle an illegal option length".
TEST(SegmentOptionsTest, LengthsThatLeadNowhereEndTheReading) {
  for (const char* bad : {"0200", "0201", "02", "0205aabb", "ff", "ff00", "ffff", "0822aaaa"}) {
    Bytes bytes = FromHex("03 03 05 01");
    const Bytes tail = FromHex(bad);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    const SegmentOptions read = ParseSegmentOptions(bytes);
    EXPECT_EQ(read.window_scale, 5) << bad;
    EXPECT_EQ(read.malformed, 1) << bad;
    EXPECT_EQ(read.mss, 0) << bad;
  }
}

}  // namespace
}  // namespace weft::tcp
