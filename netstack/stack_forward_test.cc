// SPDX-License-Identifier: Apache-2.0
//
// Datagrams that are sent on under the address of their first sender.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/prng.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

constexpr const char* kServer4 = "10.0.0.3";
constexpr const char* kServer6 = "fd00::3";

void Set16At(Bytes& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

Bytes WithHops(Bytes packet, uint8_t hops) {
  if (packet[0] >> 4 == 6) return WithHopLimit(std::move(packet), hops);
  packet[8] = hops;
  Set16At(packet, 10, 0);
  Set16At(packet, 10, NaiveChecksum(Slice(packet, 0, size_t{packet[0] & 15u} * 4)));
  return packet;
}

// With the pseudo-header's sum in UDP's checksum, as from a sender on the same machine.
Bytes WithPartialChecksum(Bytes packet) {
  const bool v4 = packet[0] >> 4 == 4;
  const size_t udp = v4 ? 20 : 40;
  Bytes pseudo = v4 ? Slice(packet, 12, 8) : Slice(packet, 8, 32);
  const size_t length = packet.size() - udp;
  pseudo.insert(pseudo.end(),
                {0, 17, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)});
  Set16At(packet, udp + 6, static_cast<uint16_t>(~NaiveChecksum(pseudo)));
  return packet;
}

class StackForwardTest : public StackTest {
 protected:
  // A router at port 7000, the peer as its client, and a server that is known.
  void OpenRouter(config::Netstack config) {
    for (const char* ip : {kServer4, kServer6}) {
      config::Neighbor* const neighbor = config.add_neighbors();
      neighbor->set_address(ip);
      neighbor->set_mac(MacToString(peer_mac()));
    }
    OpenStack(config);
    port_ = OpenPort("[::]:7000");
  }
  void OpenRouter() { OpenRouter(Config()); }

  static Peer Server(bool v4, uint16_t port = 8000) {
    return UdpPort::PeerOf(Ip(v4 ? kServer4 : kServer6), port);
  }
  static Peer Client(bool v4, uint16_t port = 9) {
    return UdpPort::PeerOf(Ip(v4 ? kPeer4 : kPeer6), port);
  }

  // What the router has received.
  std::vector<Datagram> Take() {
    std::vector<Datagram> taken;
    Datagram burst[32];
    for (int idle = 0; idle < 4; ++idle) {
      const size_t n = port_->Receive(absl::MakeSpan(burst));
      for (size_t i = 0; i < n; ++i) taken.push_back(std::move(burst[i]));
      if (n > 0) idle = 0;
    }
    return taken;
  }
  size_t Forward(std::vector<Datagram>& burst, const Peer& to) {
    sources_.clear();
    for (Datagram& datagram : burst) sources_.push_back(std::exchange(datagram.peer, to));
    return port_->Forward(absl::MakeSpan(burst), absl::MakeSpan(sources_));
  }
  // Lets the router forward what comes, and gives what the network has then heard.
  std::vector<Packet> RouteTo(const Peer& to) {
    Run();
    std::vector<Datagram> burst = Take();
    EXPECT_EQ(Forward(burst, to), burst.size());
    return Packets(Run(10 * kMsNs));
  }
  void ExpectForwarded(const Packet& packet, bool v4, const Bytes& payload, int hops) {
    EXPECT_EQ(packet.source, Ip(v4 ? kPeer4 : kPeer6));
    EXPECT_EQ(packet.source_port(), 9);
    EXPECT_EQ(packet.destination, Ip(v4 ? kServer4 : kServer6));
    EXPECT_EQ(packet.destination_port(), 8000);
    EXPECT_EQ(packet.ttl, hops);
    EXPECT_EQ(packet.udp_payload(), payload);
  }

  std::unique_ptr<UdpPort> port_;
  std::vector<Peer> sources_;
};

