// SPDX-License-Identifier: Apache-2.0
//
// Datagrams of a whole stack: ports and addresses, routes, groups, long ones, those to ourselves.
#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

using testing::Test;

class StackUdpTest : public StackTest {
 protected:
  std::string WhyNot(const config::Netstack& config) {
    return std::string(TryOpen(config).message());
  }
  std::string WhyNoPort(const std::string& local) {
    const auto port = TryOpenPort(local);
    return port.ok() ? "" : std::string(port.status().message());
  }
  Bytes Udp(const char* destination, const Bytes& payload, uint16_t port = 7000) const {
    const bool v4 = Ip(destination).is_v4();
    const char* const source = v4 ? kPeer4 : kPeer6;
    const Bytes udp = UdpMessage(Ip(source), Ip(destination), 9, port, payload);
    return v4 ? Ipv4Packet({.source = source, .destination = destination}, udp)
              : Ipv6Packet({.source = source, .destination = destination}, udp);
  }
  void SendToGroup(const char* group, const Bytes& payload) {
    SendTo(MulticastMac(Ip(group)), Ip(group).is_v4() ? kTypeIpv4 : kTypeIpv6, Udp(group, payload));
  }
};

TEST_F(StackUdpTest, DatagramsOfEachSizeGoAndCome) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  for (const bool v4 : {true, false}) {
    for (const size_t bytes : {0u, 1u, 17u, 1000u, v4 ? 1472u : 1452u}) {
      const Bytes payload = Pattern(bytes, bytes);
      ASSERT_TRUE(SendFrom(*port, v4 ? "10.0.0.2:9" : "[fd00::2]:9", payload));
      const std::vector<Packet> heard = Packets(Run());
      ASSERT_EQ(heard.size(), 1u);
      EXPECT_EQ(heard[0].source, Ip(v4 ? kOurs4 : kOurs6));
      EXPECT_EQ(heard[0].source_port(), 7000);
      EXPECT_EQ(heard[0].destination_port(), 9);
      EXPECT_EQ(heard[0].ttl, 64);
      EXPECT_EQ(heard[0].udp_payload(), payload);
      SendUdp(v4, 9, 7000, payload);
      Run();
      EXPECT_EQ(Receive(*port), std::vector<Bytes>{payload});
    }
  }
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackUdpTest, TheMoreSpecialPortIsPreferred) {
  config::Netstack config = Config();
  config.add_addresses("10.0.0.11/24");
  OpenStack(config);
  auto general = OpenPort("[::]:7000");
  auto v4 = OpenPort("0.0.0.0:7000");
  auto special = OpenPort("10.0.0.11:7000");
  SendIp(Udp("10.0.0.11", {1}));
  SendIp(Udp(kOurs4, {2}));
  SendIp(Udp(kOurs6, {3}));
  Run();
  EXPECT_EQ(Receive(*special), std::vector<Bytes>{{1}});
  EXPECT_EQ(Receive(*v4), std::vector<Bytes>{{2}});
  EXPECT_EQ(Receive(*general), std::vector<Bytes>{{3}});
  EXPECT_TRUE(absl::StrContains(WhyNoPort("10.0.0.11:7000"), "in use"));
  special.reset();
  v4.reset();
  SendIp(Udp("10.0.0.11", {4}));
  Run();
  EXPECT_EQ(Receive(*general), std::vector<Bytes>{{4}});
}

TEST_F(StackUdpTest, EachAddressAnswersAsItself) {
  config::Netstack config = Config();
  config.add_addresses("10.0.0.11/24");
  config.add_addresses("172.16.0.1/16");
  OpenStack(config);
  auto first = OpenPort("[::]:7000");
  auto second = OpenPort("10.0.0.11:7001");
  ASSERT_TRUE(SendFrom(*first, "10.0.0.2:9", {1}));
  ASSERT_TRUE(SendFrom(*second, "10.0.0.2:9", {2}));
  const std::vector<Packet> heard = Packets(Run(), 17);
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[0].source, Ip(kOurs4));
  EXPECT_EQ(heard[1].source, Ip("10.0.0.11"));
  // In another network, from the address that is in it.
  ASSERT_TRUE(SendFrom(*first, "172.16.9.9:9", {3}));
  const std::vector<Frame> asked = OfType(Run(), kTypeArp);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(Slice(asked[0].payload, 14, 4), Bytes({172, 16, 0, 1}));
}

