// SPDX-License-Identifier: Apache-2.0
//
// ARP and neighbour discovery of a whole stack, as its neighbours see it.
#include <cerrno>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

constexpr MacAddress kZeroMac = {};
constexpr MacAddress kOther = {2, 0, 0, 0, 0xaa, 0xbb};
constexpr const char* kSolicitedNode = "ff02::1:ff00:1";  // of kOurs6

struct ArpSeen {
  int operation;
  MacAddress sender_mac;
  IpAddress sender;
  MacAddress target_mac;
  IpAddress target;
};

ArpSeen ReadArp(const Frame& frame) {
  const Bytes& p = frame.payload;
  ArpSeen arp;
  arp.operation = p[7];
  std::copy_n(p.begin() + 8, 6, arp.sender_mac.begin());
  arp.sender = IpAddress::V4(&p[14]);
  std::copy_n(p.begin() + 18, 6, arp.target_mac.begin());
  arp.target = IpAddress::V4(&p[24]);
  return arp;
}

class StackNeighborTest : public StackTest {
 protected:
  Bytes Ask(const char* target, const char* sender = kPeer4) const {
    return ArpMessage(1, peer_mac(), sender, kZeroMac, target);
  }
  // A solicitation or advertisement. `mac` null: without the option.
  Bytes Neighbor(bool advertisement, const char* source, const char* destination,
                 const char* target, const MacAddress* mac, uint32_t flags = 0) const {
    Bytes body = Slice({Ip(target).bytes(), 16}, 0);
    if (mac != nullptr) {
      body.push_back(advertisement ? 2 : 1);
      body.push_back(1);
      body.insert(body.end(), mac->begin(), mac->end());
    }
    const Bytes icmp =
        Icmp6Message(Ip(source), Ip(destination), advertisement ? 136 : 135, 0, flags << 24, body);
    return WithHopLimit(
        Ipv6Packet({.source = source, .destination = destination, .next_header = 58}, icmp), 255);
  }
  Bytes Solicit(const char* target, const char* source = kPeer6) const {
    const MacAddress mac = peer_mac();
    return Neighbor(false, source, kSolicitedNode, target, &mac);
  }
  void SendToGroup(const Bytes& ipv6) { SendTo(MulticastMac(Ip(kSolicitedNode)), kTypeIpv6, ipv6); }
  // The neighbour's MAC address, or its state where there is none.
  std::string Known(const char* ip) const {
    const std::string text = Described();
    const std::string key = std::string("\"address\": \"") + ip + "\"";
    const size_t at = text.find(key);
    if (at == std::string::npos) return "";
    const size_t mac = text.find("\"mac\": \"", at) + 8;
    return text.substr(mac, 17);
  }
};

constexpr uint32_t kSolicited = 0x40;
constexpr uint32_t kOverride = 0x20;

TEST_F(StackNeighborTest, AnnouncesItsAddressesWhenItIsOpened) {
  ASSERT_TRUE(TryOpen(Config()).ok());
  const std::vector<Frame> heard = Run();
  const std::vector<Frame> arps = OfType(heard, kTypeArp);
  ASSERT_EQ(arps.size(), 1u);
  EXPECT_EQ(arps[0].to, kBroadcastMac);
  const ArpSeen arp = ReadArp(arps[0]);
  EXPECT_EQ(arp.sender, Ip(kOurs4));
  EXPECT_EQ(arp.target, Ip(kOurs4));
  EXPECT_EQ(arp.sender_mac, our_mac());
  size_t advertisements = 0;
  for (const Packet& packet : Packets(heard, 58)) {
    if (packet.type() != 136) continue;
    ++advertisements;
    EXPECT_EQ(packet.ttl, 255);
    EXPECT_EQ(packet.destination, Ip("ff02::1"));
    EXPECT_EQ(packet.upper[4], kOverride) << "nobody has asked";
    EXPECT_EQ(IpAddress::V6(&packet.upper[8]), Ip(kOurs6));
  }
  EXPECT_EQ(advertisements, 1u);
}

TEST_F(StackNeighborTest, AnswersArpOnlyForItsOwnAddresses) {
  OpenStack(ConfigWithoutNeighbors());
  SendTo(kBroadcastMac, kTypeArp, Ask(kOurs4));
  const std::vector<Frame> heard = Run();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].to, peer_mac());
  const ArpSeen arp = ReadArp(heard[0]);
  EXPECT_EQ(arp.operation, 2);
  EXPECT_EQ(arp.sender, Ip(kOurs4));
  EXPECT_EQ(arp.sender_mac, our_mac());
  EXPECT_EQ(arp.target, Ip(kPeer4));
  EXPECT_EQ(arp.target_mac, peer_mac());
  EXPECT_EQ(Known(kPeer4), MacToString(peer_mac())) << "whoever asks is about to send";

  for (const char* other : {"10.0.0.3", "10.0.0.255", "255.255.255.255", "10.0.0.2"}) {
    SendTo(kBroadcastMac, kTypeArp, Ask(other));
  }
  EXPECT_TRUE(Run().empty());
}