TEST_F(StackForwardTest, EachSizeArrivesAsIfFromItsSender) {
  for (const bool offload : {false, true}) {
    checksum_offload_ = offload;
    OpenRouter();
    for (const bool v4 : {true, false}) {
      for (const size_t bytes : {0u, 1u, 17u, 64u, 1000u, v4 ? 1472u : 1452u}) {
        const Bytes payload = Pattern(bytes, bytes);
        SendUdp(v4, 9, 7000, payload);
        const std::vector<Packet> heard = RouteTo(Server(v4));
        ASSERT_EQ(heard.size(), 1u);
        EXPECT_EQ(heard[0].mac_to, peer_mac());
        ExpectForwarded(heard[0], v4, payload, 63);
      }
    }
    EXPECT_EQ(port_->stats().sent.value(), 12u);
    EXPECT_EQ(port_->stats().sent_bytes.value(), port_->stats().received_bytes.value());
    EXPECT_EQ(port_->stats().copied_buffers.value(), 0u);
    EXPECT_EQ(device_->checksum_requests, 0u) << "the sender's goes on protecting the payload";
    EXPECT_TRUE(NothingHeld());
    port_.reset();
  }
}

TEST_F(StackForwardTest, ChecksumsOfAllSumsAreUpdatedRightly) {
  OpenRouter();
  Prng random(7);
  for (int i = 0; i < 20'000; ++i) {
    const bool v4 = i % 2 == 0;
    const auto source = static_cast<uint16_t>(1 + random.Below(UINT16_MAX));
    const auto to = static_cast<uint16_t>(1 + random.Below(UINT16_MAX));
    const Bytes payload = {static_cast<uint8_t>(random.Next()),
                           static_cast<uint8_t>(random.Next())};
    SendUdp(v4, source, 7000, payload);
    const std::vector<Packet> heard = RouteTo(Server(v4, to));
    ASSERT_EQ(heard.size(), 1u);
    ASSERT_NE(Slice(heard[0].upper, 6, 2), Bytes({0, 0})) << "it would say that there is none";
    ASSERT_EQ(heard[0].source_port(), source);
    ASSERT_EQ(heard[0].destination_port(), to);
    ASSERT_EQ(heard[0].udp_payload(), payload);
    if (HasFailure()) break;
  }
}

// Every sum that the checksum of the datagram can have, so also those whose complement is 0.
TEST_F(StackForwardTest, AChecksumOfZeroIsWrittenAsItsOtherForm) {
  OpenRouter();
  size_t ones = 0;
  for (uint32_t word = 0; word <= 0xffff; ++word) {
    SendUdp(true, 9, 7000, {static_cast<uint8_t>(word >> 8), static_cast<uint8_t>(word)});
    if (word % 64 != 63) continue;
    for (const Packet& packet : RouteTo(Server(true))) {
      ones += Slice(packet.upper, 6, 2) == Bytes({0xff, 0xff});
      ASSERT_NE(Slice(packet.upper, 6, 2), Bytes({0, 0}));
    }
    if (HasFailure()) return;
  }
  EXPECT_EQ(port_->stats().sent.value(), 0x10000u);
  EXPECT_GE(ones, 1u);
}

TEST_F(StackForwardTest, NoChecksumStaysNone) {
  OpenRouter();
  Bytes packet = UdpPacket(true, 9, 7000, Pattern(64));
  Set16At(packet, 26, 0);
  SendIp(packet);
  const std::vector<Packet> heard = RouteTo(Server(true));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(Slice(heard[0].upper, 6, 2), Bytes({0, 0}));
  ExpectForwarded(heard[0], true, Pattern(64), 63);
}

// What a sender on the same machine has left to the device, the device of the router completes, or
// the router itself.
TEST_F(StackForwardTest, PartialChecksumsAreCompleted) {
  for (const bool offload : {false, true}) {
    checksum_offload_ = offload;
    OpenRouter();
    device_->received_flags = FrameOffload::kIpChecksumGood | FrameOffload::kL4ChecksumGood;
    for (const bool v4 : {true, false}) {
      SendIp(WithPartialChecksum(UdpPacket(v4, 9, 7000, Pattern(65))));
      SendUdp(v4, 9, 7000, Pattern(66));  // verified by the device
      const std::vector<Packet> heard = RouteTo(Server(v4));
      ASSERT_EQ(heard.size(), 2u);
      ExpectForwarded(heard[0], v4, Pattern(65), 63);
      ExpectForwarded(heard[1], v4, Pattern(66), 63);
    }
    EXPECT_EQ(device_->checksum_requests, offload ? 2u : 0u);
    port_.reset();
  }
}

