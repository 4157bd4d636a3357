// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/extended_wire.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace weft::r2p2 {
namespace {

// Bytes as hexadecimal digits, with spaces where they help.
std::vector<uint8_t> Bytes(absl::string_view hex) {
  const std::string bytes = absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}}));
  return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> Written(const ExtendedHeader& header) {
  std::vector<uint8_t> bytes(kExtendedHeaderBytes);
  WriteExtendedHeader(header, bytes.data());
  return bytes;
}

// --- One golden packet a kind: header and body

struct Golden {
  absl::string_view name;
  ExtendedHeader header;
  // magic, header_size, type and policy, flags, rid, order; session, from_session, key,
  // deadline_us; request id; timestamp, echo; credits, kind, code.
  absl::string_view bytes;
};

class GoldenTest : public testing::TestWithParam<Golden> {};

TEST_P(GoldenTest, IsWrittenAndReadAsDocumented) {
  const std::vector<uint8_t> bytes = Bytes(GetParam().bytes);
  ASSERT_EQ(bytes.size(), kExtendedHeaderBytes);
  EXPECT_EQ(Written(GetParam().header), bytes);
  EXPECT_TRUE(IsExtended(bytes));
  ExtendedHeader header;
  ASSERT_TRUE(ReadExtendedHeader(bytes, &header));
  EXPECT_EQ(header, GetParam().header);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(ReadExtendedHeader(absl::MakeConstSpan(bytes).first(n), &header));
  }
}

ExtendedHeader Control(ControlKind kind) {
  return {.type = MessageType::kAck,
          .first = true,
          .last = true,
          .session = 0x01020304,
          .from_session = 0x05060708,
          .key = 0x0A0B0C0D,
          .timestamp = 0x11121314,
          .kind = kind};
}