TEST_F(StackNeighborTest, AnswersAProbeAndLearnsNothing) {
  OpenStack(ConfigWithoutNeighbors());
  SendTo(kBroadcastMac, kTypeArp, Ask(kOurs4, "0.0.0.0"));
  const std::vector<Frame> heard = Run();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(ReadArp(heard[0]).operation, 2);
  EXPECT_EQ(Known("0.0.0.0"), "");
}

TEST_F(StackNeighborTest, StrangersAndGroupsGetNoArpAnswer) {
  OpenStack(ConfigWithoutNeighbors());
  SendTo(kBroadcastMac, kTypeArp, Ask(kOurs4, "192.168.7.7"));
  SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, kBroadcastMac, kPeer4, kZeroMac, kOurs4));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().bad_source.value(), 2u);
  // What is between others is none of our business.
  SendTo(kBroadcastMac, kTypeArp, Ask("192.168.7.8", "192.168.7.7"));
  Run();
  EXPECT_EQ(stats().bad_source.value(), 2u);
  SendTo(kBroadcastMac, kTypeArp, Slice(Ask(kOurs4), 0, 27));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().malformed.value(), 1u);
}

TEST_F(StackNeighborTest, WhatNobodyAskedForPoisonsNothing) {
  OpenStack(ConfigWithoutNeighbors());
  const auto claim = [this](const MacAddress& mac) {
    SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, mac, kPeer4, kZeroMac, kPeer4));
    SendTo(kBroadcastMac, kTypeArp, ArpMessage(2, mac, kPeer4, mac, kPeer4));
    SendTo(our_mac(), kTypeArp, ArpMessage(2, mac, kPeer4, our_mac(), kOurs4));
    const Bytes advertisement =
        Neighbor(true, kPeer6, kOurs6, kPeer6, &mac, kSolicited | kOverride);
    SendIp(advertisement);
    SendTo(MulticastMac(Ip("ff02::1")), kTypeIpv6,
           Neighbor(true, kPeer6, "ff02::1", kPeer6, &mac, kOverride));
    return Run();
  };
  claim(kOther);
  EXPECT_EQ(Known(kPeer4), "");
  EXPECT_EQ(Known(kPeer6), "");
  // Known ones are asked whether it is true, at the address that is known.
  SendTo(kBroadcastMac, kTypeArp, Ask(kOurs4));
  SendToGroup(Solicit(kOurs6));
  Run();
  for (const Frame& frame : claim(kOther)) EXPECT_EQ(frame.to, peer_mac());
  EXPECT_EQ(Known(kPeer4), MacToString(peer_mac()));
  EXPECT_EQ(Known(kPeer6), MacToString(peer_mac()));
  EXPECT_GT(Neighbors("claims"), 0u);
}

TEST_F(StackNeighborTest, CountsWhoeverClaimsOurAddress) {
  OpenStack();
  SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, kOther, kOurs4, kZeroMac, kOurs4));
  SendTo(MulticastMac(Ip("ff02::1")), kTypeIpv6,
         Neighbor(true, kPeer6, "ff02::1", kOurs6, &kOther, kOverride));
  SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, our_mac(), kOurs4, kZeroMac, kOurs4));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().address_conflicts.value(), 2u) << "the last was our own, come back";
}

TEST_F(StackNeighborTest, AnswersSolicitations) {
  OpenStack(ConfigWithoutNeighbors());
  SendToGroup(Solicit(kOurs6));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  const Packet& answer = heard[0];
  EXPECT_EQ(answer.mac_to, peer_mac());
  EXPECT_EQ(answer.destination, Ip(kPeer6));
  EXPECT_EQ(answer.source, Ip(kOurs6));
  EXPECT_EQ(answer.ttl, 255);
  ASSERT_EQ(answer.upper.size(), 32u);
  EXPECT_EQ(answer.type(), 136);
  EXPECT_EQ(answer.upper[4], kSolicited | kOverride);
  EXPECT_EQ(Slice(answer.upper, 24), Join(std::vector<Bytes>{{2, 1}, MacBytes(our_mac())}));
  EXPECT_EQ(Known(kPeer6), MacToString(peer_mac()));

  SendToGroup(Solicit("fd00::3"));
  EXPECT_TRUE(Run().empty());

  // Kernels ask again from their link-local address, which we need not have ourselves.
  SendToGroup(Solicit(kOurs6, "fe80::99"));
  const std::vector<Packet> again = Packets(Run());
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].mac_to, peer_mac());
  EXPECT_EQ(again[0].destination, Ip("fe80::99"));
  EXPECT_EQ(again[0].source, Ip(kOurs6));
}