// And the first sender is told, as by any router.
TEST_F(StackForwardTest, TheHopLimitEndsLoops) {
  OpenRouter();
  for (const bool v4 : {true, false}) {
    for (const uint8_t hops : {0, 1, 2, 255}) {
      const Bytes packet = WithHops(UdpPacket(v4, 9, 7000, {hops}), hops);
      SendIp(packet);
      const std::vector<Packet> heard = RouteTo(Server(v4));
      ASSERT_EQ(heard.size(), 1u);
      if (hops > 1) {
        ExpectForwarded(heard[0], v4, {hops}, hops - 1);
        continue;
      }
      EXPECT_EQ(heard[0].protocol, v4 ? 1 : 58);
      EXPECT_EQ(heard[0].source, Ip(v4 ? kOurs4 : kOurs6));
      EXPECT_EQ(heard[0].destination, Ip(v4 ? kPeer4 : kPeer6));
      EXPECT_EQ(Slice(heard[0].upper, 0, 2), Bytes({static_cast<uint8_t>(v4 ? 11 : 3), 0}));
      EXPECT_EQ(Slice(heard[0].upper, 8), packet) << "as it came";
    }
  }
  EXPECT_EQ(stats().hops_exceeded.value(), 4u);
  EXPECT_EQ(stats().errors_sent.value(), 4u);
  EXPECT_EQ(port_->stats().send_failed.value(), 4u);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackForwardTest, TaggedFramesGoOnWithTheTag) {
  config::Netstack config = Config();
  config.set_vlan(7);
  OpenRouter(config);
  for (const bool v4 : {true, false}) {
    for (const size_t bytes : {64u, v4 ? 1468u : 1448u}) {  // the tag takes room
      SendTo(our_mac(), v4 ? kTypeIpv4 : kTypeIpv6, UdpPacket(v4, 9, 7000, Pattern(bytes)), 7);
      Run();
      std::vector<Datagram> burst = Take();
      ASSERT_EQ(burst.size(), 1u);
      ASSERT_EQ(Forward(burst, Server(v4)), 1u);
      const std::vector<Frame> frames = Run();
      ASSERT_EQ(frames.size(), 1u);
      EXPECT_EQ(frames[0].vlan, 7);
      ExpectForwarded(Packets(frames).at(0), v4, Pattern(bytes), 63);
    }
  }
  EXPECT_EQ(port_->stats().copied_buffers.value(), 0u);
  EXPECT_TRUE(NothingHeld());
}

// A tag of priority alone stays behind.
TEST_F(StackForwardTest, PriorityTagsStayBehind) {
  OpenRouter();
  Bytes tagged = {0xe0, 0, 8, 0};
  const Bytes packet = UdpPacket(true, 9, 7000, Pattern(64));
  tagged.insert(tagged.end(), packet.begin(), packet.end());
  SendTo(our_mac(), 0x8100, tagged);
  const std::vector<Packet> heard = RouteTo(Server(true));
  ASSERT_EQ(heard.size(), 1u);
  ExpectForwarded(heard[0], true, Pattern(64), 63);
}

// There must be a checksum over IPv6 (RFC 8200, 8.1), so that one without never gets so far.
TEST_F(StackForwardTest, NoneOverIpv6GoesNowhere) {
  OpenRouter();
  for (const uint16_t flags : {uint16_t{0}, uint16_t{FrameOffload::kL4ChecksumGood}}) {
    device_->received_flags = flags;
    Bytes packet = UdpPacket(false, 9, 7000, Pattern(64));
    Set16At(packet, 46, 0);
    SendIp(packet);
    EXPECT_TRUE(RouteTo(Server(false)).empty());
  }
  EXPECT_EQ(stats().bad_checksum.value(), 2u);
}

