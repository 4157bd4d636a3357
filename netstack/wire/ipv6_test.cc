// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/ipv6.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"
#include "weft/netstack/test_packets.h"

namespace weft::netstack {
namespace {

using Verdict = Ipv6Chain::Verdict;

constexpr uint8_t kHopByHop = 0;
constexpr uint8_t kRouting = 43;
constexpr uint8_t kFragment = 44;
constexpr uint8_t kDestination = 60;
const Bytes kUdp = FromHex("1f90 0035 000c 0000 77656674");

// A header of options of 8 bytes, all padding, before `next`.
Bytes Padding(uint8_t next) { return {next, 0, 1, 4, 0, 0, 0, 0}; }

struct Walked {
  Bytes packet;
  Ipv6Chain chain;
};
Walked Walk(uint8_t next_header, const Bytes& payload) {
  Walked walked{Ipv6Packet({.next_header = next_header}, payload), {}};
  Ipv6View view;
  EXPECT_TRUE(Ipv6View::Parse(walked.packet, &view));
  walked.chain = WalkIpv6(view);
  return walked;
}

TEST(Ipv6Test, GoldenHeader) {
  const Bytes golden = FromHex(
      "6ab00000 0004 3a ff fe800000000000000000000000000001 ff0200000000000000000001ff000002"
      "01020304");
  Ipv6View view;
  ASSERT_TRUE(Ipv6View::Parse(golden, &view));
  EXPECT_EQ(view.traffic_class(), 0xab);
  EXPECT_EQ(view.payload_bytes(), 4u);
  EXPECT_EQ(view.total_bytes(), 44u);
  EXPECT_EQ(view.payload(), golden.data() + 40);
  EXPECT_EQ(view.next_header(), IpProtocol::kIcmpv6);
  EXPECT_EQ(view.hop_limit(), 255);
  EXPECT_EQ(view.source().ToString(), "fe80::1");
  EXPECT_EQ(view.destination().ToString(), "ff02::1:ff00:2");
  Bytes written(kIpv6HeaderBytes, 0xee);
  Ipv6Fields{.traffic_class = 0xab,
             .payload_bytes = 4,
             .next_header = IpProtocol::kIcmpv6,
             .hop_limit = 255,
             .source = view.source(),
             .destination = view.destination()}
      .Write(written.data());
  EXPECT_EQ(written, Slice(golden, 0, 40));
}

TEST(Ipv6Test, RefusesWhatIsCutAtAnyLengthAndOtherVersions) {
  const Bytes packet = Ipv6Packet({}, kUdp);
  Ipv6View view;
  for (size_t n = 0; n < packet.size(); ++n) {
    EXPECT_FALSE(Ipv6View::Parse(Slice(packet, 0, n), &view)) << n;
  }
  for (int version = 0; version < 16; ++version) {
    Bytes other = packet;
    other[0] = static_cast<uint8_t>(version << 4);
    EXPECT_EQ(Ipv6View::Parse(other, &view), version == 6) << version;
  }
}

TEST(Ipv6Test, PaddingIsNoPartOfThePacket) {
  Bytes packet = Ipv6Packet({}, kUdp);
  packet.resize(60);
  Ipv6View view;
  ASSERT_TRUE(Ipv6View::Parse(packet, &view));
  EXPECT_EQ(WalkIpv6(view).payload_bytes, kUdp.size());
}

TEST(Ipv6Test, RefusesMappedIpv4Addresses) {
  const Bytes good = Ipv6Packet({}, kUdp);
  const Bytes mapped = FromHex("00000000000000000000ffff0a000001");
  Ipv6View view;
  for (const size_t at : {8, 24}) {
    Bytes packet = good;
    std::copy(mapped.begin(), mapped.end(), packet.begin() + static_cast<ptrdiff_t>(at));
    EXPECT_FALSE(Ipv6View::Parse(packet, &view)) << at;
  }
}

TEST(Ipv6Test, GoldenFragmentHeader) {
  const Bytes golden = FromHex("11 00 05a9 deadbeef");
  const Ipv6Fragment fragment = Ipv6Fragment::Read(golden.data());
  EXPECT_EQ(fragment.next_header, IpProtocol::kUdp);
  EXPECT_EQ(fragment.offset_bytes, 1448);
  EXPECT_TRUE(fragment.more);
  EXPECT_EQ(fragment.id, 0xdeadbeefu);
  Bytes written(kIpv6FragmentHeaderBytes, 0xee);
  fragment.Write(written.data());
  EXPECT_EQ(written, golden);
  // The two reserved bits are ignored (RFC 8200, 4.5).
  EXPECT_EQ(Ipv6Fragment::Read(FromHex("11 ff 05af 00000000").data()).offset_bytes, 1448);
}

TEST(Ipv6ChainTest, UpperLayersWithoutExtensions) {
  for (const uint8_t protocol : {6, 17, 58, 59}) {
    const Walked walked = Walk(protocol, kUdp);
    EXPECT_EQ(walked.chain.verdict, Verdict::kUpperLayer);
    EXPECT_EQ(walked.chain.protocol, static_cast<IpProtocol>(protocol));
    EXPECT_EQ(walked.chain.payload, walked.packet.data() + 40);
    EXPECT_EQ(walked.chain.payload_bytes, kUdp.size());
    EXPECT_EQ(walked.chain.next_header_offset, 6u);
  }
}

TEST(Ipv6ChainTest, SkipsOptionsAndRoutingThatIsDone) {
  const Bytes routing = FromHex("3c 02 04 00 00000000 00000000000000000000000000000000");
  const Walked walked = Walk(kHopByHop, Join({Padding(kRouting), routing, Padding(17), kUdp}));
  ASSERT_EQ(walked.chain.verdict, Verdict::kUpperLayer);
  EXPECT_EQ(walked.chain.protocol, IpProtocol::kUdp);
  EXPECT_EQ(walked.chain.payload, walked.packet.data() + 40 + 8 + 24 + 8);
  EXPECT_EQ(walked.chain.payload_bytes, kUdp.size());
  EXPECT_EQ(walked.chain.next_header_offset, 40u + 8 + 24);
  EXPECT_FALSE(walked.chain.router_alert);
}

TEST(Ipv6ChainTest, EveryChainCutAnywhereIsMalformed) {
  const Bytes routing = FromHex("3c 02 04 00 00000000 00000000000000000000000000000000");
  const Bytes whole = Join({Padding(kRouting), routing, Padding(kFragment),
                            Ipv6FragmentPayload({.id = 1, .more = true}, {})});
  for (size_t n = 0; n < whole.size(); ++n) {
    EXPECT_EQ(Walk(kHopByHop, Slice(whole, 0, n)).chain.verdict, Verdict::kMalformed) << n;
  }
  const Walked walked = Walk(kHopByHop, whole);
  EXPECT_EQ(walked.chain.verdict, Verdict::kFragment);
  EXPECT_EQ(walked.chain.payload_bytes, 0u);
}

TEST(Ipv6ChainTest, StopsAtTheFragmentHeader) {
  const Walked walked = Walk(
      kHopByHop,
      Join({Padding(kFragment),
            Ipv6FragmentPayload({.id = 9, .offset = 16, .more = true, .next_header = 6}, kUdp)}));
  ASSERT_EQ(walked.chain.verdict, Verdict::kFragment);
  EXPECT_EQ(walked.chain.payload, walked.packet.data() + 40 + 8 + 8);
  EXPECT_EQ(walked.chain.payload_bytes, kUdp.size());
  EXPECT_EQ(walked.chain.protocol, IpProtocol::kTcp);
  EXPECT_EQ(walked.chain.fragment.id, 9u);
  EXPECT_EQ(walked.chain.fragment.offset_bytes, 16);
  EXPECT_TRUE(walked.chain.fragment.more);
  EXPECT_EQ(walked.chain.next_header_offset, 40u);
}

TEST(Ipv6ChainTest, HopByHopOptionsStandInFront) {
  // RFC 8200, 4: code 1, at the field that names them.
  const Walked walked = Walk(kDestination, Join({Padding(kHopByHop), Padding(17), kUdp}));
  EXPECT_EQ(walked.chain.verdict, Verdict::kUnknownHeader);
  EXPECT_EQ(walked.chain.problem_offset, 40u);
}

TEST(Ipv6ChainTest, UnknownNextHeaders) {
  for (const uint8_t protocol : {1, 2, 4, 41, 50, 51, 135, 253, 255}) {
    EXPECT_EQ(Walk(protocol, kUdp).chain.verdict, Verdict::kUnknownHeader) << int{protocol};
    EXPECT_EQ(Walk(protocol, kUdp).chain.problem_offset, 6u);
    const Walked walked = Walk(kDestination, Join({Padding(protocol), kUdp}));
    EXPECT_EQ(walked.chain.verdict, Verdict::kUnknownHeader);
    EXPECT_EQ(walked.chain.problem_offset, 40u);
  }
}

TEST(Ipv6ChainTest, RoutingWithSegmentsLeft) {
  // RFC 8200, 4.4: code 0, at the routing type.
  const Walked walked =
      Walk(kDestination, Join({Padding(kRouting), FromHex("11 00 00 01 00000000"), kUdp}));
  EXPECT_EQ(walked.chain.verdict, Verdict::kBadHeader);
  EXPECT_EQ(walked.chain.problem_offset, 40u + 8 + 2);
}

TEST(Ipv6ChainTest, UnknownOptionsAreTreatedAsTheirFirstBitsSay) {
  // RFC 8200, 4.2.
  const struct {
    const char* option;
    Verdict verdict;
    bool even_to_group;
  } kCases[] = {{"1e", Verdict::kUpperLayer, false},
                {"5e", Verdict::kDropSilently, false},
                {"9e", Verdict::kUnknownOption, true},
                {"de", Verdict::kUnknownOption, false},
                {"c2", Verdict::kUnknownOption, false}};  // a jumbo payload (RFC 2675)
  for (const uint8_t header : {kHopByHop, kDestination}) {
    for (const auto& c : kCases) {
      const Bytes options = FromHex(std::string("11 00 00 00") + c.option + "02 0000");
      const Walked walked = Walk(header, Join({options, kUdp}));
      EXPECT_EQ(walked.chain.verdict, c.verdict) << c.option;
      if (c.verdict != Verdict::kUnknownOption) continue;
      EXPECT_EQ(walked.chain.problem_offset, 44u) << c.option;
      EXPECT_EQ(walked.chain.problem_even_to_group, c.even_to_group) << c.option;
    }
  }
}

TEST(Ipv6ChainTest, RouterAlertCountsAmongHopByHopOptionsOnly) {
  const Bytes alert = FromHex("11 00 0502 0000 0100");
  EXPECT_TRUE(Walk(kHopByHop, Join({alert, kUdp})).chain.router_alert);
  const Walked walked = Walk(kDestination, Join({alert, kUdp}));
  EXPECT_EQ(walked.chain.verdict, Verdict::kUpperLayer);
  EXPECT_FALSE(walked.chain.router_alert);
}

TEST(Ipv6ChainTest, OptionsThatLieAboutTheirLength) {
  // The last option may end with the header, not behind it.
  for (const char* options : {"11 00 0105 00000000", "11 00 010000000001", "11 00 1eff 00000000",
                              "11 00 000000000000", "11 00 0000000000 1e"}) {
    const Bytes bytes = FromHex(options);
    ASSERT_EQ(bytes.size(), 8u) << options;
    const bool good = std::string(options) == "11 00 000000000000";
    EXPECT_EQ(Walk(kDestination, Join({bytes, kUdp})).chain.verdict,
              good ? Verdict::kUpperLayer : Verdict::kMalformed)
        << options;
  }
}

TEST(Ipv6ChainTest, AtMostEightHeaders) {
  for (int headers = 1; headers <= 12; ++headers) {
    Bytes payload;
    for (int i = 1; i < headers; ++i) payload = Join({payload, Padding(kDestination)});
    payload = Join({payload, Padding(17), kUdp});
    EXPECT_EQ(Walk(kDestination, payload).chain.verdict,
              headers <= kIpv6ExtensionHeadersMax ? Verdict::kUpperLayer : Verdict::kMalformed)
        << headers;
  }
}

TEST(Ipv6ChainTest, AtMost32OptionsInAHeader) {
  for (const size_t options : {1u, 31u, 32u, 33u, 100u}) {
    Bytes header = {17, 0};
    for (size_t i = 0; i < options; ++i) header = Join({header, {0x1e, 0}});
    while (header.size() % 8 != 0) header.push_back(0);
    header[1] = static_cast<uint8_t>(header.size() / 8 - 1);
    EXPECT_EQ(Walk(kDestination, Join({header, kUdp})).chain.verdict,
              options <= 32 ? Verdict::kUpperLayer : Verdict::kMalformed)
        << options;
  }
}

}  // namespace
}  // namespace weft::netstack
