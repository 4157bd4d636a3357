// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/membership.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/clock.h"
#include "weft/netstack/wire/checksum.h"

namespace weft::netstack {
namespace {

constexpr int64_t kS = 1'000'000'000;
constexpr int64_t kMs = 1'000'000;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

class MembershipTest : public testing::Test, public Membership::Delegate {
 protected:
  using Lines = std::vector<std::string>;

  // "224.0.0.22: joined 239.1.2.3 is 239.1.2.4", "239.1.2.3: report2 239.1.2.3", ...
  void SendMembership(const IpAddress& destination, absl::Span<const uint8_t> message) override {
    said_.push_back(absl::StrCat(destination.ToString(), ":", Describe(message)));
    sent_at_ns_.push_back(clock_.NowNs());
    bytes_max_ = std::max(bytes_max_, message.size());
  }
  static std::string Describe(absl::Span<const uint8_t> message) {
    const uint8_t* p = message.data();
    const bool v6 = p[0] >= 130;
    EXPECT_TRUE(v6 || Checksum(message) == 0);
    const auto group = [v6](const uint8_t* at) {
      return (v6 ? IpAddress::V6(at) : IpAddress::V4(at)).ToString();
    };
    if (p[0] == 0x12) return " report1 " + group(p + 4);
    if (p[0] == 0x16) return " report2 " + group(p + 4);
    if (p[0] == 0x17) return " leave2 " + group(p + 4);
    if (p[0] == 131) return " report2 " + group(p + 8);
    if (p[0] == 132) return " leave2 " + group(p + 8);
    std::string text;
    static constexpr const char* kRecords[] = {"", "", "is", "left", "joined"};
    const size_t record_bytes = v6 ? 20 : 8;
    EXPECT_EQ(message.size(), 8 + LoadBig16(p + 6) * record_bytes);
    for (size_t at = 8; at < message.size(); at += record_bytes) {
      absl::StrAppend(&text, " ", kRecords[p[at]], " ", group(p + at + 4));
    }
    return text;
  }

  void Join(const std::string& group) { ASSERT_TRUE(groups_.Join(Ip(group), Now()).ok()); }
  void Leave(const std::string& group) { ASSERT_TRUE(groups_.Leave(Ip(group), Now()).ok()); }
  int64_t Now() const { return clock_.NowNs(); }