TEST_F(StackForwardTest, ANeighbourThatIsNotKnownIsAskedForFirst) {
  OpenStack(ConfigWithoutNeighbors());
  port_ = OpenPort("[::]:7000");
  device_->received_flags = FrameOffload::kL4ChecksumGood;
  SendUdp(true, 9, 7000, Pattern(64));
  SendIp(WithPartialChecksum(UdpPacket(true, 9, 7000, Pattern(65))));
  Run();
  std::vector<Datagram> burst = Take();
  ASSERT_EQ(Forward(burst, Server(true)), 2u);
  const std::vector<Frame> asked = OfType(Run(), kTypeArp);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(Slice(asked[0].payload, 14, 4), Bytes({10, 0, 0, 1})) << "in its own name";
  Send(kTypeArp, ArpMessage(2, peer_mac(), kServer4, our_mac(), kOurs4));
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 2u);
  ExpectForwarded(heard[0], true, Pattern(64), 63);
  ExpectForwarded(heard[1], true, Pattern(65), 63);
}

TEST_F(StackForwardTest, ANeighbourThatDoesNotAnswerIsNoEventOfOthers) {
  OpenStack(Config());
  port_ = OpenPort("[::]:7000");
  // The client's port is the router's too.
  SendUdp(true, 7000, 7000, {1});
  EXPECT_TRUE(Packets(RouteTo(Server(true)).empty() ? Run(10 * kSNs) : Run()).empty());
  EXPECT_TRUE(Events(*port_).empty());
  EXPECT_EQ(Neighbors("unresolved"), 1u);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackForwardTest, WhatTheDeviceDoesNotTakeStaysAsItWas) {
  OpenRouter();
  for (const bool v4 : {true, false}) {
    for (int i = 0; i < 4; ++i) SendUdp(v4, 9, 7000, Pattern(64, 1 + i));
    Run();
    std::vector<Datagram> burst = Take();
    ASSERT_EQ(burst.size(), 4u);
    device_->send_max = 1;
    ASSERT_EQ(Forward(burst, Server(v4)), 1u);
    EXPECT_FALSE(burst[0].buffer);
    for (size_t i = 1; i < 4; ++i) {
      ASSERT_TRUE(burst[i].buffer);
      EXPECT_EQ(Bytes(burst[i].buffer.data(), burst[i].buffer.data() + burst[i].buffer.size()),
                Pattern(64, 1 + i));
    }
    ASSERT_EQ(port_->Forward(absl::MakeSpan(burst).subspan(1), absl::MakeSpan(sources_).subspan(1)),
              1u);
    device_->send_max = 32;
    // To another one, now.
    for (Datagram& datagram : burst) datagram.peer = Server(v4, 8001);
    ASSERT_EQ(port_->Forward(absl::MakeSpan(burst).subspan(2), absl::MakeSpan(sources_).subspan(2)),
              2u);
    const std::vector<Packet> heard = Packets(Run());
    ASSERT_EQ(heard.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(heard[i].destination_port(), i < 2 ? 8000 : 8001);
      EXPECT_EQ(heard[i].ttl, 63);
      EXPECT_EQ(heard[i].source_port(), 9);
      EXPECT_EQ(heard[i].udp_payload(), Pattern(64, 1 + i));
    }
  }
  EXPECT_EQ(port_->stats().copied_buffers.value(), 0u);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackForwardTest, BuffersOfAnyOriginAreGivenHeadersOfTheirOwn) {
  OpenRouter();
  for (const bool v4 : {true, false}) {
    for (int i = 0; i < 4; ++i) SendUdp(v4, 9, 7000, Pattern(64));
    Run();
    std::vector<Datagram> burst = Take();
    ASSERT_EQ(burst.size(), 4u);
    burst[0].buffer.TrimFront(4);
    burst[1].buffer.TrimBack(4);
    std::memset(burst[2].buffer.Prepend(4), 0, 4);
    burst[3].buffer.data()[0] ^= 0xff;
    burst[3].buffer.offload() = {};
    BufferPool small({.count = 1, .bytes = 256, .headroom = 0});
    burst.push_back({burst[0].peer, small.Allocate()});
    std::memset(burst[4].buffer.Append(64), 0x11, 64);
    ASSERT_EQ(Forward(burst, Server(v4)), 5u);
    const std::vector<Packet> heard = Packets(Run());
    ASSERT_EQ(heard.size(), 5u);
    Bytes changed = Pattern(64);
    changed[0] ^= 0xff;
    Bytes grown = Pattern(64);
    grown.insert(grown.begin(), 4, 0);
    ExpectForwarded(heard[0], v4, Slice(Pattern(64), 4), 64);
    ExpectForwarded(heard[1], v4, Slice(Pattern(64), 0, 60), 64);
    ExpectForwarded(heard[2], v4, grown, 64);
    ExpectForwarded(heard[3], v4, changed, 64);
    ExpectForwarded(heard[4], v4, Bytes(64, 0x11), 64);
  }
  EXPECT_EQ(port_->stats().copied_buffers.value(), 2u);
  EXPECT_EQ(port_->stats().copied_bytes.value(), 128u);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackForwardTest, HeadersWithOptionsAreWrittenAnew) {
  OpenRouter();
  const Bytes udp4 = UdpMessage(Ip(kPeer4), Ip(kOurs4), 9, 7000, Pattern(64));
  SendIp(WithHops(
      Ipv4Packet({.source = kPeer4, .destination = kOurs4, .options = {1, 1, 1, 0}}, udp4), 9));
  const std::vector<Packet> heard4 = RouteTo(Server(true));
  ASSERT_EQ(heard4.size(), 1u);
  ExpectForwarded(heard4[0], true, Pattern(64), 8);
  EXPECT_EQ(heard4[0].whole.size(), 20u + 8 + 64);

  Bytes options = {17, 0, 1, 4, 0, 0, 0, 0};  // destination options: padding
  const Bytes udp6 = UdpMessage(Ip(kPeer6), Ip(kOurs6), 9, 7000, Pattern(64));
  options.insert(options.end(), udp6.begin(), udp6.end());
  SendIp(Ipv6Packet({.source = kPeer6, .destination = kOurs6, .next_header = 60}, options));
  const std::vector<Packet> heard6 = RouteTo(Server(false));
  ASSERT_EQ(heard6.size(), 1u);
  ExpectForwarded(heard6[0], false, Pattern(64), 63);
  EXPECT_EQ(heard6[0].whole.size(), 40u + 8 + 64);
}

