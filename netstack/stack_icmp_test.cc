// SPDX-License-Identifier: Apache-2.0
//
// ICMP and ICMPv6 of a whole stack: echo, the errors it sends, and those it believes.
#include <cerrno>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

// Of both families; what differs is here.
class StackIcmpTest : public StackTest, public testing::WithParamInterface<bool> {
 protected:
  bool v4() const { return GetParam(); }
  const char* ours() const { return v4() ? kOurs4 : kOurs6; }
  const char* peer() const { return v4() ? kPeer4 : kPeer6; }
  std::string PeerAt(int port) const {
    return v4() ? std::string(kPeer4) + ":" + std::to_string(port)
                : "[" + std::string(kPeer6) + "]:" + std::to_string(port);
  }
  int icmp() const { return v4() ? 1 : 58; }
  uint8_t echo() const { return v4() ? 8 : 128; }
  uint8_t echo_reply() const { return v4() ? 0 : 129; }

  Bytes Ip_(const char* source, const char* destination, uint8_t protocol, const Bytes& payload) {
    return v4()
               ? Ipv4Packet({.source = source, .destination = destination, .protocol = protocol},
                            payload)
               : Ipv6Packet({.source = source, .destination = destination, .next_header = protocol},
                            payload);
  }
  Bytes Icmp(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body,
             const char* destination = nullptr) {
    const char* const to = destination == nullptr ? ours() : destination;
    const Bytes message = v4() ? Icmp4Message(type, code, rest, body)
                               : Icmp6Message(Ip(peer()), Ip(to), type, code, rest, body);
    return Ip_(peer(), to, static_cast<uint8_t>(icmp()), message);
  }
  // Sends an ICMP message in fragments with `piece` bytes of payload each.
  void SendInFragments(const Bytes& packet, size_t piece) {
    const size_t header = v4() ? 20 : 40;
    const Bytes payload = Slice(packet, header);
    for (size_t at = 0; at < payload.size(); at += piece) {
      const bool more = at + piece < payload.size();
      const Bytes part = Slice(payload, at, piece);
      SendIp(
          v4() ? Ipv4Packet({.source = peer(),
                             .destination = ours(),
                             .id = 77,
                             .offset = at,
                             .more = more,
                             .protocol = 1},
                            part)
               : Ipv6Packet({.source = peer(), .destination = ours(), .next_header = 44},
                            Ipv6FragmentPayload(
                                {.id = 77, .offset = at, .more = more, .next_header = 58}, part)));
    }
  }
  Bytes Unreachable(const Bytes& about) {
    return v4() ? Icmp(3, 3, 0, about) : Icmp(1, 4, 0, about);
  }
  Bytes TooBig(uint32_t mtu, const Bytes& about) {
    return v4() ? Icmp(3, 4, mtu, about) : Icmp(2, 0, mtu, about);
  }
};

INSTANTIATE_TEST_SUITE_P(Families, StackIcmpTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "ipv4" : "ipv6"; });

TEST_P(StackIcmpTest, AnswersEchoOfEachSize) {
  OpenStack();
  for (const size_t bytes : {0, 1, 56, 1000, 1452}) {
    const Bytes body = Pattern(bytes, bytes);
    SendIp(Icmp(echo(), 0, 0x12340007, body));
    const std::vector<Packet> heard = Packets(Run());
    ASSERT_EQ(heard.size(), 1u) << bytes;
    EXPECT_EQ(heard[0].mac_to, peer_mac());
    EXPECT_EQ(heard[0].source, Ip(ours()));
    EXPECT_EQ(heard[0].destination, Ip(peer()));
    EXPECT_EQ(heard[0].ttl, 64);
    EXPECT_FALSE(heard[0].dont_fragment) << "the way back may be narrower";
    EXPECT_EQ(heard[0].type(), echo_reply());
    EXPECT_EQ(Slice(heard[0].upper, 4, 4), Bytes({0x12, 0x34, 0, 7}));
    EXPECT_EQ(Slice(heard[0].upper, 8), body);
  }
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackIcmpTest, AnswersEchoThatNeedsFragmentsInFragments) {
  OpenStack();
  const Bytes body = Pattern(20'000);
  SendInFragments(Icmp(echo(), 0, 1, body), 1400);
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 14u);
  Bytes whole(8 + body.size());
  for (const Packet& fragment : heard) {
    ASSERT_LE(fragment.offset + fragment.upper.size(), whole.size());
    EXPECT_LE(fragment.whole.size(), 1500u);
    EXPECT_FALSE(fragment.dont_fragment);
    std::copy(fragment.upper.begin(), fragment.upper.end(),
              whole.begin() + static_cast<ptrdiff_t>(fragment.offset));
  }
  EXPECT_EQ(whole[0], echo_reply());
  EXPECT_EQ(Slice(whole, 8), body);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackIcmpTest, EchoHasALimitAndCanBeTurnedOff) {
  config::Netstack config = Config();
  config.mutable_icmp()->set_echo_replies_per_s(200);
  OpenStack(config);
  size_t answers = 0;
  for (int i = 0; i < 500; ++i) {
    SendIp(Icmp(echo(), 0, 1, {}));
    if (i % 100 == 99) answers += Packets(Run(0), icmp()).size();
  }
  answers += Packets(Run(), icmp()).size();
  EXPECT_EQ(answers, 100u) << "the burst";
  EXPECT_EQ(stats().echo_requests.value(), 500u);
  Run(1 * kSNs);
  SendIp(Icmp(echo(), 0, 1, {}));
  EXPECT_EQ(Packets(Run()).size(), 1u) << "later there are more";

  config.mutable_icmp()->set_echo_reply(false);
  OpenStack(config);
  SendIp(Icmp(echo(), 0, 1, {}));
  EXPECT_TRUE(Run().empty());
}

