// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/stream_batch.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {
namespace {

std::string Hex(absl::Span<const uint8_t> bytes) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

TEST(StreamBatchTest, LengthsAreVarints) {
  for (const size_t length :
       {size_t{0}, size_t{1}, size_t{127}, size_t{128}, size_t{16'383}, size_t{16'384},
        size_t{2'097'151}, size_t{2'097'152}, size_t{268'435'455}, size_t{268'435'456},
        kStreamMessageBytesMax - 1}) {
    std::array<uint8_t, kLengthBytesMax> bytes = {};
    const auto size = static_cast<size_t>(WriteLength(length, bytes.data()) - bytes.data());
    EXPECT_EQ(size, LengthBytes(length)) << length;
    size_t read = 0;
    EXPECT_EQ(ReadLength(absl::MakeSpan(bytes).first(size), &read), size);
    EXPECT_EQ(read, length);
    for (size_t i = 0; i < size; ++i) {
      EXPECT_EQ(ReadLength(absl::MakeSpan(bytes).first(i), &read), 0u) << "cut off";
    }
  }
}

TEST(StreamBatchTest, WhatIsNoLengthIsRefused) {
  size_t read = 0;
  const std::vector<std::vector<uint8_t>> bad = {
      {}, {0x80}, {0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, {0x80, 0x80, 0x80, 0x80, 0x80, 0x01}};
  for (const std::vector<uint8_t>& bytes : bad) EXPECT_EQ(ReadLength(bytes, &read), 0u);
}

// The examples of docs/protocols/services.md.
TEST(StreamBatchTest, TheExamplesOfTheDocument) {
  std::array<uint8_t, 64> bytes = {};
  size_t size = WriteRequestHead(
      {.kind = RequestKind::kPush, .end_of_messages = true, .id = 7, .number = 1}, bytes.data());
  bytes[size++] = 1;
  bytes[size++] = 'd';
  EXPECT_EQ(Hex(absl::MakeSpan(bytes).first(size)),
            "57530102"
            "02000000"
            "0000000000000007"
            "0000000000000001"
            "0164");
  size = WriteRequestHead({.kind = RequestKind::kPull, .id = 7, .number = 4}, bytes.data());
  EXPECT_EQ(Hex(absl::MakeSpan(bytes).first(size)),
            "57530103"
            "00000000"
            "0000000000000007"
            "0000000000000004");
  size = WriteReplyHead({.number = 0}, RequestKind::kPull, bytes.data());
  for (const char c : std::string("\1x\1y")) bytes[size++] = static_cast<uint8_t>(c);
  EXPECT_EQ(Hex(absl::MakeSpan(bytes).first(size)),
            "57530100"
            "00000000"
            "0000000000000000"
            "01780179");
}

}  // namespace
}  // namespace weft::rpc
