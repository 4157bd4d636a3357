// SPDX-License-Identifier: Apache-2.0
//
// The exception path: what is not for the stack goes to the kernel, and what the kernel sends goes
// out. The test plays the kernel, too.
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

constexpr MacAddress kZeroMac = {};

class StackExceptionTest : public StackTest {
 protected:
  // Ports go before their network.
  ~StackExceptionTest() override {
    stack_.reset();
    kernel_.reset();
  }
  void Open() {
    kernel_frames_ = sim::OpenTransport(&kernel_network_, {.count = kBuffers});
    exception_ = kernel_frames_->OpenFramePort({.local = Address::Sim("tap")}).value();
    tap_ = exception_->mac();
    kernel_ = kernel_frames_->OpenFramePort({.local = Address::Sim("kernel")}).value();
    OpenStack(Config());
    Kernel();
  }
  // What the kernel has heard. Frames keep the destination that they had, which the switch between
  // stack and kernel does not know: it passes on those to groups, and others by a group's address.
  std::vector<Frame> Kernel() {
    Run();
    kernel_network_.AdvanceTo(kernel_network_.NowNs() + kMsNs);
    std::vector<Frame> heard;
    Buffer frames[32];
    while (const size_t n = kernel_->Receive(absl::MakeSpan(frames))) {
      for (size_t i = 0; i < n; ++i) {
        heard.push_back(ReadFrame({frames[i].data(), frames[i].data() + frames[i].size()}));
      }
    }
    return heard;
  }

  sim::Network kernel_network_{1};
  std::unique_ptr<Transport> kernel_frames_;
  MacAddress tap_ = {};
};

TEST_F(StackExceptionTest, WhatIsForOthersGoesToTheKernel) {
  Open();
  const MacAddress group = {0x01, 0, 0x5e, 0, 0, 0xfb};
  SendTo(group, kTypeIpv4, Ipv4Packet({.source = kPeer4, .destination = "224.0.0.251"}, {}));
  SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, peer_mac(), kPeer4, kZeroMac, "10.0.0.77"));
  SendTo(kBroadcastMac, 0x88cc, Pattern(50));
  SendTo(kBroadcastMac, kTypeIpv4, UdpPacket(true, 9, 7000, {1}), 9);
  const std::vector<Frame> heard = Kernel();
  ASSERT_EQ(heard.size(), 4u);
  EXPECT_EQ(heard[0].to, group);
  EXPECT_EQ(heard[0].from, peer_mac());
  EXPECT_EQ(heard[1].type, kTypeArp);
  EXPECT_EQ(heard[2].payload, Pattern(50));
  EXPECT_EQ(heard[3].vlan, 9);
  EXPECT_EQ(stats().exception_received.value(), 4u);
  EXPECT_EQ(stats().not_for_us.value(), 0u);

  // Unicast, too: it is handed over whatever its address.
  SendIp(Ipv4Packet({.source = kPeer4, .destination = "10.0.0.77"}, Pattern(20)));
  Kernel();
  EXPECT_EQ(stats().exception_received.value(), 5u);
}

TEST_F(StackExceptionTest, WhatIsForTheStackDoesNot) {
  Open();
  auto port = OpenPort("[::]:7000");
  SendTo(kBroadcastMac, kTypeArp, ArpMessage(1, peer_mac(), kPeer4, kZeroMac, kOurs4));
  SendUdp(true, 9, 7000, {1});
  SendUdp(true, 9, 7001, {1});
  EXPECT_TRUE(Kernel().empty());
  EXPECT_EQ(Receive(*port).size(), 1u);
}

TEST_F(StackExceptionTest, WhatIsForAllGoesToWhoeverWantsIt) {
  Open();
  auto port = OpenPort("0.0.0.0:7000");
  const auto broadcast = [this](uint16_t to) {
    SendTo(kBroadcastMac, kTypeIpv4,
           Ipv4Packet({.source = kPeer4, .destination = "10.0.0.255"},
                      UdpMessage(Ip(kPeer4), Ip("10.0.0.255"), 9, to, {1})));
  };
  broadcast(7000);
  EXPECT_TRUE(Kernel().empty());
  EXPECT_EQ(Receive(*port).size(), 1u);
  broadcast(68);  // an answer of DHCP
  const std::vector<Frame> heard = Kernel();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(ReadPacket(heard[0]).destination_port(), 68);
  // A router's advertisement, and a query for groups, which both want.
  const Bytes router =
      Ipv6Packet({.source = "fe80::9", .destination = "ff02::1", .next_header = 58},
                 Icmp6Message(Ip("fe80::9"), Ip("ff02::1"), 134, 0, 0, Pattern(8)));
  SendTo(MulticastMac(Ip("ff02::1")), kTypeIpv6, WithHopLimit(router, 255));
  Bytes query = {0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0};
  const uint16_t sum = NaiveChecksum(query);
  query[2] = static_cast<uint8_t>(sum >> 8);
  query[3] = static_cast<uint8_t>(sum);
  SendTo(MulticastMac(Ip("224.0.0.1")), kTypeIpv4,
         Ipv4Packet({.source = kPeer4, .destination = "224.0.0.1", .protocol = 2}, query));
  EXPECT_EQ(Kernel().size(), 2u);
}

TEST_F(StackExceptionTest, WhatTheKernelSendsGoesOut) {
  Open();
  const Bytes payload = Pattern(200);
  Bytes frame = MacBytes(peer_mac());
  // It is to arrive at the port that is called "tap": by a group's address, which all hear.
  frame[0] |= 1;
  const Bytes rest = Slice(FrameOf(peer_mac(), 0x88b5, payload), 6);
  frame.insert(frame.end(), rest.begin(), rest.end());
  SendOn(*kernel_, frame);
  kernel_network_.AdvanceTo(kernel_network_.NowNs() + kMsNs);
  const std::vector<Frame> heard = Run();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].type, 0x88b5);
  EXPECT_EQ(heard[0].payload, payload);
  EXPECT_EQ(stats().exception_sent.value(), 1u);
}

}  // namespace
}  // namespace weft::netstack
