// SPDX-License-Identifier: Apache-2.0
//
// ICMP errors and paths that become narrower: RFC 5461, RFC 5927, RFC 1191.
#include <cerrno>

#include "gtest/gtest.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {
namespace {

using Kind = netstack::IcmpErrorReport::Kind;

class IcmpTest : public DialogueTest {
 protected:
  // About our segment of that number.
  bool Report(Kind kind, uint32_t number) {
    netstack::IcmpErrorReport report;
    report.kind = kind;
    report.source = us_;
    report.destination = peer_;
    report.source_port = our_port_;
    report.destination_port = kPeerPort;
    report.tcp_sequence = (our_isn_ + number).value();
    const bool ours = engine_->OnIcmpError(report, now_ns_);
    Turn();
    return ours;
  }
};

TEST_F(IcmpTest, AnOpenIsTold) {
  Connect();
  Hear();
  EXPECT_TRUE(Report(Kind::kPortUnreachable, 0));
  EXPECT_EQ(Event(), absl::StrCat("closed ", ECONNREFUSED));
  Connect();
  Hear();
  EXPECT_TRUE(Report(Kind::kHostUnreachable, 0));
  EXPECT_EQ(Event(), absl::StrCat("closed ", EHOSTUNREACH));
}

TEST_F(IcmpTest, WhatIsNotInFlightIsForged) {
  Connect();
  Hear();
  EXPECT_FALSE(Report(Kind::kPortUnreachable, 1));
  EXPECT_EQ(State(), "SYN-SENT");
  EXPECT_EQ(engine_->stats().icmp_ignored, 1u);
}

TEST_F(IcmpTest, EstablishedConnectionsOutliveThem) {
  Accept();
  Write(10);
  EXPECT_TRUE(Report(Kind::kPortUnreachable, 1));
  EXPECT_TRUE(Report(Kind::kHostUnreachable, 1));
  EXPECT_FALSE(Report(Kind::kPacketTooBig, 11));
  EXPECT_EQ(State(), "ESTABLISHED");
  Forget();
}

TEST_F(IcmpTest, NobodysErrorIsNobodys) { EXPECT_FALSE(Report(Kind::kPortUnreachable, 0)); }

TEST_F(IcmpTest, ANarrowerPathTakesShorterSegments) {
  Accept("mss=1460");
  Write(2920);
  EXPECT_EQ(Hear(), "A 1+1460 ack 1");
  EXPECT_EQ(Hear(), "PA 1461+1460 ack 1");
  const uint32_t before = Info().cwnd_bytes;
  EXPECT_TRUE(Report(Kind::kPacketTooBig, 1));
  engine_->OnPathMtu(peer_, 1040, now_ns_);
  Turn();
  EXPECT_EQ(Info().send_mss_bytes, 1000u);
  EXPECT_EQ(Info().path_mtu_bytes, 1040u);
  EXPECT_EQ(Hear(), "A 1+1000 ack 1");
  EXPECT_GE(Info().cwnd_bytes, before);
  for (int i = 0; i < 50 && Info().unacked_segments > 0; ++i) {
    while (!outbox_.empty()) {
      Hear();
      EXPECT_LE(last_.payload.size(), 1000u);
    }
    const auto bytes = static_cast<int32_t>(last_.payload.size());
    Say(absl::StrCat("A 1 ack ", last_.seq - our_isn_ + bytes));
    Pass(10 * kMs);
  }
  EXPECT_EQ(Info().unacked_segments, 0u);
}

TEST_F(IcmpTest, AWiderPathIsNotBelieved) {
  Accept("mss=1460");
  engine_->OnPathMtu(peer_, 9000, now_ns_);
  EXPECT_EQ(Info().send_mss_bytes, 1460u);
}

}  // namespace
}  // namespace weft::tcp
