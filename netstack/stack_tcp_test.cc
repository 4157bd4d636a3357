// SPDX-License-Identifier: Apache-2.0
//
// TCP segments that a stack receives: which of them a handler sees, and what else it is told.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/segment_test_util.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

constexpr uint8_t kSynAck = kTcpSyn | kTcpAck;

// Parameter: IPv4.
class StackTcpTest : public StackTest, public testing::WithParamInterface<bool> {
 protected:
  bool v4() const { return GetParam(); }
  const char* ours() const { return v4() ? kOurs4 : kOurs6; }
  const char* peer() const { return v4() ? kPeer4 : kPeer6; }

  void OpenTcp(const config::Netstack& config) {
    handler_.reset();
    OpenStack(config);
    handler_ = std::make_unique<TestHandler>(stack_.get());
    handler_->ports = {80};
  }
  void OpenTcp() { OpenTcp(Config()); }

  Bytes Message(const SegmentSpec& spec = {}, const Bytes& payload = {}) const {
    return TcpMessage(Ip(peer()), Ip(ours()), spec, payload);
  }
  Bytes PacketOf(const Bytes& message, uint8_t traffic_class = 0) const {
    return v4()
               ? Ipv4Packet(
                     {.source = peer(), .destination = ours(), .protocol = 6, .tos = traffic_class},
                     message)
               : Ipv6Packet({.source = peer(),
                             .destination = ours(),
                             .next_header = 6,
                             .traffic_class = traffic_class},
                            message);
  }
  // An ICMP error of the peer's about a segment that we have sent to it.
  void SendError(const char* what, uint32_t mtu, const Bytes& about) {
    const bool too_big = std::string(what) == "too big";
    const uint8_t type = v4() ? 3 : too_big ? 2 : 1;
    const uint8_t code = too_big ? (v4() ? 4 : 0) : (v4() ? 3 : 4);
    const Bytes message = v4() ? Icmp4Message(type, code, mtu, about)
                               : Icmp6Message(Ip(peer()), Ip(ours()), type, code, mtu, about);
    SendIp(v4()
               ? Ipv4Packet({.source = peer(), .destination = ours(), .protocol = 1}, message)
               : Ipv6Packet({.source = peer(), .destination = ours(), .next_header = 58}, message));
  }
  size_t SendSegment(const SegmentSpec& spec, const Bytes& payload = {}) {
    OutgoingSegment one[] = {{.buffer = FillSegment(stack_->Allocate(), spec, payload),
                              .source = Ip(ours()),
                              .destination = Ip(peer())}};
    return stack_->SendSegments(absl::MakeSpan(one));
  }

  // Goes before the stack does.
  std::unique_ptr<TestHandler> handler_;
};

INSTANTIATE_TEST_SUITE_P(Families, StackTcpTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "ipv4" : "ipv6"; });

TEST_P(StackTcpTest, WithoutHandlerNobodySpeaksTcp) {
  OpenStack();
  SendIp(PacketOf(Message()));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].protocol, v4() ? 1 : 58);
  EXPECT_EQ(heard[0].type(), v4() ? 3 : 4);
  EXPECT_EQ(heard[0].code(), v4() ? 2 : 1);
  EXPECT_EQ(stats().not_for_us.value(), 1u);
  EXPECT_EQ(stats().segments_received.value(), 0u);
}

TEST_P(StackTcpTest, SegmentsReachTheHandlerAsTheyWereSent) {
  OpenTcp();
  for (const size_t bytes : {0, 1, 100, 1400}) {
    const Bytes message =
        Message({.flags = kSynAck, .options = FromHex("020405b4")}, Pattern(bytes, bytes));
    SendIp(PacketOf(message, /*traffic_class=*/0xb8 | 3));
    Run();
    ASSERT_EQ(handler_->heard.size(), 1u);
    const TestHandler::Heard& heard = handler_->heard[0];
    EXPECT_EQ(heard.source, Ip(peer()));
    EXPECT_EQ(heard.destination, Ip(ours()));
    EXPECT_EQ(heard.ecn, 3);
    EXPECT_EQ(heard.ttl, 64);
    EXPECT_EQ(heard.bytes, message);
    handler_->heard.clear();
  }
  EXPECT_EQ(stats().segments_received.value(), 4u);
  EXPECT_EQ(stats().segments_stray.value(), 0u);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpTest, TheEndOfThePacketIsTheEndOfTheSegment) {
  OpenTcp();
  const Bytes message = Message();
  Bytes padded = PacketOf(message);
  padded.resize(padded.size() + 20, 0xee);
  SendIp(padded);
  Run();
  ASSERT_EQ(handler_->heard.size(), 1u);
  EXPECT_EQ(handler_->heard[0].bytes, message);
}