TEST_P(StackIcmpTest, EchoToEverybodyIsNotAnswered) {
  OpenStack();
  const char* const group = v4() ? "224.0.0.1" : "ff02::1";
  SendTo(MulticastMac(Ip(group)), v4() ? kTypeIpv4 : kTypeIpv6, Icmp(echo(), 0, 1, {}, group));
  if (v4()) {
    for (const char* all : {"10.0.0.255", "255.255.255.255"}) {
      SendTo(kBroadcastMac, kTypeIpv4, Icmp(echo(), 0, 1, {}, all));
    }
  }
  EXPECT_TRUE(Run().empty());
}

TEST_P(StackIcmpTest, ClosedPortsAreUnreachable) {
  OpenStack();
  const Bytes packet = UdpPacket(v4(), 1234, 4321, Pattern(600));
  SendIp(packet);
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].protocol, icmp());
  EXPECT_EQ(heard[0].destination, Ip(peer()));
  EXPECT_EQ(heard[0].type(), v4() ? 3 : 1);
  EXPECT_EQ(heard[0].code(), v4() ? 3 : 4);
  EXPECT_EQ(Slice(heard[0].upper, 4, 4), Bytes({0, 0, 0, 0}));
  const Bytes quoted = Slice(heard[0].upper, 8);
  EXPECT_EQ(quoted, Slice(packet, 0, quoted.size()));
  EXPECT_EQ(heard[0].whole.size(), v4() ? 576u : 40 + 8 + packet.size());
  EXPECT_EQ(stats().no_port.value(), 1u);
  EXPECT_EQ(stats().errors_sent.value(), 1u);
}

TEST_P(StackIcmpTest, NoErrorAboutGroupsBroadcastsErrorsAndLaterFragments) {
  OpenStack();
  const uint16_t type = v4() ? kTypeIpv4 : kTypeIpv6;
  const char* const group = v4() ? "224.0.0.1" : "ff02::1";
  const auto udp_to = [this](const char* to) {
    return Ip_(peer(), to, 17, UdpMessage(Ip(peer()), Ip(to), 1, 4321, {1}));
  };
  SendTo(MulticastMac(Ip(group)), type, udp_to(group));
  if (v4()) {
    SendTo(kBroadcastMac, type, udp_to("10.0.0.255"));
    SendTo(kBroadcastMac, type, udp_to("255.255.255.255"));
    // A protocol that nobody speaks, in an error's clothes, and from nobody.
    SendIp(Ip_("0.0.0.0", ours(), 200, Pattern(8)));
  }
  SendTo(kBroadcastMac, type, udp_to(ours()));
  SendIp(Unreachable(udp_to(ours())));
  EXPECT_TRUE(Packets(Run()).empty());
  EXPECT_EQ(stats().errors_sent.value(), 0u);
}

TEST_P(StackIcmpTest, UnknownProtocolsAreToldOf) {
  OpenStack();
  const Bytes packet = Ip_(peer(), ours(), v4() ? 132 : 6, Pattern(40));
  SendIp(packet);
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].type(), v4() ? 3 : 4);
  EXPECT_EQ(heard[0].code(), v4() ? 2 : 1);
  if (!v4()) {
    EXPECT_EQ(heard[0].upper[7], 6) << "where the next header stands";
  }
  EXPECT_EQ(Slice(heard[0].upper, 8), packet);
}

