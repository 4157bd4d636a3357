// SPDX-License-Identifier: Apache-2.0
//
// Floods of all kinds: what a stack holds stays within its limits, counters say what was dropped,
// and who has nothing to do with it goes on.
#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/prng.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

constexpr MacAddress kZeroMac = {};
constexpr size_t kNeighbors = 32;

class StackFloodTest : public StackTest {
 protected:
  void Open() {
    config::Netstack config = Config();
    config.mutable_neighbor_cache()->set_entries_max(kNeighbors);
    config.mutable_reassembly()->set_packets_max(8);
    config.mutable_reassembly()->set_packets_per_source_max(4);
    config.mutable_icmp()->set_errors_per_s(100);
    config.mutable_icmp()->set_errors_burst(10);
    OpenStack(config);
    port_ = OpenPort("[::]:7000");
  }
  // Lets the stack keep up.
  void Burst(int i) {
    if (i % 64 == 63) Run(kMsNs / 10);
  }
  // Traffic that has nothing to do with it all.
  void ExpectAlive() {
    Receive(*port_);
    SendUdp(true, 9, 7000, {1});
    SendUdp(false, 9, 7000, {2});
    Run();
    EXPECT_EQ(Receive(*port_), (std::vector<Bytes>{{1}, {2}}));
    EXPECT_TRUE(SendFrom(*port_, "10.0.0.2:9", {3}));
    EXPECT_EQ(Packets(Run(), 17).size(), 1u);
  }
  size_t NeighborCount() const {
    const std::string text = Described();
    size_t count = 0;
    for (size_t at = text.find("\"age_ms\""); at != std::string::npos;
         at = text.find("\"age_ms\"", at + 1)) {
      ++count;
    }
    return count;
  }
  std::string Stranger(int i) const { return "10.0.0." + std::to_string(3 + i % 250); }

  std::unique_ptr<UdpPort> port_;
};

TEST_F(StackFloodTest, ArpRequests) {
  Open();
  for (int i = 0; i < 2000; ++i) {
    const MacAddress mac = {2, 1, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
    SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, mac, Stranger(i).c_str(), kZeroMac, kOurs4));
    Burst(i);
  }
  EXPECT_LE(NeighborCount(), kNeighbors);
  EXPECT_GT(Neighbors("evictions"), 1000u);
  ExpectAlive();
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackFloodTest, Solicitations) {
  Open();
  for (int i = 0; i < 2000; ++i) {
    const std::string source = "fd00::" + std::to_string(1000 + i);
    Bytes body = Slice({Ip(kOurs6).bytes(), 16}, 0);
    const Bytes option = {1, 1, 2, 1, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
    body.insert(body.end(), option.begin(), option.end());
    SendIp(WithHopLimit(
        Ipv6Packet({.source = source.c_str(), .destination = kOurs6, .next_header = 58},
                   Icmp6Message(Ip(source), Ip(kOurs6), 135, 0, 0, body)),
        255));
    Burst(i);
  }
  EXPECT_LE(NeighborCount(), kNeighbors);
  ExpectAlive();
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackFloodTest, EchoesFromMoreNeighboursThanThereAre) {
  Open();
  for (int i = 0; i < 2000; ++i) {
    SendIp(Ipv4Packet({.source = Stranger(i).c_str(), .destination = kOurs4, .protocol = 1},
                      Icmp4Message(8, 0, 1, Pattern(100))));
    Burst(i);
    EXPECT_GE(device_->pool().available(), kBuffers / 2);
  }
  EXPECT_LE(NeighborCount(), kNeighbors);
  EXPECT_GT(Neighbors("waiting_dropped") + Neighbors("unresolved"), 0u);
  ExpectAlive();
  Run(10 * kSNs);
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackFloodTest, FragmentsThatNeverBecomeWhole) {
  Open();
  for (int i = 0; i < 2000; ++i) {
    SendIp(Ipv4Packet({.source = i % 2 == 0 ? kPeer4 : Stranger(i).c_str(),
                       .destination = kOurs4,
                       .id = static_cast<uint16_t>(i),
                       .offset = 8u * static_cast<size_t>(i % 3),
                       .more = true},
                      Pattern(8)));
    SendIp(Ipv6Packet(
        {.source = kPeer6, .destination = kOurs6, .next_header = 44},
        Ipv6FragmentPayload({.id = static_cast<uint32_t>(i), .more = true}, Pattern(48))));
    Burst(i);
  }
  EXPECT_GT(Neighbors("reassembled") + 1, 0u);
  const std::string text = Described();
  EXPECT_NE(text.find("\"too_many\""), std::string::npos);
  ExpectAlive();
  EXPECT_TRUE(NothingHeld()) << "fragments hold memory of their own";
  // Once their time is up there is room again.
  Run(31 * kSNs);
  const Bytes whole = Slice(UdpPacket(true, 9, 7000, Pattern(1600)), 20);
  for (const size_t at : {0, 800}) {
    SendIp(Ipv4Packet(
        {.source = kPeer4, .destination = kOurs4, .id = 9999, .offset = at, .more = at == 0},
        Slice(whole, at, at == 0 ? 800 : SIZE_MAX)));
  }
  Run();
  EXPECT_EQ(Receive(*port_), std::vector<Bytes>{Pattern(1600)});
}

TEST_F(StackFloodTest, OverlappingAndTinyFragments) {
  Open();
  Prng prng(1);
  for (int i = 0; i < 3000; ++i) {
    const size_t offset = prng.Below(64) * 8;
    SendIp(Ipv4Packet({.source = kPeer4,
                       .destination = kOurs4,
                       .id = static_cast<uint16_t>(prng.Below(4)),
                       .offset = offset,
                       .more = prng.Below(8) != 0},
                      Pattern(8 * (1 + prng.Below(4)), prng.Next())));
    Burst(i);
  }
  Run(31 * kSNs);
  EXPECT_TRUE(Receive(*port_).empty());
  ExpectAlive();
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackFloodTest, ErrorsAndDatagramsForClosedPorts) {
  Open();
  const Bytes about = UdpPacket(true, 9, 4000, Pattern(8));
  size_t heard = 0;
  for (int i = 0; i < 3000; ++i) {
    SendUdp(i % 2 == 0, 9, static_cast<uint16_t>(8000 + i), {1});
    SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4, .protocol = 1},
                      Icmp4Message(3, 3, 0, about)));
    if (i % 64 == 63) heard += Run(kMsNs / 10).size();
  }
  heard += Run().size();
  EXPECT_LE(heard, 12u);
  EXPECT_EQ(stats().no_port.value(), 3000u);
  EXPECT_EQ(stats().errors_sent.value() + stats().errors_limited.value(), 3000u);
  EXPECT_EQ(stats().errors_ignored.value(), 3000u);
  EXPECT_TRUE(Events(*port_).empty());
  ExpectAlive();
}