TEST_P(StackTcpTest, WhatIsNobodysIsAnsweredByAReset) {
  OpenTcp();
  SendIp(PacketOf(Message({.destination_port = 81, .sequence = 7000})));
  const std::vector<Packet> heard = Packets(Run(), 6);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].source, Ip(ours()));
  EXPECT_EQ(heard[0].source_port(), 81);
  EXPECT_EQ(heard[0].destination_port(), 50000);
  EXPECT_EQ(heard[0].upper[kTcpFlagsOffset], kTcpReset | kTcpAck);
  EXPECT_EQ(Slice(heard[0].upper, 8, 4), FromHex("00001b59"));
  EXPECT_EQ(handler_->strays, 1u);
  EXPECT_EQ(stats().segments_stray.value(), 1u);
  EXPECT_EQ(stats().segments_sent.value(), 1u);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpTest, WhatArrivesTogetherIsOneBurst) {
  OpenTcp();
  network_.set_tick_ns(kMsNs);
  for (uint16_t i = 0; i < 100; ++i) {
    // Every third is nobody's.
    SendIp(PacketOf(
        Message({.destination_port = static_cast<uint16_t>(i % 3 == 0 ? 81 : 80), .sequence = i})));
  }
  Run();
  EXPECT_EQ(handler_->heard.size(), 66u);
  for (size_t i = 0; i < handler_->heard.size(); ++i) {
    EXPECT_EQ(handler_->heard[i].bytes[7], i / 2 * 3 + 1 + i % 2) << "in their order";
  }
  EXPECT_EQ(handler_->strays, 34u);
  size_t all = 0;
  for (const size_t n : handler_->bursts) {
    EXPECT_LE(n, 32u);
    all += n;
  }
  EXPECT_EQ(all, 100u);
  EXPECT_LT(handler_->bursts.size(), 50u);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpTest, ChecksumsAreVerifiedUnlessTheDeviceHasDoneIt) {
  OpenTcp();
  const Bytes payload = Pattern(33);
  const Bytes good = Message({}, payload);
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 0x10;
    // The data offset decides first what is malformed.
    if (i == kTcpDataOffsetOffset) continue;
    SendIp(PacketOf(bad));
  }
  Run();
  EXPECT_TRUE(handler_->bursts.empty());
  EXPECT_EQ(stats().bad_checksum.value(), good.size() - 1);
  // What the device has found good is not looked at again.
  device_->received_flags = FrameOffload::kL4ChecksumGood | FrameOffload::kIpChecksumGood;
  Bytes unfilled = good;
  unfilled[kTcpChecksumOffset] ^= 0xff;
  SendIp(PacketOf(unfilled));
  Run();
  ASSERT_EQ(handler_->heard.size(), 1u);
  EXPECT_EQ(handler_->heard[0].payload(), payload);
}

TEST_P(StackTcpTest, BrokenHeadersAreCountedAndDropped) {
  OpenTcp();
  const Bytes good = Message();
  for (size_t n = 0; n < good.size(); ++n) SendIp(PacketOf(Slice(good, 0, n)));
  for (const uint8_t offset : {0, 4, 6, 15}) {
    Bytes bad = good;
    bad[kTcpDataOffsetOffset] = static_cast<uint8_t>(offset << 4);
    SendIp(PacketOf(bad));
  }
  Run();
  EXPECT_TRUE(handler_->bursts.empty());
  EXPECT_EQ(stats().malformed.value(), good.size() + 4);
  EXPECT_TRUE(NothingHeld());
}