TEST_F(StackUdpTest, WrongAddressesNameTheInterfaceAndWhatItHas) {
  OpenStack();
  EXPECT_EQ(WhyNoPort("10.0.0.9:7000"),
            "10.0.0.9 is no address of sim0 (10.0.0.1/24, fd00::1/64); listen at one of these");
  const std::string kind = WhyNoPort("sim:somewhere");
  EXPECT_TRUE(absl::StrContains(kind, "10.0.0.2:8000")) << kind;
  auto port = OpenPort("10.0.0.1:7000");
  EXPECT_EQ(port->Resolve(*Address::Parse("192.168.1.1:9")).status().message(),
            "no route to 192.168.1.1 from sim0 (10.0.0.1/24, fd00::1/64); add one to "
            "netstack.routes");
  EXPECT_FALSE(port->Resolve(*Address::Parse("[fd00::2]:9")).ok()) << "the other family";
  EXPECT_FALSE(port->Resolve(*Address::Parse("10.0.0.2:0")).ok());
  EXPECT_FALSE(port->Resolve(*Address::Parse("0.0.0.0:9")).ok());
}

TEST_F(StackUdpTest, WhatDoesNotFitTheDeviceIsRefused) {
  config::Netstack config = Config();
  config.set_mtu(1501);
  EXPECT_EQ(WhyNot(config), "netstack.mtu: 1501 is more than sim0 carries; give at most 1500");
  config.set_vlan(5);
  config.set_mtu(1497);
  EXPECT_TRUE(absl::StrContains(WhyNot(config), "at most 1496"));
  config.set_mtu(1000);
  const std::string v6 = WhyNot(config);
  EXPECT_TRUE(absl::StrContains(v6, "fd00::1/64 on sim0")) << v6;
  EXPECT_TRUE(absl::StrContains(v6, "IPv6 needs 1280")) << v6;
  config = Config();
  config::Route* const route = config.add_routes();
  route->set_destination("0.0.0.0/0");
  route->set_gateway("192.168.1.1");
  const std::string gateway = WhyNot(config);
  EXPECT_TRUE(absl::StrContains(gateway, "netstack.routes[0]")) << gateway;
  EXPECT_TRUE(absl::StrContains(gateway, "192.168.1.1")) << gateway;
  config = Config();
  config.mutable_neighbors(0)->set_address("192.168.1.1");
  EXPECT_TRUE(absl::StrContains(WhyNot(config), "netstack.neighbors[0]: 192.168.1.1"));
}

TEST_F(StackUdpTest, ASmallerMtuIsKept) {
  config::Netstack config = Config();
  config.set_mtu(1280);
  config.set_datagram_bytes_max(4000);
  datagram_bytes_max_ = 4000;
  OpenStack(config);
  auto port = OpenPort("[::]:7000");
  EXPECT_TRUE(SendFrom(*port, "10.0.0.2:9", Pattern(1252)));
  EXPECT_TRUE(SendFrom(*port, "[fd00::2]:9", Pattern(1233)));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 3u);
  for (const Packet& packet : heard) EXPECT_LE(packet.whole.size(), 1280u);
}