TEST_F(StackForwardTest, FragmentedDatagramsGoOnInFragments) {
  config::Netstack config = Config();
  config.set_datagram_bytes_max(9000);
  datagram_bytes_max_ = 9000;
  OpenRouter(config);
  for (const bool v4 : {true, false}) {
    for (const size_t bytes : {1000u, 4000u}) {
      const Bytes payload = Pattern(bytes, v4);
      const Bytes udp =
          UdpMessage(Ip(v4 ? kPeer4 : kPeer6), Ip(v4 ? kOurs4 : kOurs6), 9, 7000, payload);
      for (size_t at = 0; at < udp.size(); at += 800) {
        const Bytes piece = Slice(udp, at, 800);
        const bool more = at + 800 < udp.size();
        SendIp(
            v4 ? Ipv4Packet({.source = kPeer4, .destination = kOurs4, .offset = at, .more = more},
                            piece)
               : Ipv6Packet({.source = kPeer6, .destination = kOurs6, .next_header = 44},
                            Ipv6FragmentPayload({.offset = at, .more = more}, piece)));
      }
      Bytes whole(bytes + 8);
      for (const Packet& packet : RouteTo(Server(v4))) {
        EXPECT_EQ(packet.source, Ip(v4 ? kPeer4 : kPeer6));
        EXPECT_EQ(packet.destination, Ip(v4 ? kServer4 : kServer6));
        EXPECT_EQ(packet.ttl, 63);
        ASSERT_LE(packet.offset + packet.upper.size(), whole.size());
        std::copy(packet.upper.begin(), packet.upper.end(),
                  whole.begin() + static_cast<ptrdiff_t>(packet.offset));
      }
      EXPECT_EQ(Slice(whole, 8), payload);
      EXPECT_EQ(NaiveL4Checksum(Ip(v4 ? kPeer4 : kPeer6), Ip(v4 ? kServer4 : kServer6), 17, whole),
                0);
    }
  }
  EXPECT_EQ(stats().fragmented.value(), 2u);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackForwardTest, WhatIsForOurselvesComesBack) {
  OpenRouter();
  auto server = OpenPort("[::]:8000");
  for (const bool v4 : {true, false}) {
    for (const bool partial : {false, true}) {
      device_->received_flags = partial ? FrameOffload::kL4ChecksumGood : 0;
      const Bytes packet = UdpPacket(v4, 9, 7000, Pattern(64));
      SendIp(partial ? WithPartialChecksum(packet) : packet);
      EXPECT_TRUE(RouteTo(UdpPort::PeerOf(Ip(v4 ? kOurs4 : kOurs6), 8000)).empty());
      Datagram got[1];
      ASSERT_EQ(server->Receive(absl::MakeSpan(got)), 1u);
      EXPECT_EQ(got[0].peer, Client(v4));
      EXPECT_EQ(got[0].buffer.size(), 64u);
      // And further from there, as if it had come from outside.
      Datagram again[] = {{Server(v4), std::move(got[0].buffer)}};
      const Peer source[] = {got[0].peer};
      ASSERT_EQ(server->Forward(absl::MakeSpan(again), source), 1u);
      const std::vector<Packet> heard = Packets(Run());
      ASSERT_EQ(heard.size(), 1u);
      ExpectForwarded(heard[0], v4, Pattern(64), 62);
    }
  }
}

