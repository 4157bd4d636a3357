// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/group_message.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/netstack/wire/checksum.h"

namespace weft::netstack {
namespace {

using Kind = GroupMessage::Kind;
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kS = 1'000'000'000;

std::vector<uint8_t> FromHex(const std::string& hex) {
  const std::string bytes = absl::HexStringToBytes(hex);
  return {bytes.begin(), bytes.end()};
}
std::string ToHex(absl::Span<const uint8_t> bytes) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}
IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

// With the checksum filled in.
bool ParseIgmpHex(const std::string& hex, GroupMessage* message) {
  std::vector<uint8_t> bytes = FromHex(hex);
  if (bytes.size() >= 4) StoreBig16(&bytes[2], Checksum(bytes));
  return ParseIgmp(bytes, message);
}

TEST(GroupMessageTest, IgmpQueriesOfAllVersions) {
  GroupMessage message;
  ASSERT_TRUE(ParseIgmpHex("1100000000000000", &message));
  EXPECT_EQ(message.kind, Kind::kQuery);
  EXPECT_EQ(message.version, 1);
  EXPECT_EQ(message.max_response_ns, 10 * kS);
  EXPECT_TRUE(message.group.is_unspecified());

  ASSERT_TRUE(ParseIgmpHex("11640000ef010203", &message));
  EXPECT_EQ(message.version, 2);
  EXPECT_EQ(message.max_response_ns, 10 * kS);
  EXPECT_EQ(message.group, Ip("239.1.2.3"));

  // Max Resp Code 0x9a: (0xa | 0x10) << (1 + 3) tenths of a second. QQIC 0x7d: 125 s.
  ASSERT_TRUE(ParseIgmpHex("119a0000ef0102030a7d00010a000001", &message));
  EXPECT_EQ(message.version, 3);
  EXPECT_EQ(message.max_response_ns, 416 * 100 * kMs);
  EXPECT_EQ(message.robustness, 2);
  EXPECT_EQ(message.query_interval_ns, 125 * kS);
}

TEST(GroupMessageTest, IgmpReportsAndOthers) {
  GroupMessage message;
  ASSERT_TRUE(ParseIgmpHex("16000000ef010203", &message));
  EXPECT_EQ(message.kind, Kind::kReport);
  EXPECT_EQ(message.group, Ip("239.1.2.3"));
  ASSERT_TRUE(ParseIgmpHex("12000000ef010203", &message));
  EXPECT_EQ(message.kind, Kind::kReport);
  ASSERT_TRUE(ParseIgmpHex("17000000ef010203", &message));
  EXPECT_EQ(message.kind, Kind::kOther);
  ASSERT_TRUE(ParseIgmpHex("2200000000000000", &message));
  EXPECT_EQ(message.kind, Kind::kOther);
}

TEST(GroupMessageTest, MalformedIgmpIsRefused) {
  GroupMessage message;
  for (const char* hex : {
           "",
           "11640000000000",                    // short
           "116400000a000001",                  // a group that is none
           "160000000a000001",                  // the same, reported
           "1164000000000000027d",              // neither version 2 nor 3
           "1164000000000000027d00010a0000",    // a source is not whole
           "1164000000000000027dffff0a000001",  // more sources than there are
       }) {
    EXPECT_FALSE(ParseIgmpHex(hex, &message)) << hex;
  }
  EXPECT_FALSE(ParseIgmp(FromHex("11640000ef010203"), &message)) << "wrong checksum";
}

constexpr char kGroupV6[] = "ff050000000000000000000000000123";

TEST(GroupMessageTest, Mld) {
  GroupMessage message;
  const std::string any(32, '0');
  ASSERT_TRUE(ParseMld(FromHex("8200000003e80000" + any), &message));
  EXPECT_EQ(message.kind, Kind::kQuery);
  EXPECT_EQ(message.version, 2) << "MLDv1";
  EXPECT_EQ(message.max_response_ns, 1000 * kMs);
  EXPECT_TRUE(message.group.is_unspecified());

  // Maximum Response Code 0x8001: (1 | 0x1000) << 3 milliseconds.
  ASSERT_TRUE(
      ParseMld(FromHex(std::string("8200000080010000") + kGroupV6 + "0314" + "0000"), &message));
  EXPECT_EQ(message.version, 3) << "MLDv2";
  EXPECT_EQ(message.max_response_ns, 32776 * kMs);
  EXPECT_EQ(message.group, Ip("ff05::123"));
  EXPECT_EQ(message.robustness, 3);
  EXPECT_EQ(message.query_interval_ns, 20 * kS);

  ASSERT_TRUE(ParseMld(FromHex(std::string("8300000000000000") + kGroupV6), &message));
  EXPECT_EQ(message.kind, Kind::kReport);
  ASSERT_TRUE(ParseMld(FromHex(std::string("8400000000000000") + kGroupV6), &message));
  EXPECT_EQ(message.kind, Kind::kOther);
  ASSERT_TRUE(ParseMld(FromHex("8f00000000000000"), &message));
  EXPECT_EQ(message.kind, Kind::kOther);

  const std::string host = "fd000000000000000000000000000001";
  const std::string mapped = "00000000000000000000ffffef010203";
  for (const std::string& hex :
       {std::string(), std::string("82000000"), "82000000000000" + any, "8200000000000000" + host,
        "8200000000000000" + mapped, "8300000000000000" + host, "8300000000000000" + mapped,
        "8200000000000000" + any + "0202", "8200000000000000" + any + "020200010000",
        "8000000000000000" + any}) {
    EXPECT_FALSE(ParseMld(FromHex(hex), &message)) << hex;
  }
}

TEST(GroupMessageTest, WhatIsWritten) {
  uint8_t bytes[kGroupMessageBytesMax];
  const IpAddress v4 = Ip("239.1.2.3");
  const IpAddress v6 = Ip("ff05::123");
  const auto hex = [&bytes](size_t size) { return ToHex({bytes, size}); };
  EXPECT_EQ(hex(WriteGroupReport(bytes, v4, 2)), "1600f8faef010203");
  EXPECT_EQ(hex(WriteGroupReport(bytes, v4, 1)), "1200fcfaef010203");
  EXPECT_EQ(hex(WriteGroupLeave(bytes, v4)), "1700f7faef010203");
  EXPECT_EQ(hex(WriteGroupReport(bytes, v6, 2)), std::string("8300000000000000") + kGroupV6);
  EXPECT_EQ(hex(WriteGroupLeave(bytes, v6)), std::string("8400000000000000") + kGroupV6);
  GroupMessage message;
  EXPECT_TRUE(ParseIgmp({bytes, WriteGroupReport(bytes, v4, 2)}, &message));
}

TEST(GroupMessageTest, ReportsOfManyGroups) {
  uint8_t bytes[GroupReportWriter::kBytesMin];
  GroupReportWriter igmp(false, absl::MakeSpan(bytes));
  EXPECT_TRUE(igmp.Add(GroupRecord::kToExclude, Ip("239.1.2.3")));
  EXPECT_TRUE(igmp.Add(GroupRecord::kToInclude, Ip("224.0.0.251")));
  EXPECT_FALSE(igmp.Add(GroupRecord::kToExclude, Ip("239.1.2.4")));
  EXPECT_EQ(igmp.records(), 2u);
  const absl::Span<const uint8_t> report = igmp.Finish();
  EXPECT_EQ(Checksum(report), 0);
  EXPECT_EQ(ToHex(report.subspan(4)), "0000000204000000ef01020303000000e00000fb");
  EXPECT_EQ(igmp.records(), 0u);

  GroupReportWriter mld(true, absl::MakeSpan(bytes));
  EXPECT_TRUE(mld.Add(GroupRecord::kIsExclude, Ip("ff05::123")));
  EXPECT_FALSE(mld.Add(GroupRecord::kIsExclude, Ip("ff05::124")));
  EXPECT_EQ(ToHex(mld.Finish()), std::string("8f0000000000000102000000") + kGroupV6);
}

TEST(GroupMessageTest, WhereMessagesGo) {
  EXPECT_EQ(ReportGroup(false), Ip("224.0.0.22"));
  EXPECT_EQ(ReportGroup(true), Ip("ff02::16"));
  EXPECT_EQ(AllRoutersGroup(false), Ip("224.0.0.2"));
  EXPECT_EQ(AllRoutersGroup(true), Ip("ff02::2"));
}

}  // namespace
}  // namespace weft::netstack
