// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/icmp_errors.h"

#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/ipv6.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

using Bytes = std::vector<uint8_t>;
using Kind = IcmpErrorReport::Kind;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

constexpr IcmpError kPacketTooBigV6 = {2, 0, 1400};

// A packet with `upper` behind its header, and `padding` behind the packet.
Bytes V4(const char* source, const char* destination, IpProtocol protocol, const Bytes& upper,
         uint16_t fragment_offset_bytes = 0, size_t padding = 0) {
  Bytes packet(kIpv4HeaderBytes);
  Ipv4Fields{.total_bytes = static_cast<uint16_t>(kIpv4HeaderBytes + upper.size()),
             .fragment_offset_bytes = fragment_offset_bytes,
             .protocol = protocol,
             .source = Ip(source),
             .destination = Ip(destination)}
      .Write(packet.data());
  packet.insert(packet.end(), upper.begin(), upper.end());
  packet.resize(packet.size() + padding);
  return packet;
}
Bytes V6(const char* source, const char* destination, IpProtocol next, const Bytes& rest) {
  Bytes packet(kIpv6HeaderBytes);
  Ipv6Fields{.payload_bytes = static_cast<uint16_t>(rest.size()),
             .next_header = next,
             .source = Ip(source),
             .destination = Ip(destination)}
      .Write(packet.data());
  packet.insert(packet.end(), rest.begin(), rest.end());
  return packet;
}
Bytes Udp(uint16_t source, uint16_t destination, size_t payload) {
  Bytes udp(kUdpHeaderBytes + payload, 0x55);
  WriteUdp(udp.data(), source, destination, static_cast<uint16_t>(udp.size()), 0);
  return udp;
}
Bytes Icmp(uint8_t type, uint8_t code = 0, uint32_t rest = 0) {
  Bytes icmp(kIcmpHeaderBytes);
  WriteIcmp(icmp.data(), type, code, rest);
  return icmp;
}
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

bool MayV4(const Bytes& packet, bool to_everybody = false) {
  return MayReportError(packet, kIcmpPortUnreachable, to_everybody);
}
bool MayV6(const Bytes& packet, const IcmpError& error = kIcmpv6PortUnreachable,
           bool to_everybody = false) {
  return MayReportError(packet, error, to_everybody);
}

TEST(MayReportErrorTest, ToWhomAndAboutWhatV4) {
  const Bytes udp = Udp(1, 2, 10);
  constexpr auto kUdp = IpProtocol::kUdp;
  EXPECT_TRUE(MayV4(V4("10.0.0.1", "10.0.0.2", kUdp, udp)));
  EXPECT_FALSE(MayV4(V4("10.0.0.1", "10.0.0.255", kUdp, udp), /*to_everybody=*/true));
  EXPECT_FALSE(MayV4(V4("10.0.0.1", "239.1.2.3", kUdp, udp)));
  EXPECT_FALSE(MayV4(V4("10.0.0.1", "255.255.255.255", kUdp, udp)));
  for (const char* source : {"0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"}) {
    EXPECT_FALSE(MayV4(V4(source, "10.0.0.2", kUdp, udp))) << source;
  }
  EXPECT_FALSE(MayV4(V4("10.0.0.1", "10.0.0.2", kUdp, udp, 64))) << "a later fragment";
  for (const uint8_t type : {3, 4, 5, 11, 12}) {
    EXPECT_FALSE(MayV4(V4("10.0.0.1", "10.0.0.2", IpProtocol::kIcmp, Icmp(type)))) << int{type};
  }
  EXPECT_TRUE(MayV4(V4("10.0.0.1", "10.0.0.2", IpProtocol::kIcmp, Icmp(8))));
  EXPECT_FALSE(MayV4(V4("10.0.0.1", "10.0.0.2", IpProtocol::kIcmp, {})));
  EXPECT_FALSE(MayV4({}));
  EXPECT_FALSE(MayV4(Bytes(40, 0x45)));
  EXPECT_FALSE(MayV4(Bytes(40, 0)));
}

