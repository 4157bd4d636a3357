// SPDX-License-Identifier: Apache-2.0
//
// What a whole stack makes of Ethernet frames and IP packets: what it takes, what it drops, and
// under which counter.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

class StackIpTest : public StackTest {
 protected:
  // What a port at 7000 gets of an IP packet.
  std::vector<Bytes> Taken() {
    Run();
    return Receive(*port_);
  }
  void Open(const config::Netstack& config) {
    port_.reset();
    OpenStack(config);
    port_ = OpenPort("[::]:7000");
  }
  void Open() { Open(Config()); }
  Bytes Udp4(const char* source, const char* destination, const Bytes& payload = {1}) const {
    return Ipv4Packet({.source = source, .destination = destination},
                      UdpMessage(Ip(source), Ip(destination), 9, 7000, payload));
  }
  Bytes Udp6(const char* source, const char* destination, const Bytes& payload = {1}) const {
    return Ipv6Packet({.source = source, .destination = destination},
                      UdpMessage(Ip(source), Ip(destination), 9, 7000, payload));
  }
  // The UDP message behind extension headers, of which the first is `first`.
  Bytes Extended(uint8_t first, const Bytes& headers) const {
    Bytes payload = headers;
    const Bytes udp = UdpMessage(Ip(kPeer6), Ip(kOurs6), 9, 7000, {1});
    payload.insert(payload.end(), udp.begin(), udp.end());
    return Ipv6Packet({.source = kPeer6, .destination = kOurs6, .next_header = first}, payload);
  }

  std::unique_ptr<UdpPort> port_;
};

TEST_F(StackIpTest, PaddingOfShortFramesIsNoPartOfThem) {
  Open();
  Bytes frame = FrameOf(our_mac(), kTypeIpv4, UdpPacket(true, 9, 7000, {1, 2, 3}));
  frame.resize(60, 0xee);
  SendFrame(frame);
  frame = FrameOf(our_mac(), kTypeIpv6, UdpPacket(false, 9, 7000, {4}));
  frame.resize(100, 0xee);
  SendFrame(frame);
  // UDP may be shorter than its packet, too.
  Bytes udp = UdpMessage(Ip(kPeer4), Ip(kOurs4), 9, 7000, {5});
  udp.resize(20, 0xee);
  SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4}, udp));
  EXPECT_EQ(Taken(), (std::vector<Bytes>{{1, 2, 3}, {4}, {5}}));
}

TEST_F(StackIpTest, BadChecksumsAreCountedAndDropped) {
  Open();
  for (const bool v4 : {true, false}) {
    Bytes packet = UdpPacket(v4, 9, 7000, {1, 2, 3, 4});
    packet.back() ^= 1;
    SendIp(packet);
  }
  Bytes packet = UdpPacket(true, 9, 7000, {1});
  packet[8] ^= 1;  // TTL
  SendIp(packet);
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().bad_checksum.value(), 3u);
}

TEST_F(StackIpTest, OnlyIpv4MayGoWithoutUdpChecksum) {
  Open();
  for (const bool v4 : {true, false}) {
    Bytes packet = UdpPacket(v4, 9, 7000, {v4});
    const size_t checksum = (v4 ? 20 : 40) + 6;
    packet[checksum] = packet[checksum + 1] = 0;
    SendIp(packet);
  }
  EXPECT_EQ(Taken(), (std::vector<Bytes>{{1}}));
  EXPECT_EQ(stats().bad_checksum.value(), 1u);
}

TEST_F(StackIpTest, UdpChecksumsCanBeTurnedOff) {
  config::Netstack config = Config();
  config.set_udp_checksum(false);
  Open(config);
  EXPECT_TRUE(SendFrom(*port_, "10.0.0.2:9", {1}));
  EXPECT_TRUE(SendFrom(*port_, "[fd00::2]:9", {1}));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(Slice(heard[0].upper, 6, 2), Bytes({0, 0}));
  EXPECT_NE(Slice(heard[1].upper, 6, 2), Bytes({0, 0})) << "IPv6 must have one";
}

TEST_F(StackIpTest, HeadersThatLieAreMalformed) {
  Open();
  const Bytes v4 = UdpPacket(true, 9, 7000, {1});
  const Bytes v6 = UdpPacket(false, 9, 7000, {1});
  const auto changed = [](Bytes packet, size_t at, uint8_t value) {
    packet[at] = value;
    return packet;
  };
  size_t expected = 0;
  for (const Bytes& packet :
       {Slice(v4, 0, 19), changed(v4, 0, 0x44), changed(v4, 0, 0x4f), changed(v4, 2, 0xff),
        changed(v4, 3, 19), changed(v4, 0, 0x55), Slice(v4, 0, 28)}) {
    Send(kTypeIpv4, packet);
    ++expected;
  }
  for (const Bytes& packet : {Slice(v6, 0, 39), changed(v6, 0, 0x40), changed(v6, 4, 0xff)}) {
    Send(kTypeIpv6, packet);
    ++expected;
  }
  Bytes udp = UdpMessage(Ip(kPeer4), Ip(kOurs4), 9, 7000, {1});
  udp[5] = 100;  // longer than its packet
  SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4}, udp));
  SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4}, Slice(udp, 0, 7)));
  expected += 2;
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().malformed.value(), expected);
}