TEST_P(StackIcmpTest, IncompletePacketsAreToldOfIfTheirStartIsHere) {
  OpenStack();
  const Bytes whole = UdpPacket(v4(), 1234, 4321, Pattern(2000));
  const auto first = [&](uint16_t id, size_t at) {
    const Bytes part = Slice(whole, (v4() ? 20 : 40) + at, 800);
    SendIp(
        v4() ? Ipv4Packet(
                   {.source = peer(), .destination = ours(), .id = id, .offset = at, .more = true},
                   part)
             : Ipv6Packet({.source = peer(), .destination = ours(), .next_header = 44},
                          Ipv6FragmentPayload({.id = id, .offset = at, .more = true}, part)));
  };
  first(1, 0);
  first(2, 800);
  EXPECT_TRUE(Run(29 * kSNs).empty());
  const std::vector<Packet> heard = Packets(Run(3 * kSNs));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].type(), v4() ? 11 : 3);
  EXPECT_EQ(heard[0].code(), 1);
}

TEST_P(StackIcmpTest, ErrorsHaveALimit) {
  config::Netstack config = Config();
  config.mutable_icmp()->set_errors_per_s(10);
  config.mutable_icmp()->set_errors_burst(5);
  OpenStack(config);
  for (int i = 0; i < 50; ++i) SendUdp(v4(), 1234, 4321, {1});
  EXPECT_EQ(Packets(Run()).size(), 5u);
  EXPECT_EQ(stats().errors_limited.value(), 45u);
  EXPECT_EQ(stats().no_port.value(), 50u);
  Run(300 * kMsNs);
  for (int i = 0; i < 50; ++i) SendUdp(v4(), 1234, 4321, {1});
  EXPECT_EQ(Packets(Run()).size(), 3u);
}

TEST_P(StackIcmpTest, ErrorsAboutWhatWasSentBecomeEvents) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  ASSERT_TRUE(SendFrom(*port, PeerAt(9), Pattern(10)));
  const std::vector<Packet> sent = Packets(Run());
  ASSERT_EQ(sent.size(), 1u);
  SendIp(Unreachable(sent[0].whole));
  Run();
  std::vector<PortEvent> events = Events(*port);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, PortEvent::Kind::kPeerUnreachable);
  EXPECT_EQ(events[0].error, ECONNREFUSED);
  EXPECT_EQ(events[0].peer, *port->Resolve(*Address::Parse(PeerAt(9))));

  // Others say other things.
  SendIp(v4() ? Icmp(3, 1, 0, sent[0].whole) : Icmp(1, 3, 0, sent[0].whole));
  Run();
  events = Events(*port);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].error, EHOSTUNREACH);
  SendIp(v4() ? Icmp(3, 13, 0, sent[0].whole) : Icmp(1, 1, 0, sent[0].whole));
  Run();
  events = Events(*port);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].error, EACCES);
  EXPECT_EQ(stats().errors_received.value(), 3u);
  EXPECT_EQ(stats().errors_ignored.value(), 0u);
}

TEST_P(StackIcmpTest, ErrorsAboutNothingOfOursAreIgnored) {
  OpenStack();
  auto port = OpenPort(v4() ? "10.0.0.1:7000" : "[fd00::1]:7000");
  ASSERT_TRUE(SendFrom(*port, PeerAt(9), Pattern(10)));
  Run();
  const auto about = [this](const char* from, const char* to, uint16_t source_port) {
    return Ip_(from, to, 17, UdpMessage(Ip(from), Ip(to), source_port, 9, Pattern(10)));
  };
  const char* const stranger = v4() ? "10.0.0.77" : "fd00::77";
  SendIp(Unreachable(about(ours(), peer(), 7001)));    // a port that is closed
  SendIp(Unreachable(about(ours(), stranger, 7000)));  // nothing was sent there
  SendIp(Unreachable(about(stranger, peer(), 7000)));  // from an address that is not ours
  SendIp(Unreachable(Slice(about(ours(), peer(), 7000), 0, v4() ? 24 : 44)));  // cut short
  SendIp(TooBig(1300, about(ours(), stranger, 7000)));
  Bytes broken = Unreachable(about(ours(), peer(), 7000));
  broken.back() ^= 1;
  SendIp(broken);
  Run();
  EXPECT_TRUE(Events(*port).empty());
  EXPECT_EQ(stats().errors_ignored.value(), 5u);
  EXPECT_EQ(stats().bad_checksum.value(), 1u);
}