TEST(MayReportErrorTest, ToWhomAndAboutWhatV6) {
  const Bytes udp = Udp(1, 2, 10);
  constexpr auto kUdp = IpProtocol::kUdp;
  const Bytes to_group = V6("fd00::1", "ff02::1", kUdp, udp);
  EXPECT_TRUE(MayV6(V6("fd00::1", "fd00::2", kUdp, udp)));
  EXPECT_FALSE(MayV6(to_group));
  EXPECT_TRUE(MayV6(to_group, kPacketTooBigV6));
  EXPECT_TRUE(MayV6(to_group, {4, 2, 48}));
  EXPECT_FALSE(MayV6(to_group, {4, 1, 48}));
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kUdp, udp), kIcmpv6PortUnreachable, true));
  for (const char* source : {"::", "::1", "ff02::1", "::ffff:10.0.0.1"}) {
    EXPECT_FALSE(MayV6(V6(source, "fd00::2", kUdp, udp), kPacketTooBigV6)) << source;
  }
  constexpr auto kIcmpv6 = IpProtocol::kIcmpv6;
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kIcmpv6, Icmp(1))));
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kIcmpv6, Icmp(127))));
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kIcmpv6, Icmp(137))));
  EXPECT_TRUE(MayV6(V6("fd00::1", "fd00::2", kIcmpv6, Icmp(128))));
}

TEST(MayReportErrorTest, AnErrorBehindExtensionHeadersIsAnError) {
  const Bytes options = {58, 0, 1, 4, 0, 0, 0, 0};
  const Bytes first = {58, 0, 0, 1, 0, 0, 0, 1};
  const Bytes later = {58, 0, 0, 8, 0, 0, 0, 1};
  constexpr auto kDestination = IpProtocol::kDestination;
  constexpr auto kFragment = IpProtocol::kFragment;
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kDestination, options + Icmp(1))));
  EXPECT_TRUE(MayV6(V6("fd00::1", "fd00::2", kDestination, options + Icmp(128))));
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kFragment, first + Icmp(1))));
  EXPECT_TRUE(MayV6(V6("fd00::1", "fd00::2", kFragment, first + Icmp(128))));
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kFragment, later + Icmp(128))));
  EXPECT_FALSE(MayV6(V6("fd00::1", "fd00::2", kDestination, {58, 9})));
  // A header that nobody knows is to be told of.
  EXPECT_TRUE(MayV6(V6("fd00::1", "fd00::2", static_cast<IpProtocol>(200), Icmp(1)), {4, 1, 6}));
}

class BuildIcmpErrorTest : public testing::Test {
 protected:
  BufferPool pool_{{.count = 4, .bytes = 2048, .headroom = 128}};
};

TEST_F(BuildIcmpErrorTest, QuotesAllOfAShortPacketWithoutItsPadding) {
  const Bytes offending = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(7, 9, 4), 0, 14);
  const Buffer error = BuildIcmpError(pool_, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, offending);
  ASSERT_TRUE(error);
  EXPECT_EQ(error.headroom(), 128u);
  Ipv4View ip;
  ASSERT_TRUE(Ipv4View::Parse(error.bytes(), &ip));
  EXPECT_EQ(ip.total_bytes(), error.size());
  EXPECT_TRUE(ip.ChecksumIsGood());
  EXPECT_EQ(ip.source(), Ip("10.0.0.2"));
  EXPECT_EQ(ip.destination(), Ip("10.0.0.1"));
  EXPECT_EQ(ip.ttl(), 64);
  EXPECT_EQ(ip.protocol(), IpProtocol::kIcmp);
  const absl::Span<const uint8_t> icmp(ip.payload(), ip.payload_bytes());
  EXPECT_EQ(Checksum(icmp), 0);
  EXPECT_EQ(icmp[0], 3);
  EXPECT_EQ(icmp[1], 3);
  EXPECT_EQ(Bytes(icmp.begin() + 8, icmp.end()), Bytes(offending.begin(), offending.end() - 14));
}