TEST_F(StackIpTest, MartianSourcesAreDropped) {
  Open();
  for (const char* source : {"224.0.0.5", "127.0.0.1", "255.255.255.255", "10.0.0.255", "240.0.0.1",
                             kOurs4, "0.0.0.0"}) {
    SendIp(Udp4(source, kOurs4));
  }
  for (const char* source : {"ff02::5", "::1", kOurs6, "::"}) SendIp(Udp6(source, kOurs6));
  // A mapped address, of IPv4's in IPv6's clothes.
  Bytes mapped = Udp6(kPeer6, kOurs6);
  const IpAddress victim = Ip("10.0.0.9");
  std::copy_n(victim.bytes(), 16, mapped.begin() + 8);
  SendIp(mapped);
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().bad_source.value(), 11u);
  EXPECT_EQ(stats().malformed.value(), 1u);
  EXPECT_EQ(stats().errors_sent.value(), 0u);
}

TEST_F(StackIpTest, NobodyCanBeAnsweredAtPort0) {
  Open();
  SendUdp(true, 0, 7000, {1});
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().bad_source.value(), 1u);
}

TEST_F(StackIpTest, AFrameToEverybodyWithAPacketToOneIsDropped) {
  Open();
  SendTo(kBroadcastMac, kTypeIpv4, Udp4(kPeer4, kOurs4));
  SendTo(MulticastMac(Ip("ff02::1")), kTypeIpv6, Udp6(kPeer6, kOurs6));
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().bad_source.value(), 2u);
}

TEST_F(StackIpTest, WhatIsNotForUsIsDropped) {
  Open();
  SendIp(Udp4(kPeer4, "10.0.0.3"));
  SendIp(Udp6(kPeer6, "fd00::3"));
  SendIp(Udp4(kPeer4, "239.9.9.9"));
  Send(0x88cc, Pattern(50));  // LLDP
  SendFrame(FrameOf({0x01, 0, 0x5e, 9, 9, 9}, kTypeIpv4, Udp4(kPeer4, "239.9.9.9")));
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().not_for_us.value(), 5u);
}

TEST_F(StackIpTest, BroadcastsArriveAtPortsOfAnyAddress) {
  Open();
  auto special = OpenPort("10.0.0.1:7001");
  SendTo(kBroadcastMac, kTypeIpv4, Udp4(kPeer4, "10.0.0.255", {1}));
  SendTo(kBroadcastMac, kTypeIpv4, Udp4(kPeer4, "255.255.255.255", {2}));
  EXPECT_EQ(Taken(), (std::vector<Bytes>{{1}, {2}}));
}

TEST_F(StackIpTest, OptionsOfIpv4AreSkipped) {
  Open();
  const Bytes udp = UdpMessage(Ip(kPeer4), Ip(kOurs4), 9, 7000, {1});
  SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4, .options = {1, 1, 1, 0}}, udp));
  SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4, .options = Bytes(40, 1)}, udp));
  EXPECT_EQ(Taken().size(), 2u);
}

TEST_F(StackIpTest, ExtensionHeadersAreSkippedOrToldOf) {
  Open();
  const Bytes padding = {1, 4, 0, 0, 0, 0};  // PadN
  const auto header = [](uint8_t next, const Bytes& options) {
    Bytes bytes = {next, 0};
    bytes.insert(bytes.end(), options.begin(), options.end());
    return bytes;
  };
  SendIp(Extended(0, header(17, padding)));
  SendIp(Extended(60, header(17, padding)));
  SendIp(Extended(43, header(17, {0, 0, 0, 0, 0, 0})));  // routing that is done
  SendIp(Extended(0, Join(std::vector<Bytes>{header(60, padding), header(17, padding)})));
  EXPECT_EQ(Taken().size(), 4u);

  struct Case {
    uint8_t first;
    Bytes header;
    int code;         // of the parameter problem; -1: none
    uint8_t pointer;  // into the packet
  };
  const Case cases[] = {
      {60, header(17, {0x9e, 4, 0, 0, 0, 0}), 2, 42},  // an option that asks for it
      {60, header(17, {0x5e, 4, 0, 0, 0, 0}), -1, 0},  // one that does not
      {43, header(17, {0, 1, 0, 0, 0, 0}), 0, 42},     // routing with segments left
      {253, header(17, padding), 1, 6},                // a header that nobody knows
  };
  for (const Case& c : cases) {
    SendIp(Extended(c.first, c.header));
    const std::vector<Packet> heard = Packets(Run());
    ASSERT_EQ(heard.size(), c.code < 0 ? 0u : 1u) << int{c.first};
    if (c.code < 0) continue;
    EXPECT_EQ(heard[0].type(), 4);
    EXPECT_EQ(heard[0].code(), c.code);
    EXPECT_EQ(heard[0].upper[7], c.pointer);
  }
  EXPECT_TRUE(Taken().empty());
}