  // Queries: for all groups ("0.0.0.0", "::") or for one.
  void Query(int version, const std::string& group, uint8_t code = 100) {
    std::vector<uint8_t> bytes(version == 3 ? 12 : 8);
    bytes[0] = 0x11;
    bytes[1] = version == 1 ? 0 : code;
    std::copy_n(Ip(group).bytes() + 12, 4, bytes.begin() + 4);
    if (version == 3) bytes[8] = 2, bytes[9] = 125;
    StoreBig16(&bytes[2], Checksum(bytes));
    groups_.OnIgmp(bytes, Ip("10.0.0.1"), Now());
  }
  void MldQuery(int version, const std::string& group, const std::string& source = "fe80::1",
                bool router_alert = true, uint8_t hop_limit = 1) {
    std::vector<uint8_t> bytes(version == 2 ? 28 : 24);
    bytes[0] = 130;
    StoreBig16(&bytes[4], 10'000);
    std::copy_n(Ip(group).bytes(), 16, bytes.begin() + 8);
    if (version == 2) bytes[24] = 2, bytes[25] = 125;
    groups_.OnMld(bytes, Ip(source), router_alert, hop_limit, Now());
  }
  void HearReport(const std::string& group) {
    uint8_t bytes[kGroupMessageBytesMax];
    const absl::Span<const uint8_t> report(bytes, WriteGroupReport(bytes, Ip(group), 2));
    if (Ip(group).is_v4()) {
      groups_.OnIgmp(report, Ip("10.0.0.9"), Now());
    } else {
      groups_.OnMld(report, Ip("fe80::9"), true, 1, Now());
    }
  }

  void Run(int64_t duration_ns) {
    const int64_t end_ns = Now() + duration_ns;
    while (Now() < end_ns) {
      clock_.Set(std::min(end_ns, std::max(wheel_.NextDeadlineNs(), Now() + 1)));
      wheel_.Advance(Now());
    }
  }
  Lines Said() {
    Lines said = std::exchange(said_, {});
    std::sort(said.begin(), said.end());
    sent_at_ns_.clear();
    return said;
  }

  ManualClock clock_{1000 * kS};
  TimerWheel wheel_{clock_.NowNs()};
  Membership groups_{{.groups_max = 200}, Prng(1), &wheel_, this};
  Lines said_;
  std::vector<int64_t> sent_at_ns_;
  size_t bytes_max_ = 0;
};

TEST_F(MembershipTest, JoiningAndLeavingIsToldTwice) {
  Join("239.1.2.3");
  EXPECT_EQ(Said(), Lines({"224.0.0.22: joined 239.1.2.3"})) << "at once";
  Run(kS);
  EXPECT_EQ(Said(), Lines({"224.0.0.22: joined 239.1.2.3"})) << "and again within a second";
  Run(100 * kS);
  EXPECT_EQ(Said(), Lines());
  EXPECT_TRUE(groups_.Contains(Ip("239.1.2.3")));

  Leave("239.1.2.3");
  EXPECT_FALSE(groups_.Contains(Ip("239.1.2.3")));
  Run(kS);
  EXPECT_EQ(Said(), Lines(2, "224.0.0.22: left 239.1.2.3"));
  EXPECT_EQ(groups_.size(), 0u);
  EXPECT_EQ(wheel_.size(), 0u);
}

TEST_F(MembershipTest, Ipv6SpeaksMld) {
  Join("ff05::123");
  Run(kS);
  EXPECT_EQ(Said(), Lines(2, "ff02::16: joined ff05::123"));
  MldQuery(2, "::");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"ff02::16: is ff05::123"}));
  Leave("ff05::123");
  Run(kS);
  EXPECT_EQ(Said(), Lines(2, "ff02::16: left ff05::123"));
}

TEST_F(MembershipTest, ReferencesAreCounted) {
  Join("239.1.2.3");
  Join("239.1.2.3");
  Run(2 * kS);
  Said();
  Leave("239.1.2.3");
  EXPECT_TRUE(groups_.Contains(Ip("239.1.2.3")));
  EXPECT_EQ(Said(), Lines());
  Leave("239.1.2.3");
  EXPECT_EQ(Said().size(), 1u);
  EXPECT_EQ(groups_.Leave(Ip("239.1.2.3"), Now()).code(), absl::StatusCode::kNotFound);
}

TEST_F(MembershipTest, JoiningAgainEndsTheLeaving) {
  Join("239.1.2.3");
  Leave("239.1.2.3");
  Join("239.1.2.3");
  Said();
  Run(2 * kS);
  EXPECT_EQ(Said(), Lines({"224.0.0.22: joined 239.1.2.3"}));
  EXPECT_TRUE(groups_.Contains(Ip("239.1.2.3")));
}

TEST_F(MembershipTest, SomeGroupsAreNobodysBusiness) {
  for (const char* group : {"224.0.0.1", "ff02::1", "ff01::123", "ff00::1"}) {
    Join(group);
    EXPECT_TRUE(groups_.Contains(Ip(group)));
  }
  Query(3, "0.0.0.0");
  MldQuery(2, "::");
  Query(3, "224.0.0.1");
  Run(20 * kS);
  for (const Membership::Entry& entry : groups_.Snapshot()) EXPECT_FALSE(entry.reported);
  for (const char* group : {"224.0.0.1", "ff02::1", "ff01::123", "ff00::1"}) Leave(group);
  EXPECT_EQ(Said(), Lines());
  EXPECT_EQ(groups_.size(), 0u);
}

TEST_F(MembershipTest, SolicitedNodeGroupsAreGroupsLikeOthers) {
  Join(SolicitedNodeGroup(Ip("fe80::1:2:3")).ToString());
  EXPECT_EQ(Said(), Lines({"ff02::16: joined ff02::1:ff02:3"}));
}