// RFC 9293, MUST-57 and MUST-63: silently.
TEST_P(StackTcpTest, SegmentsToGroupsAndFromNobodyAreDropped) {
  OpenTcp();
  const char* const group = v4() ? "224.0.0.1" : "ff02::1";
  const Bytes to_group = TcpMessage(Ip(peer()), Ip(group), {});
  SendTo(MulticastMac(Ip(group)), v4() ? kTypeIpv4 : kTypeIpv6,
         v4() ? Ipv4Packet({.source = peer(), .destination = group, .protocol = 6}, to_group)
              : Ipv6Packet({.source = peer(), .destination = group, .next_header = 6}, to_group));
  const char* const nobody = v4() ? "0.0.0.0" : "::";
  const Bytes from_nobody = TcpMessage(Ip(nobody), Ip(ours()), {});
  SendIp(
      v4() ? Ipv4Packet({.source = nobody, .destination = ours(), .protocol = 6}, from_nobody)
           : Ipv6Packet({.source = nobody, .destination = ours(), .next_header = 6}, from_nobody));
  const char* const multicast = v4() ? "224.0.0.5" : "ff02::5";
  const Bytes from_group = TcpMessage(Ip(multicast), Ip(ours()), {});
  SendIp(v4() ? Ipv4Packet({.source = multicast, .destination = ours(), .protocol = 6}, from_group)
              : Ipv6Packet({.source = multicast, .destination = ours(), .next_header = 6},
                           from_group));
  if (v4()) {
    const Bytes to_all = TcpMessage(Ip(peer()), Ip("10.0.0.255"), {});
    SendTo(kBroadcastMac, kTypeIpv4,
           Ipv4Packet({.source = peer(), .destination = "10.0.0.255", .protocol = 6}, to_all));
  }
  EXPECT_TRUE(Run().empty());
  EXPECT_TRUE(handler_->bursts.empty());
  EXPECT_EQ(stats().not_for_us.value(), v4() ? 2u : 1u);
  EXPECT_EQ(stats().bad_source.value(), 2u);
}

TEST_P(StackTcpTest, FragmentsAreJoinedAndTheirMarksKept) {
  OpenTcp();
  const Bytes message = Message({}, Pattern(1000));
  for (size_t at = 0; at < message.size(); at += 512) {
    const Bytes part = Slice(message, at, 512);
    const bool more = at + 512 < message.size();
    const uint8_t marked = at == 0 ? 2 : 3;  // one router on the way was congested
    SendIp(v4() ? Ipv4Packet({.source = peer(),
                              .destination = ours(),
                              .offset = at,
                              .more = more,
                              .protocol = 6,
                              .tos = marked},
                             part)
                : Ipv6Packet(
                      {.source = peer(),
                       .destination = ours(),
                       .next_header = 44,
                       .traffic_class = marked},
                      Ipv6FragmentPayload({.offset = at, .more = more, .next_header = 6}, part)));
  }
  Run();
  ASSERT_EQ(handler_->heard.size(), 1u);
  EXPECT_EQ(handler_->heard[0].bytes, message);
  EXPECT_EQ(handler_->heard[0].ecn, 3);
}

TEST_P(StackTcpTest, SegmentsToOurselvesComeBack) {
  OpenTcp();
  handler_->ports = {80, 50000};
  const Bytes payload = Pattern(100);
  Buffer buffer = FillSegment(stack_->Allocate(), {}, payload);
  const size_t headroom = buffer.headroom();
  Buffer kept = buffer.Share();
  OutgoingSegment out[] = {{.buffer = std::move(buffer),
                            .source = Ip(ours()),
                            .destination = Ip(ours()),
                            .ecn = 2,
                            .ttl = 9}};
  EXPECT_EQ(stack_->SendSegments(absl::MakeSpan(out)), 1u);
  EXPECT_FALSE(kept.is_shared()) << "who receives it has a copy";
  EXPECT_TRUE(Run().empty()) << "not by the wire";
  ASSERT_EQ(handler_->heard.size(), 1u);
  EXPECT_EQ(handler_->heard[0].source, Ip(ours()));
  EXPECT_EQ(handler_->heard[0].ecn, 2);
  EXPECT_EQ(handler_->heard[0].ttl, 9);
  EXPECT_EQ(handler_->heard[0].payload(), payload);
  kept.SetData(headroom, kTcpHeaderBytes + payload.size());
  EXPECT_EQ(Slice(kept.bytes(), kTcpHeaderBytes), payload);
  kept.Reset();
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpTest, ErrorsAboutWhatIsInFlightAreTold) {
  OpenTcp();
  ASSERT_EQ(SendSegment({.source_port = 80, .destination_port = 50000, .sequence = 1000}), 1u);
  const std::vector<Packet> sent = Packets(Run(), 6);
  ASSERT_EQ(sent.size(), 1u);
  handler_->sequence_in_flight = 1000;
  SendError("unreachable", 0, sent[0].whole);
  Run();
  ASSERT_EQ(handler_->errors.size(), 1u);
  const IcmpErrorReport& report = handler_->errors[0];
  EXPECT_EQ(report.kind, IcmpErrorReport::Kind::kPortUnreachable);
  EXPECT_EQ(report.protocol, IpProtocol::kTcp);
  EXPECT_EQ(report.source, Ip(ours()));
  EXPECT_EQ(report.destination, Ip(peer()));
  EXPECT_EQ(report.source_port, 80);
  EXPECT_EQ(report.destination_port, 50000);
  EXPECT_EQ(report.tcp_sequence, 1000u);
  EXPECT_EQ(stats().errors_ignored.value(), 0u);
  handler_->sequence_in_flight = 2000;
  SendError("unreachable", 0, sent[0].whole);
  Run();
  EXPECT_EQ(handler_->errors.size(), 2u);
  EXPECT_EQ(stats().errors_ignored.value(), 1u) << "it is not in flight";
}