ExtendedHeader With(ExtendedHeader header, uint64_t request_id, DropReason code) {
  header.request_id = request_id;
  header.code = code;
  return header;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, GoldenTest,
    testing::Values(
        Golden{"Request",
               {.type = MessageType::kRequest,
                .policy = Policy::kLbRoute,
                .first = true,
                .last = true,
                .packet_order = 1,
                .session = 7,
                .from_session = 9,
                .key = 0xDEADBEEF,
                .deadline_us = 1'000'000,
                .request_id = 0x0000'0000'0001'0203,
                .timestamp = 0xFFFFFFFF,
                .credits = 32},
               "CC2C00C0 02030001 00000007 00000009 DEADBEEF 000F4240"
               "0000000000010203 FFFFFFFF 00000000 0020 00 00"},
        Golden{"FirstOfFourOfARequest",
               {.first = true, .packet_order = 4, .session = 7, .request_id = 0x123456789ABCDEF0},
               "CC2C0180 DEF00004 00000007 00000000 00000000 00000000"
               "123456789ABCDEF0 00000000 00000000 0000 00 00"},
        Golden{"LastOfFourOfAResponseSentAgain",
               {.type = MessageType::kResponse,
                .last = true,
                .resent = true,
                .echo_valid = true,
                .packet_order = 3,
                .request_id = 0x10005,
                .timestamp = 1,
                .echo = 0x80000002,
                .credits = 64},
               "CC2C1170 00050003 00000000 00000000 00000000 00000000"
               "0000000000010005 00000001 80000002 0040 00 00"},
        Golden{"InTheMiddle",
               {.packet_order = 65534, .request_id = 0x10000},
               "CC2C0100 0000FFFE 00000000 00000000 00000000 00000000"
               "0000000000010000 00000000 00000000 0000 00 00"},
        Golden{"Drop",
               {.type = MessageType::kDrop,
                .first = true,
                .last = true,
                .request_id = 0x20001,
                .code = DropReason::kOverloaded},
               "CC2C41C0 00010001 00000000 00000000 00000000 00000000"
               "0000000000020001 00000000 00000000 0000 00 02"},
        Golden{"AnnouncedRequest",
               {.first = true,
                .packet_order = 735,
                .session = 7,
                .request_id = 0x10005,
                .kind = ControlKind::kAnnouncement},
               "CC2C0180 000502DF 00000007 00000000 00000000 00000000"
               "0000000000010005 00000000 00000000 0000 10 00"},
        Golden{"AnnouncedReplySentAgain",
               {.type = MessageType::kResponse,
                .first = true,
                .resent = true,
                .packet_order = 2,
                .request_id = 0x10005,
                .kind = ControlKind::kAnnouncement},
               "CC2C11A0 00050002 00000000 00000000 00000000 00000000"
               "0000000000010005 00000000 00000000 0000 10 00"},
        Golden{"Hello", Control(ControlKind::kHello),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 01 00"},
        Golden{"HelloAck", Control(ControlKind::kHelloAck),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 02 00"},
        Golden{"ProgressOfARequest",
               {.type = MessageType::kAck,
                .first = true,
                .last = true,
                .echo_valid = true,
                .packet_order = 0,
                .request_id = 0x30002,
                .echo = 5,
                .kind = ControlKind::kProgress},
               "CC2C31D0 00020000 00000000 00000000 00000000 00000000"
               "0000000000030002 00000000 00000005 0000 03 00"},
        Golden{"ProgressOfAResponse",
               {.type = MessageType::kAck,
                .first = true,
                .resent = true,
                .packet_order = 65535,
                .request_id = 0x30002,
                .kind = ControlKind::kProgress},
               "CC2C31A0 0002FFFF 00000000 00000000 00000000 00000000"
               "0000000000030002 00000000 00000000 0000 03 00"},
        Golden{"Cancel", With(Control(ControlKind::kCancel), 0x10002, DropReason::kNone),
               "CC2C31C0 00020001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000010002 11121314 00000000 0000 04 00"},
        Golden{"Ping", Control(ControlKind::kPing),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 05 00"},
        Golden{"Pong", Control(ControlKind::kPong),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 06 00"},
        Golden{"Close", With(Control(ControlKind::kClose), 0, DropReason::kShuttingDown),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 07 04"},
        Golden{"CloseAck", Control(ControlKind::kCloseAck),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 08 00"},
        Golden{"Reset", With(Control(ControlKind::kReset), 0xFFFFFFFFFFFFFFFF, DropReason::kNone),
               "CC2C31C0 FFFF0001 01020304 05060708 0A0B0C0D 00000000"
               "FFFFFFFFFFFFFFFF 11121314 00000000 0000 09 00"},
        Golden{"Drain", Control(ControlKind::kDrain),
               "CC2C31C0 00000001 01020304 05060708 0A0B0C0D 00000000"
               "0000000000000000 11121314 00000000 0000 0A 00"}),
    [](const testing::TestParamInfo<Golden>& info) { return std::string(info.param.name); });

TEST(ExtendedWireTest, TheFirstBytesAreThoseOfTheOriginal) {
  const ExtendedHeader header = {.type = MessageType::kResponse,
                                 .policy = Policy::kLbRoute,
                                 .first = true,
                                 .packet_order = 9,
                                 .request_id = 0x5'1234};
  std::vector<uint8_t> bytes = Written(header);
  Header original;
  EXPECT_FALSE(ReadHeader(bytes, &original));
  bytes[1] = kHeaderBytes;
  ASSERT_TRUE(ReadHeader(bytes, &original));
  EXPECT_EQ(original, (Header{.type = MessageType::kResponse,
                              .policy = Policy::kLbRoute,
                              .first = true,
                              .request_id = 0x1234,
                              .packet_order = 9}));
  EXPECT_FALSE(IsExtended(bytes));
}

TEST(ExtendedWireTest, ToldPositionsAndLengths) {
  EXPECT_EQ((ExtendedHeader{.first = true, .packet_order = 4}).index(), 0u);
  EXPECT_EQ((ExtendedHeader{.first = true, .packet_order = 4}).total(), 4u);
  EXPECT_EQ((ExtendedHeader{.packet_order = 2}).index(), 2u);
  EXPECT_EQ((ExtendedHeader{.packet_order = 2}).total(), 0u);
  EXPECT_EQ((ExtendedHeader{.last = true, .packet_order = 3}).total(), 4u);
  EXPECT_EQ((ExtendedHeader{.last = true, .packet_order = 65535}).total(), 65536u);
  EXPECT_EQ((ExtendedHeader{.request_id = 0x7'FFFE}).slot(), 0xFFFE);
}

// --- What no correct sender makes: one byte or two of a good packet changed

struct Bad {
  absl::string_view name;
  ControlKind kind;  // of the packet; kNone: the first of 4 of a request
  size_t at;
  absl::string_view bytes;
};

class BadHeaderTest : public testing::TestWithParam<Bad> {};

TEST_P(BadHeaderTest, IsRefused) {
  const Bad& bad = GetParam();
  std::vector<uint8_t> bytes =
      Written(bad.kind == ControlKind::kNone
                  ? ExtendedHeader{.first = true, .packet_order = 4, .request_id = 0x10005}
                  : Control(bad.kind));
  ExtendedHeader header = {.key = 77};
  ASSERT_TRUE(ReadExtendedHeader(bytes, &header));
  const std::vector<uint8_t> changed = Bytes(bad.bytes);
  std::copy(changed.begin(), changed.end(), bytes.begin() + static_cast<ptrdiff_t>(bad.at));
  header = {.key = 77};
  EXPECT_FALSE(ReadExtendedHeader(bytes, &header));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadHeaderTest,
    testing::Values(Bad{"Magic", ControlKind::kNone, 0, "CD"},
                    Bad{"HeaderSizeOfTheOriginal", ControlKind::kNone, 1, "08"},
                    Bad{"HeaderSizeWithATag", ControlKind::kNone, 1, "3C"},
                    Bad{"TypeFeedback", ControlKind::kNone, 2, "21"},
                    Bad{"TypeRaft", ControlKind::kNone, 2, "51"},
                    Bad{"TypeUnknown", ControlKind::kNone, 2, "F1"},
                    Bad{"PolicyUnknown", ControlKind::kNone, 2, "04"},
                    Bad{"FlagUnknown", ControlKind::kNone, 3, "81"},
                    Bad{"FirstAndLastOfMany", ControlKind::kNone, 3, "C0"},
                    Bad{"FirstOfNone", ControlKind::kNone, 6, "0000"},
                    Bad{"OnlyOneButNotLast", ControlKind::kNone, 6, "0001"},
                    Bad{"SlotUnlikeTheRequestId", ControlKind::kNone, 4, "0006"},
                    Bad{"KindOfARequest", ControlKind::kNone, 42, "03"},
                    Bad{"KindUnknown", ControlKind::kPing, 42, "11"},
                    Bad{"AnnouncementThatIsNeitherRequestNorReply", ControlKind::kPing, 42, "10"},
                    Bad{"NoKind", ControlKind::kPing, 42, "00"},
                    Bad{"CodeUnknown", ControlKind::kClose, 43, "0E"},
                    Bad{"ControlOfTwoPackets", ControlKind::kPing, 6, "0002"},
                    Bad{"ControlThatIsNotFirst", ControlKind::kPing, 3, "40"},
                    Bad{"ControlThatIsNotLast", ControlKind::kPing, 3, "80"},
                    Bad{"ProgressThatIsNotFirst", ControlKind::kProgress, 3, "40"}),
    [](const testing::TestParamInfo<Bad>& info) { return std::string(info.param.name); });

// --- Bodies

TEST(HelloTest, GoldenBytes) {
  const Hello hello = {.version = 1,
                       .slots = 64,
                       .packet_bytes = 1472,
                       .incarnation = 0x0102030405060708,
                       .timeout_us = 5'000'000,
                       .key = 0xCAFEBABE};
  const std::vector<uint8_t> golden =
      Bytes("0001 0040 000005C0 0102030405060708 004C4B40 CAFEBABE");
  ASSERT_EQ(golden.size(), kHelloBytes);
  std::vector<uint8_t> bytes(kHelloBytes);
  WriteHello(hello, bytes.data());
  EXPECT_EQ(bytes, golden);
  bytes.resize(1472 - kExtendedHeaderBytes);  // as it is padded
  Hello read;
  ASSERT_TRUE(ReadHello(bytes, &read));
  EXPECT_EQ(read, hello);
}

TEST(HelloTest, RefusesWhatCannotBe) {
  const absl::string_view good = "0001 0040 000000B0 0102030405060708 004C4B40 CAFEBABE";
  Hello hello;
  EXPECT_TRUE(ReadHello(Bytes(good), &hello));
  const Hello before = hello;
  EXPECT_FALSE(ReadHello(absl::MakeConstSpan(Bytes(good)).first(kHelloBytes - 1), &hello));
  for (const absl::string_view bad :
       {"0000 0040 000000B0 0102030405060708 004C4B40 CAFEBABE",     // version
        "0001 0000 000000B0 0102030405060708 004C4B40 CAFEBABE",     // slots
        "0001 0040 000000AF 0102030405060708 004C4B40 CAFEBABE",     // packet_bytes
        "0001 0040 000000B0 0102030405060708 00000000 CAFEBABE"}) {  // timeout_us
    EXPECT_FALSE(ReadHello(Bytes(bad), &hello)) << bad;
  }
  EXPECT_EQ(hello, before);
}

TEST(HelloTest, FeaturesStandBehindAllThatWasThereBefore) {
  std::vector<uint8_t> bytes(kHelloFeaturesAt + kHelloFeaturesBytes);
  WriteHello({.packet_bytes = 1472, .timeout_us = 1}, bytes.data());
  EXPECT_EQ(ReadHelloFeatures(bytes), 0u) << "zeros, of one that knows none";
  EXPECT_EQ(ReadHelloFeatures(absl::MakeConstSpan(bytes).first(kHelloBytes)), 0u);
  WriteHelloFeatures(kFeatureBulk, bytes.data());
  EXPECT_EQ(ReadHelloFeatures(bytes), kFeatureBulk);
  EXPECT_EQ(bytes[31], 1);
  Hello hello;
  ASSERT_TRUE(ReadHello(bytes, &hello));
  EXPECT_EQ(hello.packet_bytes, 1472u);
  EXPECT_EQ(ReadHelloFeatures(absl::MakeConstSpan(bytes).first(bytes.size() - 1)), 0u);
}

TEST(AnnouncementTest, GoldenBytes) {
  Announcement announcement = {.bytes = 0x0102030405060708};
  for (size_t i = 0; i < 32; ++i) announcement.key[i] = static_cast<uint8_t>(0xE0 + i);
  std::vector<uint8_t> bytes(kAnnouncementBytes);
  EXPECT_EQ(WriteAnnouncement(announcement, bytes.data()), kAnnouncementBytes);
  EXPECT_EQ(bytes, Bytes("0102030405060708 E0E1E2E3E4E5E6E7 E8E9EAEBECEDEEEF F0F1F2F3F4F5F6F7 "
                         "F8F9FAFBFCFDFEFF"));
  Announcement read;
  ASSERT_TRUE(ReadAnnouncement(bytes, &read));
  EXPECT_EQ(read, announcement);

  announcement = {.bytes = 0x0102030405060708, .fetchable = false};
  bytes.resize(WriteAnnouncement(announcement, bytes.data()));
  EXPECT_EQ(bytes, Bytes("0102030405060708"));
  ASSERT_TRUE(ReadAnnouncement(bytes, &read));
  EXPECT_EQ(read, announcement);
}

TEST(AnnouncementTest, RefusesWhatCannotBe) {
  const std::vector<uint8_t> nothing(kAnnouncementBytes);
  Announcement read;
  EXPECT_FALSE(ReadAnnouncement(nothing, &read)) << "a message of no bytes";
  std::vector<uint8_t> one = nothing;
  one[7] = 1;
  EXPECT_TRUE(ReadAnnouncement(one, &read));
  one.pop_back();
  EXPECT_FALSE(ReadAnnouncement(one, &read)) << "half a key";
  one.resize(kKeylessAnnouncementBytes);
  EXPECT_TRUE(ReadAnnouncement(one, &read));
  one.pop_back();
  EXPECT_FALSE(ReadAnnouncement(one, &read));
  // Of one packet, in the middle or at the end of a message.
  for (const absl::string_view flags_and_order :
       {"C0 0005 0001", "80 0005 0001", "40 0005 0002", "00 0005 0002"}) {
    std::vector<uint8_t> bytes = Written({.first = true,
                                          .packet_order = 2,
                                          .request_id = 0x10005,
                                          .kind = ControlKind::kAnnouncement});
    const std::vector<uint8_t> changed = Bytes(flags_and_order);
    std::copy(changed.begin(), changed.end(), bytes.begin() + 3);
    ExtendedHeader header;
    EXPECT_FALSE(ReadExtendedHeader(bytes, &header)) << flags_and_order;
  }
}

TEST(ProgressTest, GoldenBytes) {
  const std::vector<uint8_t> bitmap = Bytes("A080");
  const Progress progress = {.granted = 0x1234, .bits = 9, .bitmap = bitmap};
  std::vector<uint8_t> bytes(kProgressBytesMax);
  bytes.resize(WriteProgress(progress, bytes.data()));
  EXPECT_EQ(bytes, Bytes("1234 0009 A080"));
  Progress read;
  ASSERT_TRUE(ReadProgress(bytes, &read));
  EXPECT_EQ(read.granted, 0x1234);
  ASSERT_EQ(read.bits, 9);
  std::string here;
  for (size_t bit = 0; bit < 20; ++bit) here += read.has(bit) ? '1' : '0';
  EXPECT_EQ(here, "10100000100000000000");
}

TEST(ProgressTest, WithoutBits) {
  uint8_t bytes[kProgressBytesMax];
  ASSERT_EQ(WriteProgress({.granted = 5}, bytes), 4u);
  Progress read;
  ASSERT_TRUE(ReadProgress({bytes, 4}, &read));
  EXPECT_EQ(read.granted, 5);
  EXPECT_EQ(read.bits, 0);
  EXPECT_FALSE(read.has(0));
}

TEST(ProgressTest, RefusesWhatIsCutOffOrTooLong) {
  Progress read = {.granted = 99};
  EXPECT_FALSE(ReadProgress({}, &read));
  EXPECT_FALSE(ReadProgress(Bytes("0001 00"), &read));
  EXPECT_FALSE(ReadProgress(Bytes("0001 0001"), &read));
  EXPECT_FALSE(ReadProgress(Bytes("0001 0009 FF"), &read));
  std::vector<uint8_t> bytes(4 + 1032 / 8);
  StoreBig16(&bytes[2], 1025);
  EXPECT_FALSE(ReadProgress(bytes, &read));
  EXPECT_EQ(read.granted, 99);
  StoreBig16(&bytes[2], 1024);
  EXPECT_TRUE(ReadProgress(bytes, &read));
  EXPECT_EQ(read.bits, 1024);
}

TEST(DropTest, SaysWhenToTryAgain) {
  uint8_t bytes[kDropBytes];
  WriteDrop(1500, bytes);
  EXPECT_EQ(std::vector<uint8_t>(bytes, bytes + kDropBytes), Bytes("000005DC"));
  EXPECT_EQ(ReadDrop(bytes), 1500u);
  EXPECT_EQ(ReadDrop({bytes, 3}), 0u);
  EXPECT_EQ(ReadDrop({}), 0u);
}

}  // namespace
}  // namespace weft::r2p2