TEST_F(MembershipTest, AGeneralQueryIsAnsweredOnceForAllGroups) {
  Join("239.1.2.3");
  Join("ff05::123");
  Run(2 * kS);
  Said();
  Query(3, "0.0.0.0");
  EXPECT_EQ(Said(), Lines()) << "not at once: all hosts hear the same query";
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"224.0.0.22: is 239.1.2.3"}));
  Query(3, "239.1.2.3");
  Query(3, "239.9.9.9");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"224.0.0.22: is 239.1.2.3"}));
  EXPECT_EQ(groups_.stats().queries, 3u);
}

TEST_F(MembershipTest, ManyGroupsGoInAFewMessagesThatFitEveryLink) {
  for (int n = 0; n < 150; ++n) Join(absl::StrCat("239.1.2.", n));
  Run(2 * kS);
  Said();
  bytes_max_ = 0;
  Query(3, "0.0.0.0");
  Run(10 * kS);
  EXPECT_EQ(said_.size(), 3u);
  EXPECT_LE(bytes_max_, 512u);
}

TEST_F(MembershipTest, AFloodOfQueriesIsNotAmplified) {
  for (int n = 0; n < 10; ++n) Join(absl::StrCat("239.1.2.", n));
  Run(2 * kS);
  Said();
  for (int i = 0; i < 10'000; ++i) {
    Query(3, "0.0.0.0", /*code=*/0);
    Query(3, "239.1.2.1", /*code=*/0);
    Run(kMs / 10);  // a second in all
  }
  EXPECT_LE(Said().size(), 22u);
  EXPECT_LE(wheel_.size(), 2u);
}

TEST_F(MembershipTest, TheWorstQueriesOfTheOlderVersionAreNotAmplifiedEither) {
  for (int n = 0; n < 10; ++n) Join(absl::StrCat("239.1.2.", n));
  for (int i = 0; i < 1000; ++i) {
    Query(2, "0.0.0.0", /*code=*/1);
    Run(kMs);
  }
  EXPECT_LE(groups_.stats().reports_sent, 10 + 10 * 11u);
}

TEST_F(MembershipTest, AnOlderQuerierIsSpokenToInItsVersion) {
  Join("239.1.2.3");
  Run(2 * kS);
  EXPECT_EQ(groups_.igmp_version(Now()), 3);
  Query(2, "0.0.0.0");
  EXPECT_EQ(groups_.igmp_version(Now()), 2);
  EXPECT_EQ(groups_.mld_version(Now()), 2) << "of the other family nothing is known";
  Said();
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"239.1.2.3: report2 239.1.2.3"}));

  Join("239.1.2.4");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines(2, "239.1.2.4: report2 239.1.2.4"));
  Leave("239.1.2.4");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"224.0.0.2: leave2 239.1.2.4"}));

  // 2 * 125 s + 10 s after its last query it is taken to have gone.
  Run(260 * kS);
  EXPECT_EQ(groups_.igmp_version(Now()), 3);
  Join("239.1.2.5");
  EXPECT_EQ(Said(), Lines({"224.0.0.22: joined 239.1.2.5"}));
}

TEST_F(MembershipTest, Version1HasNoLeaveMessages) {
  Query(1, "0.0.0.0");
  EXPECT_EQ(groups_.igmp_version(Now()), 1);
  Join("239.1.2.3");
  EXPECT_EQ(Said(), Lines({"239.1.2.3: report1 239.1.2.3"}));
  Leave("239.1.2.3");
  Run(20 * kS);
  EXPECT_EQ(Said(), Lines());
  EXPECT_EQ(groups_.size(), 0u);
}

TEST_F(MembershipTest, MldHasItsOlderVersionToo) {
  MldQuery(1, "::");
  EXPECT_EQ(groups_.mld_version(Now()), 1);
  Join("ff05::123");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines(2, "ff05::123: report2 ff05::123"));
  MldQuery(1, "ff05::123");
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"ff05::123: report2 ff05::123"}));
  Leave("ff05::123");
  EXPECT_EQ(Said(), Lines({"ff02::2: leave2 ff05::123"}));
}