TEST_F(StackUdpTest, LongDatagramsGoInFragments) {
  config::Netstack config = Config();
  config.set_datagram_bytes_max(65507);
  datagram_bytes_max_ = 65507;
  OpenStack(config);
  auto port = OpenPort("[::]:7000");
  for (const bool v4 : {true, false}) {
    for (const size_t bytes : {1473u, 9000u, 65507u}) {
      const Bytes payload = Pattern(bytes, v4);
      ASSERT_TRUE(SendFrom(*port, v4 ? "10.0.0.2:9" : "[fd00::2]:9", payload));
      Bytes whole(bytes + 8);
      size_t received = 0;
      for (const Packet& fragment : Packets(Run(10 * kMsNs))) {
        ASSERT_LE(fragment.offset + fragment.upper.size(), whole.size());
        std::copy(fragment.upper.begin(), fragment.upper.end(),
                  whole.begin() + static_cast<ptrdiff_t>(fragment.offset));
        received += fragment.upper.size();
      }
      EXPECT_EQ(received, whole.size());
      EXPECT_EQ(Slice(whole, 8), payload);
      EXPECT_EQ(NaiveL4Checksum(Ip(v4 ? kOurs4 : kOurs6), Ip(v4 ? kPeer4 : kPeer6), 17, whole), 0);
    }
  }
  EXPECT_EQ(stats().fragmented.value(), 6u);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackUdpTest, TooLongAndMisaddressedDatagramsAreCounted) {
  OpenStack();
  auto port = OpenPort("10.0.0.1:7000");
  EXPECT_TRUE(SendFrom(*port, "10.0.0.2:9", Pattern(1473))) << "taken, and dropped";
  EXPECT_EQ(port->stats().send_failed.value(), 1u);
  for (const Peer& peer : {Peer{}, UdpPort::PeerOf(Ip(kPeer4), 0), Peer{{0, 0, 70'000}},
                           UdpPort::PeerOf(Ip(kPeer6), 9), UdpPort::PeerOf(Ip("0.0.0.0"), 9)}) {
    Datagram burst[] = {{peer, port->pool().Allocate()}};
    EXPECT_EQ(port->Send(absl::MakeSpan(burst)), 1u);
    EXPECT_FALSE(burst[0].buffer);
  }
  Datagram nothing[] = {{UdpPort::PeerOf(Ip(kPeer4), 9), Buffer()}};
  EXPECT_EQ(port->Send(absl::MakeSpan(nothing)), 1u);
  EXPECT_EQ(port->stats().send_failed.value(), 7u);
  EXPECT_TRUE(Run().empty());
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackUdpTest, WhatTheDeviceDoesNotTakeStaysTheCallers) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  const Peer peer = UdpPort::PeerOf(Ip(kPeer4), 9);
  Datagram burst[40];
  for (uint8_t i = 0; i < 40; ++i) {
    burst[i] = {peer, port->pool().Allocate()};
    *burst[i].buffer.Append(1) = i;
  }
  device_->send_max = 3;
  ASSERT_EQ(port->Send(absl::MakeSpan(burst)), 3u);
  for (uint8_t i = 3; i < 40; ++i) {
    ASSERT_TRUE(burst[i].buffer);
    ASSERT_EQ(burst[i].buffer.size(), 1u);
    EXPECT_EQ(burst[i].buffer.data()[0], i);
  }
  device_->send_max = SIZE_MAX;
  EXPECT_EQ(port->Send(absl::MakeSpan(burst).subspan(3)), 37u);
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 40u);
  for (uint8_t i = 0; i < 40; ++i) EXPECT_EQ(heard[i].udp_payload(), Bytes{i});
  EXPECT_EQ(port->stats().sent.value(), 40u);
  EXPECT_EQ(port->stats().sent_bytes.value(), 40u);
}

TEST_F(StackUdpTest, OtherNetworksAreReachedThroughTheirGateway) {
  config::Netstack config = Config();
  for (const auto& [destination, gateway] :
       {std::pair<const char*, const char*>{"0.0.0.0/0", kPeer4}, {"::/0", kPeer6}}) {
    config::Route* const route = config.add_routes();
    route->set_destination(destination);
    route->set_gateway(gateway);
  }
  OpenStack(config);
  auto port = OpenPort("[::]:7000");
  ASSERT_TRUE(SendFrom(*port, "192.0.2.7:9", {1}));
  ASSERT_TRUE(SendFrom(*port, "[2001:db8::7]:9", {2}));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 2u);
  for (const Packet& packet : heard) EXPECT_EQ(packet.mac_to, peer_mac());
  EXPECT_EQ(heard[0].destination, Ip("192.0.2.7"));
  EXPECT_EQ(heard[1].destination, Ip("2001:db8::7"));
}