TEST_F(StackFloodTest, EventsAreBounded) {
  Open();
  for (uint16_t i = 1; i <= 500; ++i) {
    ASSERT_TRUE(SendFrom(*port_, "10.0.0.2:" + std::to_string(i), {1}));
    const std::vector<Packet> sent = Packets(Run(kMsNs / 10), 17);
    for (int twice = 0; twice < 2; ++twice) {
      SendIp(Ipv4Packet({.source = kPeer4, .destination = kOurs4, .protocol = 1},
                        Icmp4Message(3, 3, 0, sent.at(0).whole)));
    }
  }
  Run();
  const std::vector<PortEvent> events = Events(*port_);
  ASSERT_EQ(events.size(), 256u);
  EXPECT_EQ(port_->AddressOf(events.back().peer)->port(), 500) << "the latest are kept";
}

TEST_F(StackFloodTest, PortsThatNobodyPollsLeaveRoomForOthers) {
  Open();
  std::vector<std::unique_ptr<UdpPort>> idle;
  for (int i = 0; i < 8; ++i) idle.push_back(OpenPort("[::]:" + std::to_string(7100 + i)));
  size_t received = 0;
  for (int i = 0; i < 4000; ++i) {
    SendUdp(true, 9, static_cast<uint16_t>(7100 + i % 8), Pattern(100));
    SendUdp(true, 9, 7000, {1});
    if (i % 16 == 15) {
      Run(kMsNs / 10);
      received += Receive(*port_).size();
    }
    EXPECT_GE(device_->pool().available(), kBuffers / 4);
  }
  // Of 128 that may wait, eight idle ports leave a ninth, of which the busy one may have half.
  EXPECT_GE(received, 4000u / 16 * 7);
  EXPECT_GT(stats().queue_full.value(), 2000u);
  EXPECT_GT(idle[0]->stats().receive_dropped.value(), 0u);
  EXPECT_EQ(stats().queue_full.value(), [&] {
    uint64_t dropped = port_->stats().receive_dropped.value();
    for (const auto& port : idle) dropped += port->stats().receive_dropped.value();
    return dropped;
  }());
  EXPECT_GE(Receive(*idle[0]).size(), 8u);
  idle.clear();
  ExpectAlive();
  EXPECT_TRUE(NothingHeld());
}

TEST_F(StackFloodTest, OneIdlePortHoldsAQuarterOfTheBuffers) {
  Open();
  auto idle = OpenPort("[::]:7100");
  for (int i = 0; i < 1000; ++i) {
    SendUdp(true, 9, 7100, {1});
    Burst(i);
  }
  Run();
  EXPECT_EQ(device_->pool().available(), kBuffers - kBuffers / 4);
  EXPECT_EQ(Receive(*idle).size(), kBuffers / 4);
}