TEST_F(MembershipTest, ChangeOfVersionEndsWhatIsPending) {
  Join("239.1.2.3");
  Leave("239.1.2.3");
  Join("239.1.2.4");
  Said();
  Query(2, "0.0.0.0");
  EXPECT_EQ(groups_.size(), 1u) << "that one was left is not told of any more";
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"239.1.2.4: report2 239.1.2.4"}));
}

TEST_F(MembershipTest, OfTheOlderVersionOneReportIsEnough) {
  Query(2, "0.0.0.0");
  Join("239.1.2.3");
  Said();
  HearReport("239.1.2.3");
  Run(20 * kS);
  EXPECT_EQ(Said(), Lines());
  Query(2, "239.1.2.3");
  HearReport("239.1.2.3");
  Run(20 * kS);
  EXPECT_EQ(Said(), Lines());
  EXPECT_EQ(groups_.stats().reports_suppressed, 2u);
  Leave("239.1.2.3");
  EXPECT_EQ(Said(), Lines()) << "another host is a member";
}

TEST_F(MembershipTest, OfTheNewerVersionEveryHostReports) {
  Join("239.1.2.3");
  Said();
  HearReport("239.1.2.3");
  Run(kS);
  EXPECT_EQ(Said().size(), 1u);
}

TEST_F(MembershipTest, ALinkThatComesBackIsToldOfAllGroups) {
  Join("239.1.2.3");
  Join("ff05::123");
  Run(2 * kS);
  Said();
  groups_.OnLinkUp(Now());
  EXPECT_EQ(Said(), Lines({"224.0.0.22: joined 239.1.2.3", "ff02::16: joined ff05::123"}));
  Run(kS);
  EXPECT_EQ(Said(), Lines({"224.0.0.22: is 239.1.2.3", "ff02::16: is ff05::123"}));
  Query(2, "0.0.0.0");
  Run(10 * kS);
  Said();
  groups_.OnLinkUp(Now());
  Run(10 * kS);
  EXPECT_EQ(Said(), Lines({"239.1.2.3: report2 239.1.2.3", "239.1.2.3: report2 239.1.2.3",
                           "ff02::16: is ff05::123", "ff02::16: joined ff05::123"}));
}

TEST_F(MembershipTest, IsBounded) {
  for (uint32_t n = 0; n < 200; ++n) {
    ASSERT_TRUE(groups_.Join(IpAddress::V4(0xef000000 + n), Now()).ok());
  }
  EXPECT_EQ(groups_.Join(Ip("239.9.9.9"), Now()).message(),
            "no room for group 239.9.9.9: 200 are joined; leave one first");
  EXPECT_EQ(groups_.Join(Ip("10.0.0.1"), Now()).message(),
            "10.0.0.1 is not the address of a group (224.0.0.0/4 or ff00::/8)");
}

TEST_F(MembershipTest, WhatNoHonestRouterSendsIsCountedAndIgnored) {
  Join("ff05::123");
  Join("239.1.2.3");
  Run(2 * kS);
  Said();
  MldQuery(2, "::", "fd00::1");
  MldQuery(2, "::", "::");
  MldQuery(2, "::", "fe80::1", /*router_alert=*/false);
  MldQuery(2, "::", "fe80::1", true, /*hop_limit=*/64);
  MldQuery(2, "fd00::1");
  Query(3, "10.0.0.1");
  const uint8_t bad_checksum[8] = {0x11, 100};
  groups_.OnIgmp(bad_checksum, Ip("10.0.0.1"), Now());
  groups_.OnIgmp({}, Ip("10.0.0.1"), Now());
  Run(20 * kS);
  EXPECT_EQ(groups_.stats().malformed, 8u);
  EXPECT_EQ(Said(), Lines());
}

}  // namespace
}  // namespace weft::netstack