TEST_P(StackIcmpTest, TooBigMakesFollowingDatagramsSmaller) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  const Bytes payload = Pattern(1400);
  ASSERT_TRUE(SendFrom(*port, PeerAt(9), payload));
  std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].dont_fragment, v4());
  SendIp(TooBig(1300, heard[0].whole));
  Run();
  EXPECT_TRUE(Events(*port).empty()) << "it is mended";

  ASSERT_TRUE(SendFrom(*port, PeerAt(9), payload));
  heard = Packets(Run());
  ASSERT_EQ(heard.size(), 2u);
  Bytes whole(1408);
  for (const Packet& fragment : heard) {
    EXPECT_LE(fragment.whole.size(), 1300u);
    std::copy(fragment.upper.begin(), fragment.upper.end(),
              whole.begin() + static_cast<ptrdiff_t>(fragment.offset));
  }
  EXPECT_EQ(heard[0].id, heard[1].id);
  EXPECT_EQ(Slice(whole, 8), payload);
  EXPECT_EQ(NaiveL4Checksum(Ip(ours()), Ip(peer()), 17, whole), 0);
  EXPECT_EQ(stats().fragmented.value(), 1u);

  // After ten minutes the path may have changed.
  Run(601 * kSNs);
  ASSERT_TRUE(SendFrom(*port, PeerAt(9), payload));
  EXPECT_EQ(Packets(Run()).size(), 1u);
}

TEST_P(StackIcmpTest, NobodyMakesUsSendCrumbs) {
  OpenStack();
  auto port = OpenPort("[::]:7000");
  ASSERT_TRUE(SendFrom(*port, PeerAt(9), Pattern(1400)));
  const Packet sent = Packets(Run()).at(0);
  SendIp(TooBig(68, sent.whole));
  Run();
  ASSERT_TRUE(SendFrom(*port, PeerAt(9), Pattern(1400)));
  // IPv4 down to 552 bytes and no less; IPv6 needs no less than 1280, and hears no such thing.
  EXPECT_EQ(Packets(Run()).size(), v4() ? 3u : 1u);
}

TEST_F(StackTest, AnOldRouterThatSaysNoMtuLowersThePathByAStep) {
  OpenStack();
  auto port = OpenPort("10.0.0.1:7000");
  ASSERT_TRUE(SendFrom(*port, "10.0.0.2:9", Pattern(1472)));
  const Packet sent = Packets(Run()).at(0);
  SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4, .protocol = 1},
                    Icmp4Message(3, 4, 0, Slice(sent.whole, 0, 500))));
  Run();
  ASSERT_TRUE(SendFrom(*port, "10.0.0.2:9", Pattern(1472)));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_LE(heard[0].whole.size(), 1492u);
}

class Pings final : public EchoObserver {
 public:
  void OnEchoReply(const IpAddress& from, uint16_t id, uint16_t sequence, uint8_t ttl,
                   size_t bytes) override {
    lines.push_back(from.ToString() + " " + std::to_string(id) + " " + std::to_string(sequence) +
                    " ttl " + std::to_string(ttl) + " bytes " + std::to_string(bytes));
  }
  void OnEchoError(const IpAddress& to, uint16_t id, uint16_t sequence, int error) override {
    lines.push_back(to.ToString() + " " + std::to_string(id) + " " + std::to_string(sequence) +
                    " error " + std::to_string(error));
  }
  std::vector<std::string> lines;
};

TEST_P(StackIcmpTest, PingsAndHearsOfReplyAndError) {
  OpenStack();
  Pings pings;
  stack_->SetEchoObserver(&pings);
  ASSERT_TRUE(stack_->SendEcho(Ip(peer()), 5, 1, 100).ok());
  const std::vector<Packet> sent = Packets(Run());
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].type(), echo());
  SendIp(Icmp(echo_reply(), 0, 5 << 16 | 1, Slice(sent[0].upper, 8)));
  SendIp(Unreachable(sent[0].whole));
  Run();
  // One who is not there. His echo reply, and what else he does not hear, is no ping's.
  const char* const silent = v4() ? "10.0.0.99" : "fd00::99";
  ASSERT_TRUE(stack_->SendEcho(Ip(silent), 5, 2, 0).ok());
  SendIp(Ip_(
      silent, ours(), static_cast<uint8_t>(icmp()),
      v4() ? Icmp4Message(8, 0, 99, {}) : Icmp6Message(Ip(silent), Ip(ours()), 128, 0, 99, {})));
  Run(5 * kSNs);
  const std::string error = std::to_string(v4() ? ECONNREFUSED : ECONNREFUSED);
  EXPECT_EQ(pings.lines, std::vector<std::string>(
                             {std::string(peer()) + " 5 1 ttl 64 bytes 100",
                              std::string(peer()) + " 5 1 error " + error,
                              std::string(silent) + " 5 2 error " + std::to_string(EHOSTUNREACH)}));
  EXPECT_FALSE(stack_->SendEcho(Ip(v4() ? "192.168.1.1" : "2001:db8::1"), 5, 3, 0).ok());
  EXPECT_FALSE(stack_->SendEcho(Ip(peer()), 5, 3, 100'000).ok());
  stack_->SetEchoObserver(nullptr);
}

}  // namespace
}  // namespace weft::netstack