TEST_F(StackIpTest, AnUnknownOptionToAGroupIsToldOfWhereItAsksForThat) {
  Open();
  for (const uint8_t option : {0x9e, 0xde}) {
    const Bytes packet =
        Ipv6Packet({.source = kPeer6, .destination = "ff02::1", .next_header = 60},
                   Join(std::vector<Bytes>{{17, 0, option, 4, 0, 0, 0, 0},
                                           UdpMessage(Ip(kPeer6), Ip("ff02::1"), 9, 7000, {1})}));
    SendTo(MulticastMac(Ip("ff02::1")), kTypeIpv6, packet);
    EXPECT_EQ(Packets(Run()).size(), option == 0x9e ? 1u : 0u);
  }
}

TEST_F(StackIpTest, FragmentsArePutTogetherInAnyOrder) {
  Open();
  for (const bool v4 : {true, false}) {
    const Bytes payload = Pattern(3000, v4);
    const Bytes whole = Slice(UdpPacket(v4, 9, 7000, payload), v4 ? 20 : 40);
    for (const size_t at : {2000, 0, 1000}) {
      const Bytes part = Slice(whole, at, at < 2000 ? 1000 : SIZE_MAX);
      const bool more = at < 2000;
      SendIp(
          v4 ? Ipv4Packet(
                   {.source = kPeer4, .destination = kOurs4, .id = 5, .offset = at, .more = more},
                   part)
             : Ipv6Packet({.source = kPeer6, .destination = kOurs6, .next_header = 44},
                          Ipv6FragmentPayload({.id = 5, .offset = at, .more = more}, part)));
    }
    EXPECT_EQ(Taken(), std::vector<Bytes>{payload});
  }
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackIpTest, OnlyFramesOfItsVlanAreItsOwn) {
  config::Netstack config = Config();
  config.set_vlan(7);
  Open(config);
  const Bytes packet = UdpPacket(true, 9, 7000, {1});
  SendTo(our_mac(), kTypeIpv4, packet, 7);
  EXPECT_EQ(Taken().size(), 1u);
  SendTo(our_mac(), kTypeIpv4, packet, 8);
  SendTo(our_mac(), kTypeIpv4, packet);
  // Two tags.
  Bytes twice = {0, 7, 8, 0};
  twice.insert(twice.end(), packet.begin(), packet.end());
  SendTo(our_mac(), 0x8100, twice, 7);
  // A tag that is cut short.
  SendTo(our_mac(), 0x8100, {0});
  EXPECT_TRUE(Taken().empty());
  EXPECT_EQ(stats().not_for_us.value(), 3u);
  EXPECT_EQ(stats().malformed.value(), 1u);

  EXPECT_TRUE(SendFrom(*port_, "10.0.0.2:9", Pattern(1468)));
  EXPECT_TRUE(SendFrom(*port_, "10.0.0.200:9", {1}));
  const std::vector<Frame> heard = Run();
  ASSERT_GE(heard.size(), 2u);
  for (const Frame& frame : heard) EXPECT_EQ(frame.vlan, 7);
  EXPECT_EQ(Packets(heard, 17).at(0).whole.size(), 1496u) << "the tag takes room";
}

TEST_F(StackIpTest, APriorityTagIsNoVlan) {
  Open();
  const Bytes packet = UdpPacket(true, 9, 7000, {1});
  Bytes payload = {0xe0, 0, 8, 0};
  payload.insert(payload.end(), packet.begin(), packet.end());
  SendTo(our_mac(), 0x8100, payload);
  EXPECT_EQ(Taken().size(), 1u);
}

TEST_F(StackIpTest, FramesForOthersAreDropped) {
  Open();
  SendTo({2, 0, 0, 0, 0, 9}, kTypeIpv4, UdpPacket(true, 9, 7000, {1}));
  SendFrame(FrameOf(our_mac(), kTypeIpv4, {}));
  EXPECT_TRUE(Taken().empty());
}

}  // namespace
}  // namespace weft::netstack
