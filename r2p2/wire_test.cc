// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/wire.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace weft::r2p2 {
namespace {

std::string Hex(const Header& header) {
  uint8_t bytes[kHeaderBytes];
  WriteHeader(header, bytes);
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes), sizeof(bytes)});
}

std::vector<uint8_t> Bytes(absl::string_view hex) {
  const std::string bytes = absl::HexStringToBytes(hex);
  return {bytes.begin(), bytes.end()};
}

// The packets of docs/protocols/r2p2.md, as the original implementation puts them on the wire.
struct Golden {
  Header header;
  const char* hex;
};
const Golden kGolden[] = {
    {{MessageType::kRequest, Policy::kLbRoute, true, true, 1, 1}, "cc0800c000010001"},
    {{MessageType::kResponse, Policy::kFixedRoute, true, true, 1, 1}, "cc0811c000010001"},
    {{MessageType::kRequest, Policy::kLbRoute, true, false, 1, 4}, "cc08008000010004"},
    {{MessageType::kAck, Policy::kFixedRoute, true, true, 1, 1}, "cc0831c000010001"},
    {{MessageType::kRequest, Policy::kLbRoute, false, false, 1, 1}, "cc08000000010001"},
    {{MessageType::kRequest, Policy::kLbRoute, false, false, 1, 2}, "cc08000000010002"},
    {{MessageType::kRequest, Policy::kLbRoute, false, true, 1, 3}, "cc08004000010003"},
    {{MessageType::kResponse, Policy::kFixedRoute, true, false, 1, 3}, "cc08118000010003"},
    {{MessageType::kResponse, Policy::kFixedRoute, false, false, 1, 1}, "cc08110000010001"},
    {{MessageType::kResponse, Policy::kFixedRoute, false, true, 1, 2}, "cc08114000010002"},
    {{MessageType::kDrop, Policy::kFixedRoute, true, true, 0xABCD, 1}, "cc0841c0abcd0001"},
    {{MessageType::kRequest, Policy::kFixedRoute, true, true, 1, 1}, "cc0801c000010001"},
    {{MessageType::kRequest, Policy::kReplicatedRoute, true, true, 1, 1}, "cc0802c000010001"},
    {{MessageType::kRequest, Policy::kReplicatedRouteNoSe, true, true, 1, 1}, "cc0803c000010001"},
    {{MessageType::kRaftMessage, Policy::kFixedRoute, true, true, 0xFFFF, 1}, "cc0871c0ffff0001"},
};

TEST(WireTest, GoldenHeaders) {
  for (const Golden& golden : kGolden) {
    EXPECT_EQ(Hex(golden.header), golden.hex);
    Header header;
    ASSERT_TRUE(ReadHeader(Bytes(golden.hex), &header)) << golden.hex;
    EXPECT_EQ(header, golden.header) << golden.hex;
  }
}

TEST(WireTest, GoldenFeedback) {
  uint8_t bytes[kFeedbackBytes];
  WriteFeedback({.request_id = 1, .client_port = 0x80e8, .client_ip = 0x0a4d0002}, bytes);
  EXPECT_EQ(absl::BytesToHexString({reinterpret_cast<const char*>(bytes), sizeof(bytes)}),
            "cc0820c000010001000180e80a4d0002");
  // As the original leaves it: only magic, type and the last 8 bytes mean anything.
  Feedback feedback;
  ASSERT_TRUE(ReadFeedback(Bytes("cc552700deadbeef000180e80a4d0002"), &feedback));
  EXPECT_EQ(feedback.request_id, 1);
  EXPECT_EQ(feedback.client_port, 33000);
  EXPECT_EQ(feedback.client_ip, 0x0a4d0002u);
  EXPECT_FALSE(ReadFeedback(Bytes("cc552700deadbeef000180e80a4d00"), &feedback));
  EXPECT_FALSE(ReadFeedback(Bytes("cc551700deadbeef000180e80a4d0002"), &feedback));
}

TEST(WireTest, RefusesWhatNoSenderMakes) {
  const char* bad[] = {
      "",
      "cc",
      "cc0800c0000100",    // 7 bytes
      "cd0800c000010001",  // magic
      "cc0900c000010001",  // header size
      "cc0000c000010001",
      "cc0880c000010001",  // type 8
      "cc08f0c000010001",  // type 15
      "cc0804c000010001",  // policy 4
      "cc080fc000010001",  // policy 15
      "cc0800c000010000",  // no packets
      "cc08000000010000",  // the first packet without its flag
      "cc0800c000010002",  // first and last of two
      "cc08008000010001",  // first but not last of one
  };
  for (const char* hex : bad) {
    Header header{.request_id = 77};
    EXPECT_FALSE(ReadHeader(Bytes(hex), &header)) << hex;
    EXPECT_EQ(header.request_id, 77) << hex;
  }
}

TEST(WireTest, EveryHeaderThatReadsWritesBack) {
  // All of the two bytes that have structure, with orders around the edges.
  for (int types = 0; types < 256; ++types) {
    for (int flags = 0; flags < 256; flags += 0x40) {
      for (int order : {0, 1, 2, 0xFFFF}) {
        const uint8_t bytes[] = {
            0xCC, 8,    static_cast<uint8_t>(types),      static_cast<uint8_t>(flags),
            0x12, 0x34, static_cast<uint8_t>(order >> 8), static_cast<uint8_t>(order)};
        Header header;
        if (!ReadHeader(bytes, &header)) continue;
        uint8_t written[kHeaderBytes];
        WriteHeader(header, written);
        EXPECT_TRUE(std::equal(bytes, bytes + 8, written));
      }
    }
  }
}

}  // namespace
}  // namespace weft::r2p2