TEST_F(StackUdpTest, NoRouteIsAnEvent) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  const Peer nowhere = UdpPort::PeerOf(Ip("192.0.2.7"), 9);
  Datagram burst[] = {{nowhere, port->pool().Allocate()}};
  EXPECT_EQ(port->Send(absl::MakeSpan(burst)), 1u);
  EXPECT_FALSE(port->Arm()) << "nobody has been able to take it yet";
  const std::vector<PortEvent> events = Events(*port);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].peer, nowhere);
  EXPECT_EQ(events[0].error, ENETUNREACH);
}

TEST_F(StackUdpTest, DatagramsToOurselvesStayInside) {
  config::Netstack config = Config();
  config.set_datagram_bytes_max(20'000);
  datagram_bytes_max_ = 20'000;
  OpenStack(config);
  auto a = OpenPort("10.0.0.1:7000");
  auto b = OpenPort("[::]:7001");
  const Bytes payload = Pattern(20'000);
  ASSERT_TRUE(SendFrom(*a, "10.0.0.1:7001", payload));
  ASSERT_TRUE(SendFrom(*b, "[fd00::1]:7001", {2}));
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(Receive(*b), (std::vector<Bytes>{payload, {2}}));
  // And errors about them.
  ASSERT_TRUE(SendFrom(*a, "10.0.0.1:7002", {3}));
  EXPECT_TRUE(Run().empty());
  const std::vector<PortEvent> events = Events(*a);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].error, ECONNREFUSED);
}

TEST_F(StackUdpTest, GroupsAreJoinedReceivedAndLeft) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  for (const char* group : {"239.1.2.3", "ff05::123"}) {
    const bool v4 = Ip(group).is_v4();
    SendToGroup(group, {1});
    Run();
    EXPECT_TRUE(Receive(*port).empty());

    ASSERT_TRUE(port->JoinGroup(Ip(group)).ok());
    const std::vector<Packet> reports = Packets(Run(5 * kSNs));
    ASSERT_EQ(reports.size(), 2u) << "and once more, should it be lost";
    for (const Packet& report : reports) {
      EXPECT_EQ(report.ttl, 1);
      EXPECT_TRUE(report.router_alert);
      EXPECT_EQ(report.destination, Ip(v4 ? "224.0.0.22" : "ff02::16"));
      EXPECT_EQ(report.type(), v4 ? 0x22 : 143);
      EXPECT_EQ(report.upper[8], 4) << "change to exclude nobody";
      EXPECT_EQ(Slice(report.upper, 12), Slice({Ip(group).bytes(), 16}, v4 ? 12 : 0));
      if (!v4) {
        EXPECT_EQ(report.source, Ip("::")) << "there is no link-local one";
      }
    }
    SendToGroup(group, {2});
    Run();
    EXPECT_EQ(Receive(*port), std::vector<Bytes>{{2}});

    ASSERT_TRUE(port->LeaveGroup(Ip(group)).ok());
    EXPECT_FALSE(port->LeaveGroup(Ip(group)).ok());
    const std::vector<Packet> leaves = Packets(Run(5 * kSNs));
    ASSERT_GE(leaves.size(), 1u);
    EXPECT_EQ(leaves[0].upper[8], 3);
    SendToGroup(group, {3});
    Run();
    EXPECT_TRUE(Receive(*port).empty());
  }
  EXPECT_FALSE(port->JoinGroup(Ip("10.0.0.7")).ok());
}

TEST_F(StackUdpTest, ReportsOfGroupsComeFromTheLinkLocalAddress) {
  config::Netstack config = Config();
  config.set_link_local(true);
  OpenStack(config);
  auto port = OpenPort("[ff05::123]:7000");
  const std::vector<Packet> reports = Packets(Run());
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_TRUE(reports[0].source.is_link_local());
  SendToGroup("ff05::123", {1});
  Run();
  EXPECT_EQ(Receive(*port), std::vector<Bytes>{{1}});
  port.reset();
  EXPECT_EQ(Packets(Run()).size(), 1u) << "who closes leaves";
}