TEST_F(BuildIcmpErrorTest, ALongPacketIsCut) {
  const Bytes v4 = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(7, 9, 1400));
  EXPECT_EQ(BuildIcmpError(pool_, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, v4).size(), 576u);

  const Bytes v6 = V6("fd00::1", "fd00::2", IpProtocol::kUdp, Udp(7, 9, 1401));
  const Buffer error = BuildIcmpError(pool_, Ip("fd00::2"), 255, kPacketTooBigV6, v6);
  ASSERT_EQ(error.size(), 1280u);
  Ipv6View ip;
  ASSERT_TRUE(Ipv6View::Parse(error.bytes(), &ip));
  EXPECT_EQ(ip.next_header(), IpProtocol::kIcmpv6);
  EXPECT_EQ(ip.hop_limit(), 255);
  EXPECT_EQ(ip.destination(), Ip("fd00::1"));
  const absl::Span<const uint8_t> icmp(ip.payload(), ip.payload_bytes());
  EXPECT_EQ(FinishChecksum(AddToChecksum(
                PseudoHeaderSum(ip.source(), ip.destination(), 58, icmp.size()), icmp)),
            0);
  EXPECT_EQ(LoadBig32(icmp.data() + 4), 1400u);
}

TEST_F(BuildIcmpErrorTest, NoBufferNoError) {
  const Bytes offending = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(7, 9, 400));
  std::vector<Buffer> all;
  while (Buffer buffer = pool_.Allocate()) all.push_back(std::move(buffer));
  EXPECT_FALSE(BuildIcmpError(pool_, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, offending));

  BufferPool small({.count = 1, .bytes = 128, .headroom = 0});
  EXPECT_EQ(BuildIcmpError(small, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, offending).size(),
            128u);
  BufferPool smaller({.count = 1, .bytes = 64, .headroom = 32});
  EXPECT_FALSE(BuildIcmpError(smaller, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, offending));
  EXPECT_EQ(smaller.available(), 1u);
  EXPECT_FALSE(BuildIcmpError(small, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, Bytes(8)));
}

TEST_F(BuildIcmpErrorTest, ItsReceiverFindsWhatItIsAbout) {
  const Bytes v4 = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(7000, 9000, 1400));
  Buffer error = BuildIcmpError(pool_, Ip("10.0.0.2"), 64, kIcmpPortUnreachable, v4);
  IcmpErrorReport report;
  ASSERT_TRUE(ParseIcmpError(error.bytes().subspan(kIpv4HeaderBytes), false, &report));
  EXPECT_EQ(report.kind, Kind::kPortUnreachable);
  EXPECT_EQ(report.protocol, IpProtocol::kUdp);
  EXPECT_EQ(report.source, Ip("10.0.0.1"));
  EXPECT_EQ(report.destination, Ip("10.0.0.2"));
  EXPECT_EQ(report.source_port, 7000);
  EXPECT_EQ(report.destination_port, 9000);

  const Bytes v6 = V6("fd00::1", "fd00::2", IpProtocol::kUdp, Udp(7000, 9000, 1400));
  error = BuildIcmpError(pool_, Ip("fd00::2"), 64, kPacketTooBigV6, v6);
  ASSERT_TRUE(ParseIcmpError(error.bytes().subspan(kIpv6HeaderBytes), true, &report));
  EXPECT_EQ(report.kind, Kind::kPacketTooBig);
  EXPECT_EQ(report.mtu, 1400u);
  EXPECT_EQ(report.source, Ip("fd00::1"));
  EXPECT_EQ(report.source_port, 7000);
  EXPECT_FALSE(ParseIcmpError(error.bytes().subspan(kIpv6HeaderBytes), false, &report));
}