TEST_F(StackForwardTest, GroupsAreNotLeft) {
  OpenRouter();
  SendUdp(true, 9, 7000, Pattern(64));
  const std::vector<Packet> heard = RouteTo(UdpPort::PeerOf(Ip("239.1.2.3"), 8000));
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].ttl, 1);
  EXPECT_EQ(heard[0].source, Ip(kPeer4));
}

TEST_F(StackForwardTest, WhatCanNeverBeSentOnIsCounted) {
  OpenRouter();
  const Peer nobodies[] = {Peer{}, UdpPort::PeerOf(Ip(kPeer4), 0), Client(false),
                           UdpPort::PeerOf(Ip("0.0.0.0"), 9), UdpPort::PeerOf(Ip("239.1.2.3"), 9)};
  for (const Peer& source : nobodies) {
    Datagram burst[] = {{Server(true), port_->pool().Allocate()}};
    EXPECT_EQ(port_->Forward(absl::MakeSpan(burst), {&source, 1}), 1u);
    EXPECT_FALSE(burst[0].buffer);
  }
  const Peer client = Client(true);
  Datagram to_nobody[] = {{Peer{}, port_->pool().Allocate()}};
  EXPECT_EQ(port_->Forward(absl::MakeSpan(to_nobody), {&client, 1}), 1u);
  Datagram nothing[] = {{Server(true), Buffer()}};
  EXPECT_EQ(port_->Forward(absl::MakeSpan(nothing), {&client, 1}), 1u);
  EXPECT_EQ(port_->stats().send_failed.value(), 7u);
  const Peer far = UdpPort::PeerOf(Ip("192.168.7.7"), 9);
  Datagram unroutable[] = {{far, port_->pool().Allocate()}};
  EXPECT_EQ(port_->Forward(absl::MakeSpan(unroutable), {&client, 1}), 1u);
  const std::vector<PortEvent> events = Events(*port_);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].peer, far);
  EXPECT_EQ(events[0].error, ENETUNREACH);
  EXPECT_TRUE(Run().empty());
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackForwardTest, NothingIsAllocated) {
  OpenRouter();
  for (int i = 0; i < 64; ++i) SendUdp(i % 2 == 0, 9, 7000, Pattern(64));
  Run();
  std::vector<Datagram> burst = Take();
  ASSERT_EQ(burst.size(), 64u);
  std::vector<Peer> sources;
  for (Datagram& d : burst) {
    sources.push_back(d.peer);
    d.peer = Server(UdpPort::IpOf(d.peer).is_v4());
  }
  device_->send_max = 0;
  // The network that carries copies is not asked.
  const int64_t before = AllocationsOfThisThread();
  EXPECT_EQ(port_->Forward(absl::MakeSpan(burst), sources), 0u);
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

}  // namespace
}  // namespace weft::netstack