TEST_F(StackUdpTest, TheDeviceIsToldWhatToReceive) {
  config::Netstack config = Config();
  config.add_groups("239.1.2.3");
  OpenStack(config);
  EXPECT_EQ(device_->filter_addresses.size(), 2u);
  const auto has = [this](const char* group) {
    const auto& groups = device_->filter_groups;
    return std::find(groups.begin(), groups.end(), MulticastMac(Ip(group))) != groups.end();
  };
  EXPECT_TRUE(has("239.1.2.3"));
  EXPECT_TRUE(has("224.0.0.1"));
  EXPECT_TRUE(has("ff02::1"));
  EXPECT_TRUE(has("ff02::1:ff00:1"));
  auto port = OpenPort("[::]:7000");
  ASSERT_TRUE(port->JoinGroup(Ip("239.7.7.7")).ok());
  EXPECT_TRUE(has("239.7.7.7"));
}

TEST_F(StackUdpTest, QueriesAreAnswered) {
  config::Netstack config = Config();
  config.add_groups("239.1.2.3");
  OpenStack(config);
  Bytes query = {0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0};
  const uint16_t sum = NaiveChecksum(query);
  query[2] = static_cast<uint8_t>(sum >> 8);
  query[3] = static_cast<uint8_t>(sum);
  SendTo(MulticastMac(Ip("224.0.0.1")), kTypeIpv4,
         Ipv4Packet({.source = kPeer4, .destination = "224.0.0.1", .protocol = 2}, query));
  const std::vector<Packet> reports = Packets(Run(2 * kSNs), 2);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].upper[8], 2) << "is a member";
}

TEST_F(StackUdpTest, GroupsAreSentToWithoutAsking) {
  OpenStack(ConfigWithoutNeighbors());
  auto port = OpenPort("[::]:7000");
  ASSERT_TRUE(SendFrom(*port, "239.1.2.3:9", {1}));
  ASSERT_TRUE(SendFrom(*port, "[ff05::123]:9", {2}));
  ASSERT_TRUE(SendFrom(*port, "10.0.0.255:9", {3}));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard[0].mac_to, (MacAddress{1, 0, 0x5e, 1, 2, 3}));
  EXPECT_EQ(heard[0].ttl, 1);
  EXPECT_EQ(heard[1].mac_to, (MacAddress{0x33, 0x33, 0, 0, 1, 0x23}));
  EXPECT_EQ(heard[1].ttl, 1);
  EXPECT_EQ(heard[2].mac_to, kBroadcastMac);
}

TEST_F(StackUdpTest, AFreePortIsChosen) {
  config::Netstack config = Config();
  config.set_ephemeral_port_min(50'000);
  config.set_ephemeral_port_max(50'003);
  OpenStack(config);
  std::vector<std::unique_ptr<UdpPort>> ports;
  for (int i = 0; i < 4; ++i) {
    ports.push_back(OpenPort(i % 2 == 0 ? "" : "10.0.0.1:0"));
    EXPECT_GE(ports[i]->local_address().port(), 50'000);
    EXPECT_LE(ports[i]->local_address().port(), 50'003);
    for (int j = 0; j < i; ++j) {
      EXPECT_NE(ports[i]->local_address().port(), ports[j]->local_address().port());
    }
  }
  EXPECT_TRUE(absl::StrContains(WhyNoPort(""), "between 50000 and 50003"));
  ports.pop_back();
  EXPECT_EQ(WhyNoPort(""), "");
}

TEST_F(StackUdpTest, ADeadDeviceKillsItsPorts) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  device_->Break(absl::UnavailableError("unplugged"));
  EXPECT_FALSE(port->Arm()) << "it has not been told yet";
  Run();
  EXPECT_TRUE(port->Arm()) << "there is nothing to stay awake for";
  port->Disarm();
  EXPECT_EQ(port->status().message(), "unplugged");
  Datagram burst[] = {{UdpPort::PeerOf(Ip(kPeer4), 9), port->pool().Allocate()}};
  EXPECT_EQ(port->Send(absl::MakeSpan(burst)), 0u);
}

}  // namespace
}  // namespace weft::netstack