TEST_F(StackNeighborTest, DefendsItsAddressAgainstDuplicateAddressDetection) {
  OpenStack(ConfigWithoutNeighbors());
  SendToGroup(Neighbor(false, "::", kSolicitedNode, kOurs6, nullptr));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].destination, Ip("ff02::1"));
  EXPECT_EQ(heard[0].mac_to, MulticastMac(Ip("ff02::1")));
  EXPECT_EQ(heard[0].upper[4], kOverride);

  // One that says its address, or asks us alone, is no such probe (RFC 4861, 7.1.1).
  SendToGroup(Neighbor(false, "::", kSolicitedNode, kOurs6, &kOther));
  SendIp(Neighbor(false, "::", kOurs6, kOurs6, nullptr));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().malformed.value(), 2u);
}

// RFC 4861, 7.3.1: who is seen to receive what is sent is not asked whether it is there.
TEST_F(StackNeighborTest, ForwardProgressSavesTheQuestion) {
  OpenStack(ConfigWithoutNeighbors());
  auto port = OpenPort("[::]:7000");
  SendFrom(*port, "10.0.0.2:9", {1});
  ASSERT_EQ(OfType(Run(), kTypeArp).size(), 1u);
  SendTo(our_mac(), kTypeArp, ArpMessage(2, peer_mac(), kPeer4, our_mac(), kOurs4));
  for (const bool progress : {true, false}) {
    size_t asked = 0;
    for (int second = 0; second < 100; ++second) {
      SendFrom(*port, "10.0.0.2:9", {1});
      if (progress) stack_->ConfirmReachable(Ip(kPeer4));
      asked += OfType(Run(kSNs), kTypeArp).size();
    }
    EXPECT_EQ(asked > 0, !progress);
  }
}

TEST_F(StackNeighborTest, OnlyNeighboursMaySayWhoTheyAre) {
  OpenStack(ConfigWithoutNeighbors());
  SendToGroup(WithHopLimit(Solicit(kOurs6), 254));
  SendIp(WithHopLimit(Neighbor(true, kPeer6, kOurs6, kPeer6, &kOther, kSolicited), 64));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().malformed.value(), 2u);
  SendToGroup(Solicit(kOurs6, "fd99::1"));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().bad_source.value(), 1u);
  EXPECT_EQ(Known("fd99::1"), "");
}