TEST_P(StackTcpTest, PathsBecomeNarrowerOnlyByErrorsAboutWhatIsInFlight) {
  OpenTcp();
  ASSERT_EQ(SendSegment({.source_port = 80, .sequence = 1000}), 1u);
  const std::vector<Packet> sent = Packets(Run(), 6);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(stack_->PathMtu(Ip(peer())), 1500u);
  SendError("too big", 1300, sent[0].whole);
  Run();
  EXPECT_EQ(stack_->PathMtu(Ip(peer())), 1500u);
  EXPECT_TRUE(handler_->path_mtus.empty());
  EXPECT_EQ(stats().errors_ignored.value(), 1u);
  handler_->sequence_in_flight = 1000;
  SendError("too big", 1300, sent[0].whole);
  SendError("too big", 1400, sent[0].whole);  // never up again
  Run();
  EXPECT_EQ(stack_->PathMtu(Ip(peer())), 1300u);
  ASSERT_EQ(handler_->path_mtus.size(), 1u);
  EXPECT_EQ(handler_->path_mtus[0], std::make_pair(Ip(peer()), size_t{1300}));
}

TEST_P(StackTcpTest, PathsThatDatagramsFoundNarrowAreToldToo) {
  OpenTcp();
  auto port = OpenPort("[::]:7000");
  ASSERT_TRUE(SendFrom(*port, v4() ? "10.0.0.2:9" : "[fd00::2]:9", Pattern(1000)));
  const std::vector<Packet> sent = Packets(Run(), 17);
  ASSERT_EQ(sent.size(), 1u);
  SendError("too big", 1280, sent[0].whole);
  Run();
  ASSERT_EQ(handler_->path_mtus.size(), 1u);
  EXPECT_EQ(handler_->path_mtus[0].second, 1280u);
}

TEST_P(StackTcpTest, ANeighbourThatDoesNotAnswerIsAnError) {
  OpenTcp(ConfigWithoutNeighbors());
  ASSERT_EQ(SendSegment({.source_port = 80, .destination_port = 50000, .sequence = 1000}), 1u);
  EXPECT_TRUE(Packets(Run(), 6).empty()) << "it waits for the neighbour";
  EXPECT_TRUE(handler_->errors.empty());
  Run(10 * kSNs);
  ASSERT_EQ(handler_->errors.size(), 1u);
  EXPECT_EQ(handler_->errors[0].kind, IcmpErrorReport::Kind::kHostUnreachable);
  EXPECT_EQ(handler_->errors[0].destination, Ip(peer()));
  EXPECT_EQ(handler_->errors[0].source_port, 80);
  EXPECT_EQ(handler_->errors[0].destination_port, 50000);
  EXPECT_EQ(handler_->errors[0].tcp_sequence, 1000u);
}

TEST_P(StackTcpTest, AHandlerThatIsTakenAwayHearsNothing) {
  OpenTcp();
  SendIp(PacketOf(Message()));
  handler_.reset();
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_NE(heard[0].protocol, 6);
  EXPECT_TRUE(NothingHeld());
}

}  // namespace
}  // namespace weft::netstack