TEST(ParseIcmpErrorTest, KindsOfBothFamilies) {
  const Bytes v4 = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(1, 2, 0));
  const Bytes v6 = V6("fd00::1", "fd00::2", IpProtocol::kUdp, Udp(1, 2, 0));
  const struct {
    bool v6;
    uint8_t type, code;
    Kind kind;
  } kCases[] = {
      {false, 3, 0, Kind::kHostUnreachable},     {false, 3, 1, Kind::kHostUnreachable},
      {false, 3, 2, Kind::kProtocolUnreachable}, {false, 3, 3, Kind::kPortUnreachable},
      {false, 3, 4, Kind::kPacketTooBig},        {false, 3, 13, Kind::kProhibited},
      {false, 11, 0, Kind::kTimeExceeded},       {false, 12, 0, Kind::kParameterProblem},
      {true, 1, 0, Kind::kHostUnreachable},      {true, 1, 1, Kind::kProhibited},
      {true, 1, 3, Kind::kHostUnreachable},      {true, 1, 4, Kind::kPortUnreachable},
      {true, 2, 0, Kind::kPacketTooBig},         {true, 3, 1, Kind::kTimeExceeded},
      {true, 4, 1, Kind::kProtocolUnreachable},  {true, 4, 2, Kind::kParameterProblem},
  };
  IcmpErrorReport report;
  for (const auto& c : kCases) {
    const Bytes message = Icmp(c.type, c.code, 1400) + (c.v6 ? v6 : v4);
    ASSERT_TRUE(ParseIcmpError(message, c.v6, &report)) << int{c.type} << " " << int{c.code};
    EXPECT_EQ(report.kind, c.kind) << int{c.type} << " " << int{c.code};
    EXPECT_EQ(report.mtu, c.kind == Kind::kPacketTooBig ? 1400u : 0u);
  }
  for (const uint8_t type : {0, 4, 5, 8, 13}) {
    EXPECT_FALSE(ParseIcmpError(Icmp(type) + v4, false, &report)) << int{type};
  }
  for (const uint8_t type : {0, 5, 127, 128, 135, 137}) {
    EXPECT_FALSE(ParseIcmpError(Icmp(type) + v6, true, &report)) << int{type};
  }
}

TEST(ParseIcmpErrorTest, EchoRequestsAndTcp) {
  IcmpErrorReport report;
  const Bytes ping = V4("10.0.0.1", "10.0.0.2", IpProtocol::kIcmp, Icmp(8, 0, 0x12345678));
  ASSERT_TRUE(ParseIcmpError(Icmp(11) + ping, false, &report));
  EXPECT_EQ(report.source_port, 0x1234);
  EXPECT_EQ(report.destination_port, 0x5678);
  const Bytes reply = V4("10.0.0.1", "10.0.0.2", IpProtocol::kIcmp, Icmp(0));
  EXPECT_FALSE(ParseIcmpError(Icmp(11) + reply, false, &report));
  const Bytes error = V4("10.0.0.1", "10.0.0.2", IpProtocol::kIcmp, Icmp(3));
  EXPECT_FALSE(ParseIcmpError(Icmp(11) + error, false, &report));
  const Bytes tcp = V4("10.0.0.1", "10.0.0.2", IpProtocol::kTcp, {0, 1, 0, 2, 0, 0, 0, 3});
  ASSERT_TRUE(ParseIcmpError(Icmp(3, 1) + tcp, false, &report));
  EXPECT_EQ(report.tcp_sequence, 3u);
}

TEST(ParseIcmpErrorTest, WhatCannotBeMatchedIsRefused) {
  IcmpErrorReport report;
  const Bytes v4 = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(1, 2, 100));
  for (size_t n = 0; n < kIpv4HeaderBytes + 8; ++n) {
    EXPECT_FALSE(ParseIcmpError(Icmp(3, 3) + Bytes(v4.begin(), v4.begin() + n), false, &report));
  }
  EXPECT_TRUE(ParseIcmpError(Icmp(3, 3) + Bytes(v4.begin(), v4.begin() + 28), false, &report))
      << "the end may be missing";
  const Bytes later = V4("10.0.0.1", "10.0.0.2", IpProtocol::kUdp, Udp(1, 2, 100), 64);
  EXPECT_FALSE(ParseIcmpError(Icmp(3, 3) + later, false, &report));
  Bytes lying = v4;
  lying[3] = 24;  // a total length that does not hold the UDP header which follows
  EXPECT_FALSE(ParseIcmpError(Icmp(3, 3) + lying, false, &report));

  const Bytes first = {17, 0, 0, 1, 0, 0, 0, 1};
  const Bytes options = {17, 0, 1, 4, 0, 0, 0, 0};
  EXPECT_TRUE(ParseIcmpError(
      Icmp(2) + V6("fd00::1", "fd00::2", IpProtocol::kFragment, first + Udp(1, 2, 9)), true,
      &report));
  EXPECT_EQ(report.destination_port, 2);
  EXPECT_FALSE(ParseIcmpError(
      Icmp(2) + V6("fd00::1", "fd00::2", IpProtocol::kDestination, options + Udp(1, 2, 9)), true,
      &report));
}

}  // namespace
}  // namespace weft::netstack