TEST_F(StackNeighborTest, AsksBeforeItSendsAndConfirmsByUnicast) {
  OpenStack(ConfigWithoutNeighbors());
  auto port = OpenPort("[::]:7000");
  EXPECT_TRUE(SendFrom(*port, "10.0.0.2:9", {1}));
  EXPECT_TRUE(SendFrom(*port, "[fd00::2]:9", {2}));
  const std::vector<Frame> asked = Run();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].to, kBroadcastMac);
  EXPECT_EQ(ReadArp(asked[0]).target, Ip(kPeer4));
  const Packet solicitation = ReadPacket(asked[1]);
  EXPECT_EQ(solicitation.type(), 135);
  EXPECT_EQ(solicitation.destination, Ip("ff02::1:ff00:2"));
  EXPECT_EQ(solicitation.mac_to, (MacAddress{0x33, 0x33, 0xff, 0, 0, 2}));
  EXPECT_EQ(solicitation.ttl, 255);

  const MacAddress mac = peer_mac();
  SendTo(our_mac(), kTypeArp, ArpMessage(2, mac, kPeer4, our_mac(), kOurs4));
  SendIp(Neighbor(true, kPeer6, kOurs6, kPeer6, &mac, kSolicited | kOverride));
  EXPECT_EQ(Packets(Run(), 17).size(), 2u) << "what has waited";

  // After half a minute it is used again, and asked at its address; the answer may be short.
  Run(31 * kSNs);
  EXPECT_TRUE(SendFrom(*port, "[fd00::2]:9", {3}));
  const std::vector<Packet> heard = Packets(Run(5'500 * kMsNs), 58);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].mac_to, mac);
  SendIp(Neighbor(true, kPeer6, kOurs6, kPeer6, nullptr, kSolicited));
  EXPECT_TRUE(Packets(Run(10 * kSNs), 58).empty()) << "it was confirmed";
}

TEST_F(StackNeighborTest, AnAdvertisementWithoutAddressConfirmsNothingThatIsNotAsked) {
  OpenStack(ConfigWithoutNeighbors());
  auto port = OpenPort("[::]:7000");
  SendToGroup(Solicit(kOurs6));  // makes a stale entry
  Run();
  SendIp(Neighbor(true, kPeer6, kOurs6, kPeer6, nullptr, kSolicited));
  Run();
  EXPECT_TRUE(SendFrom(*port, "[fd00::2]:9", {1}));
  EXPECT_EQ(Packets(Run(6 * kSNs), 58).size(), 1u) << "it is probed nevertheless";
}

TEST_F(StackNeighborTest, SilenceIsAnEvent) {
  OpenStack(ConfigWithoutNeighbors());
  auto port = OpenPort("[::]:7000");
  EXPECT_TRUE(SendFrom(*port, "10.0.0.9:9", {1}));
  EXPECT_TRUE(SendFrom(*port, "[fd00::9]:9", {2}));
  EXPECT_TRUE(Events(*port).empty());
  const std::vector<Frame> heard = Run(10 * kSNs);
  EXPECT_EQ(OfType(heard, kTypeArp).size(), 3u);
  EXPECT_EQ(Packets(heard, 58).size(), 3u);
  const std::vector<PortEvent> events = Events(*port);
  ASSERT_EQ(events.size(), 2u);
  for (const PortEvent& event : events) {
    EXPECT_EQ(event.kind, PortEvent::Kind::kPeerUnreachable);
    EXPECT_EQ(event.error, EHOSTUNREACH);
  }
  EXPECT_EQ(port->AddressOf(events[0].peer)->ToString(), "10.0.0.9:9");
  EXPECT_EQ(port->AddressOf(events[1].peer)->ToString(), "[fd00::9]:9");
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackNeighborTest, WhatWaitsIsBounded) {
  config::Netstack config = ConfigWithoutNeighbors();
  config.mutable_neighbor_cache()->set_waiting_packets_max(5);
  OpenStack(config);
  auto port = OpenPort("[::]:7000");
  for (uint8_t i = 0; i < 12; ++i) EXPECT_TRUE(SendFrom(*port, "10.0.0.2:9", {i}));
  SendTo(our_mac(), kTypeArp, ArpMessage(2, peer_mac(), kPeer4, our_mac(), kOurs4));
  const std::vector<Packet> heard = Packets(Run(), 17);
  ASSERT_EQ(heard.size(), 5u);
  EXPECT_EQ(heard[0].udp_payload(), Bytes({7})) << "the oldest have gone";
  EXPECT_EQ(Neighbors("waiting_dropped"), 7u);
}

TEST_F(StackNeighborTest, StaticNeighboursAreNotAskedAndDoNotChange) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  SendTo(kBroadcastMac, kTypeArp, ArpMessage(2, kOther, kPeer4, our_mac(), kOurs4));
  SendIp(Neighbor(true, kPeer6, kOurs6, kPeer6, &kOther, kSolicited | kOverride));
  Run();
  EXPECT_TRUE(SendFrom(*port, "10.0.0.2:9", {1}));
  EXPECT_TRUE(SendFrom(*port, "[fd00::2]:9", {1}));
  const std::vector<Frame> heard = Run(60 * kSNs);
  ASSERT_EQ(heard.size(), 2u);
  for (const Frame& frame : heard) EXPECT_EQ(frame.to, peer_mac());
}

TEST_F(StackNeighborTest, AnnouncesAgainWhenTheLinkIsBack) {
  config::Netstack config = Config();
  config.add_groups("239.1.2.3");
  OpenStack(config);
  auto port = OpenPort("[::]:7000");
  device_->SetLink(false);
  EXPECT_TRUE(Run().empty());
  device_->SetLink(true);
  const std::vector<Frame> heard = Run(10 * kMsNs);
  EXPECT_EQ(OfType(heard, kTypeArp).size(), 1u);
  EXPECT_GE(Packets(heard, 58).size(), 2u) << "an advertisement, a report of groups";
  EXPECT_EQ(Packets(heard, 2).size(), 1u);
  const std::vector<PortEvent> events = Events(*port);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].kind, PortEvent::Kind::kLinkDown);
  EXPECT_EQ(events[1].kind, PortEvent::Kind::kLinkUp);
}

}  // namespace
}  // namespace weft::netstack