TEST_F(StackFloodTest, WholePacketsThatWaitDoNotHoldUpReassembly) {
  Open();
  auto idle = OpenPort("[::]:7100");
  const auto send_long = [this](uint16_t port, uint16_t id) {
    const Bytes whole = Slice(UdpPacket(true, 9, port, Pattern(1600)), 20);
    for (const size_t at : {0, 800}) {
      SendIp(Ipv4Packet(
          {.source = kPeer4, .destination = kOurs4, .id = id, .offset = at, .more = at == 0},
          Slice(whole, at, at == 0 ? 800 : SIZE_MAX)));
    }
  };
  for (uint16_t i = 0; i < 100; ++i) send_long(7100, i);
  Run();
  for (uint16_t i = 0; i < 10; ++i) {
    send_long(7000, static_cast<uint16_t>(1000 + i));
    network_.AdvanceTo(network_.NowNs() + kMsNs);
    EXPECT_EQ(Receive(*port_).size(), 1u);
  }
  EXPECT_GE(Receive(*idle).size(), 3u);
}

TEST_F(StackFloodTest, RepliesThatWaitForNeighboursDoNotHoldUpReassembly) {
  Open();
  Bytes echo = Join(std::vector<Bytes>{{8, 0, 0, 0, 0, 1, 0, 1}, Pattern(792)});
  StoreBig16(echo.data() + 2, NaiveChecksum(echo));
  const auto send_in_two = [this](const std::string& from, uint8_t protocol, const Bytes& message) {
    for (const size_t at : {0, 400}) {
      SendIp(Ipv4Packet({.source = from.c_str(),
                         .destination = kOurs4,
                         .offset = at,
                         .more = at == 0,
                         .protocol = protocol},
                        Slice(message, at, at == 0 ? 400 : SIZE_MAX)));
    }
  };
  for (int i = 0; i < 20; ++i) send_in_two(Stranger(i), 1, echo);
  Run();
  send_in_two(kPeer4, 17, Slice(UdpPacket(true, 9, 7000, Pattern(700)), 20));
  network_.AdvanceTo(network_.NowNs() + kMsNs);
  EXPECT_EQ(Receive(*port_).size(), 1u);
}

TEST_F(StackFloodTest, GroupQueries) {
  config::Netstack config = Config();
  config.add_groups("239.1.2.3");
  OpenStack(config);
  Bytes query = {0x11, 1, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0};
  const uint16_t sum = NaiveChecksum(query);
  query[2] = static_cast<uint8_t>(sum >> 8);
  query[3] = static_cast<uint8_t>(sum);
  size_t reports = 0;
  for (int i = 0; i < 1000; ++i) {
    SendTo(MulticastMac(Ip("224.0.0.1")), kTypeIpv4,
           Ipv4Packet({.source = kPeer4, .destination = "224.0.0.1", .protocol = 2}, query));
    reports += Packets(Run(kMsNs), 2).size();
  }
  EXPECT_GE(reports, 1u);
  EXPECT_LE(reports, 11u) << "ten a second";
}

TEST_F(StackFloodTest, NothingIsAllocatedWhileDatagramsFlow) {
  Open();
  const Peer peer = UdpPort::PeerOf(Ip(kPeer4), 9);
  Datagram out[32];
  Datagram in[32];
  const Bytes frame = FrameOf(our_mac(), kTypeIpv4, UdpPacket(true, 9, 7000, Pattern(100)));
  int64_t allocations = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 48; ++i) SendFrame(frame);
    network_.AdvanceTo(network_.NowNs() + kMsNs);
    for (Datagram& datagram : out) {
      datagram = {peer, port_->pool().Allocate()};
      datagram.buffer.Append(100);
    }
    // The simulated wire allocates, the stack must not: it is given nothing to send onto the wire.
    const int64_t before = AllocationsOfThisThread();
    stack_->Poll(nullptr, {});
    for (int i = 0; i < 16; ++i) stack_->Poll(nullptr, {});
    size_t n = 0;
    while ((n = port_->Receive(absl::MakeSpan(in))) > 0) {
      for (size_t i = 0; i < n; ++i) in[i].buffer.Reset();
    }
    device_->send_max = 0;
    EXPECT_EQ(port_->Send(absl::MakeSpan(out)), 0u);
    device_->send_max = SIZE_MAX;
    if (round >= 100) allocations += AllocationsOfThisThread() - before;
    for (Datagram& datagram : out) datagram.buffer.Reset();
  }
  EXPECT_EQ(allocations, 0);
  EXPECT_EQ(port_->stats().received.value(), 200u * 48);
}

}  // namespace
}  // namespace weft::netstack
