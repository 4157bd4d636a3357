// SPDX-License-Identifier: Apache-2.0

#include "weft/core/bytes.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

using ::testing::ElementsAre;

TEST(BytesTest, NetworkOrderAtAnyAddress) {
  uint8_t bytes[9] = {};
  StoreBig16(bytes + 1, 0x0102);
  EXPECT_THAT(bytes, ElementsAre(0, 1, 2, 0, 0, 0, 0, 0, 0));
  EXPECT_EQ(LoadBig16(bytes + 1), 0x0102);
  StoreBig32(bytes + 1, 0xfffefdfc);
  EXPECT_THAT(bytes, ElementsAre(0, 0xff, 0xfe, 0xfd, 0xfc, 0, 0, 0, 0));
  EXPECT_EQ(LoadBig32(bytes + 1), 0xfffefdfc);
  StoreBig64(bytes + 1, 0x8182838485868788);
  EXPECT_THAT(bytes, ElementsAre(0, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88));
  EXPECT_EQ(LoadBig64(bytes + 1), 0x8182838485868788);
}

TEST(BytesTest, UsableInConstantExpressions) {
  constexpr uint8_t kBytes[] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0};
  static_assert(LoadBig16(kBytes) == 0x1234);
  static_assert(LoadBig32(kBytes) == 0x12345678);
  static_assert(LoadBig64(kBytes) == 0x123456789abcdef0);
}

TEST(ByteReaderTest, ReadsInOrderToTheLastByte) {
  const std::vector<uint8_t> bytes = {1,  2,  3,  4,  5,  6,  7,  8,  9,
                                      10, 11, 12, 13, 14, 15, 16, 17, 18};
  ByteReader reader(bytes);
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;
  absl::Span<const uint8_t> rest;
  EXPECT_TRUE(reader.ReadU8(&u8));
  EXPECT_TRUE(reader.ReadU16(&u16));
  EXPECT_TRUE(reader.ReadU32(&u32));
  EXPECT_TRUE(reader.ReadU64(&u64));
  EXPECT_TRUE(reader.Skip(1));
  EXPECT_EQ(reader.remaining(), 2u);
  EXPECT_TRUE(reader.ReadBytes(2, &rest));
  EXPECT_EQ(u8, 1);
  EXPECT_EQ(u16, 0x0203);
  EXPECT_EQ(u32, 0x04050607u);
  EXPECT_EQ(u64, 0x08090a0b0c0d0e0fu);
  EXPECT_THAT(rest, ElementsAre(17, 18));
  EXPECT_EQ(rest.data(), bytes.data() + 16);
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReaderTest, FailureConsumesNothingAndLasts) {
  const std::vector<uint8_t> bytes = {1, 2, 3};
  ByteReader reader(bytes);
  uint32_t u32 = 77;
  EXPECT_FALSE(reader.ReadU32(&u32));
  EXPECT_EQ(u32, 77u);
  EXPECT_EQ(reader.remaining(), 3u);
  EXPECT_FALSE(reader.ok());

  uint8_t u8 = 77;
  absl::Span<const uint8_t> none;
  EXPECT_FALSE(reader.ReadU8(&u8));
  EXPECT_FALSE(reader.Skip(0));
  EXPECT_FALSE(reader.ReadBytes(0, &none));
  EXPECT_EQ(u8, 77);
  EXPECT_EQ(reader.remaining(), 3u);
}

TEST(ByteReaderTest, EachReadAgainstEachShorterSize) {
  const std::vector<uint8_t> bytes(8);
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;
  absl::Span<const uint8_t> some;
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const auto all = absl::MakeConstSpan(bytes).first(size);
    EXPECT_EQ(ByteReader(all).ReadU8(&u8), size >= 1);
    EXPECT_EQ(ByteReader(all).ReadU16(&u16), size >= 2);
    EXPECT_EQ(ByteReader(all).ReadU32(&u32), size >= 4);
    EXPECT_EQ(ByteReader(all).ReadU64(&u64), size >= 8);
    EXPECT_EQ(ByteReader(all).ReadBytes(5, &some), size >= 5);
    EXPECT_EQ(ByteReader(all).Skip(5), size >= 5);
    EXPECT_FALSE(ByteReader(all).Skip(SIZE_MAX));
  }
}

TEST(ByteReaderTest, NothingAtAll) {
  ByteReader reader((absl::Span<const uint8_t>()));
  absl::Span<const uint8_t> none;
  EXPECT_TRUE(reader.Skip(0));
  EXPECT_TRUE(reader.ReadBytes(0, &none));
  EXPECT_TRUE(reader.ok());
  uint8_t u8;
  EXPECT_FALSE(reader.ReadU8(&u8));
}

TEST(ByteWriterTest, WritesInOrderToTheLastByte) {
  uint8_t bytes[17];
  ByteWriter writer{absl::Span<uint8_t>(bytes)};
  EXPECT_TRUE(writer.WriteU8(1));
  EXPECT_TRUE(writer.WriteU16(0x0203));
  EXPECT_TRUE(writer.WriteU32(0x04050607));
  EXPECT_TRUE(writer.WriteU64(0x08090a0b0c0d0e0f));
  EXPECT_EQ(writer.written(), 15u);
  EXPECT_EQ(writer.remaining(), 2u);
  EXPECT_TRUE(writer.WriteBytes({}));
  EXPECT_TRUE(writer.WriteBytes({16, 17}));
  EXPECT_EQ(writer.written(), 17u);
  EXPECT_TRUE(writer.ok());
  EXPECT_THAT(bytes, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17));
}

TEST(ByteWriterTest, FailureChangesNothingAndLasts) {
  uint8_t bytes[5] = {9, 9, 9, 9, 9};
  ByteWriter writer(absl::Span<uint8_t>(bytes, 3));
  EXPECT_TRUE(writer.WriteU8(1));
  EXPECT_FALSE(writer.WriteU32(0));
  EXPECT_FALSE(writer.WriteU8(0));
  EXPECT_FALSE(writer.WriteBytes({}));
  EXPECT_FALSE(writer.WriteBytes({0}));
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.written(), 1u);
  EXPECT_THAT(bytes, ElementsAre(1, 9, 9, 9, 9));
}

TEST(ByteWriterTest, EachWriteAgainstEachShorterSize) {
  for (size_t size = 0; size <= 8; ++size) {
    uint8_t bytes[8] = {};
    const absl::Span<uint8_t> some(bytes, size);
    EXPECT_EQ(ByteWriter(some).WriteU8(255), size >= 1);
    EXPECT_EQ(ByteWriter(some).WriteU16(255), size >= 2);
    EXPECT_EQ(ByteWriter(some).WriteU32(255), size >= 4);
    EXPECT_EQ(ByteWriter(some).WriteU64(255), size >= 8);
    EXPECT_EQ(ByteWriter(some).WriteBytes({1, 2, 3}), size >= 3);
    for (size_t i = size; i < 8; ++i) EXPECT_EQ(bytes[i], 0);
  }
}

}  // namespace
}  // namespace weft
