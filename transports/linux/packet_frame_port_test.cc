// SPDX-License-Identifier: Apache-2.0
//
// Packet sockets against the kernel: the port is at one end of a veth pair, the kernel's stack at
// the other.
#include "weft/transports/linux/packet_frame_port.h"

#include <netinet/udp.h>
#include <sys/socket.h>

#include <atomic>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/tools/testnet/udp_socket.h"
#include "weft/transports/linux/frame_test_util.h"

namespace weft::linux_transport {
namespace {

using testnet::Namespace;
using testnet::UdpSocket;

constexpr MacAddress kFarMac = {0x02, 0, 0, 0, 0, 0x02};

class PacketFramePortTest : public testing::Test {
 protected:
  void SetUp() override {
    there_ = Namespace::Make();
    here_ = Namespace::Make();
    if (!here_.ok()) GTEST_SKIP() << here_.status();
    MakeLink(1500);
  }

  // The kernel has 10.0.0.2 and fd00::2, and takes the port for 10.0.0.1 and fd00::1.
  void MakeLink(int mtu) {
    (void)here_->Run("ip link del near0");
    const absl::Status made = testnet::MakeVeth(*here_, "near0", *there_, "far0",
                                                {.mtu = mtu, .queues = 2, .ipv6 = true});
    ASSERT_TRUE(made.ok()) << made;
    const std::string near_mac = ToString(FindInterface("near0")->mac);
    for (const std::string& command :
         {absl::StrCat("link set far0 address ", ToString(kFarMac)),
          std::string("addr add 10.0.0.2/24 dev far0"),
          std::string("addr add fd00::2/64 dev far0 nodad"),
          absl::StrCat("neigh add 10.0.0.1 lladdr ", near_mac, " dev far0"),
          absl::StrCat("neigh add fd00::1 lladdr ", near_mac, " dev far0")}) {
      const absl::Status status = there_->Ip(command);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  static std::unique_ptr<Transport> OpenPacket(const std::string& settings = "",
                                               const std::string& more = "") {
    return OpenLinux(absl::StrCat("linux { packet { interface: 'near0' ", settings, " } } ", more));
  }
  static absl::Status OpenError(const std::string& settings) {
    config::Transport config;
    if (!google::protobuf::TextFormat::ParseFromString(
            absl::StrCat("name: 'linux' linux { packet { ", settings, " } }"), &config)) {
      std::abort();
    }
    const auto transport = OpenPlainTransport(config);
    return transport.ok() ? (*transport)->OpenFramePort({}).status() : transport.status();
  }

  absl::StatusOr<Namespace> there_;
  absl::StatusOr<Namespace> here_;
};

TEST_F(PacketFramePortTest, TheKernelReceivesWhatIsSent) {
  const auto transport = OpenPacket();
  const auto port = OpenFrames(*transport);
  for (const bool ipv4 : {true, false}) {
    const auto socket = ValueOrDie(UdpSocket::Bind(*there_, ipv4 ? "10.0.0.2" : "fd00::2", 5000));
    for (const size_t size : {1, 100, 1400}) {
      const Packet packet = {.ipv4 = ipv4, .payload = std::string(size, 'a')};
      Buffer frame = FrameOf(*port, kFarMac, packet);
      RequestChecksums(packet, frame);
      ASSERT_TRUE(SendFrame(*port, std::move(frame)));
      EXPECT_EQ(socket.Receive(), packet.payload);
    }
  }
}

// The kernel leaves out checksums of what never leaves the machine.
TEST_F(PacketFramePortTest, ChecksumsThatAreLeftOutAreGood) {
  const auto transport = OpenPacket();
  const auto port = OpenFrames(*transport);
  for (const bool ipv4 : {true, false}) {
    const auto socket = ValueOrDie(UdpSocket::Bind(*there_, ipv4 ? "10.0.0.2" : "fd00::2", 5000));
    ASSERT_TRUE(socket.Send(ipv4 ? "10.0.0.1" : "fd00::1", 4000, "hello"));
    const Buffer frame = ReceiveUdp(*port);
    ASSERT_TRUE(frame);
    EXPECT_EQ(UdpPayload(frame), "hello");
    EXPECT_TRUE(frame.offload().flags & FrameOffload::kL4ChecksumGood);
    EXPECT_TRUE(HasGoodChecksums(frame));
  }
}

TEST_F(PacketFramePortTest, DatagramsThatTheKernelHasJoinedAreCutApart) {
  for (const char* timeout : {"", "block_timeout_ms: 1"}) {
    const auto transport = OpenPacket(timeout);
    const auto port = OpenFrames(*transport);
    for (const bool ipv4 : {true, false}) {
      const auto socket = ValueOrDie(UdpSocket::Bind(*there_, ipv4 ? "10.0.0.2" : "fd00::2", 0));
      const int segment = 100;
      ASSERT_EQ(setsockopt(socket.fd(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
      std::string bytes;
      for (char c = 'a'; c < 'k'; ++c) bytes += std::string(100, c);
      bytes += "end";
      ASSERT_TRUE(socket.Send(ipv4 ? "10.0.0.1" : "fd00::1", 4000, bytes));
      for (size_t at = 0; at < bytes.size(); at += 100) {
        const Buffer frame = ReceiveUdp(*port);
        ASSERT_TRUE(frame) << at;
        EXPECT_EQ(UdpPayload(frame), bytes.substr(at, 100));
        EXPECT_TRUE(HasGoodChecksums(frame));
        EXPECT_EQ(frame.size(), 14 + (ipv4 ? 20 : 40) + 8 + bytes.substr(at, 100).size());
      }
    }
  }
}

// Of more than a slot of the ring holds, or a buffer.
TEST_F(PacketFramePortTest, SoAreManyOfThem) {
  for (const char* timeout : {"", "block_timeout_ms: 1"}) {
    const auto transport = OpenPacket(timeout);
    const auto port = OpenFrames(*transport);
    const auto socket = ValueOrDie(UdpSocket::Bind(*there_, "10.0.0.2", 0));
    const int segment = 1400;
    ASSERT_EQ(setsockopt(socket.fd(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
    std::string bytes;
    for (char c = 'a'; c < 'a' + 20; ++c) bytes += std::string(1400, c);
    ASSERT_TRUE(socket.Send("10.0.0.1", 4000, bytes));
    ASSERT_TRUE(socket.Send("10.0.0.1", 4000, "short"));
    for (size_t at = 0; at < bytes.size(); at += 1400) {
      const Buffer frame = ReceiveUdp(*port);
      ASSERT_TRUE(frame) << at;
      EXPECT_EQ(UdpPayload(frame), bytes.substr(at, 1400));
      EXPECT_TRUE(HasGoodChecksums(frame));
    }
    EXPECT_EQ(UdpPayload(ReceiveUdp(*port)), "short") << "in their order";
  }
}

TEST_F(PacketFramePortTest, SegmentsThatTheKernelHasJoinedAreCutApart) {
  std::unique_ptr<Transport> far_transport;
  std::unique_ptr<FramePort> far;
  {
    const testnet::ScopedNamespace place(*there_);
    far_transport =
        OpenLinux("linux { packet { interface: 'far0' } } buffers { bytes: 70000 count: 64 }");
    far = OpenFrames(*far_transport);
  }
  const auto transport = OpenPacket();
  if (!transport->capabilities().segmentation_offload) GTEST_SKIP() << "Linux 6.2 can";
  std::string payload(60'000, 'x');
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(i / 100);
  for (const bool joined : {false, true}) {
    const auto port = ValueOrDie(transport->OpenFramePort({.joined_segments = joined}));
    for (const bool ipv4 : {true, false}) {
      const Packet packet = {.ipv4 = ipv4, .protocol = kProtocolTcp, .payload = payload};
      Buffer frame = FrameOf(*far, port->mac(), packet);
      RequestSegments(packet, 1400, frame);
      ASSERT_TRUE(SendFrame(*far, std::move(frame)));
      const size_t headers = packet.l4() + packet.l4_bytes();
      std::string received;
      size_t frames = 0;
      while (received.size() < payload.size()) {
        const Buffer segment = ReceiveFrame(*port);
        ASSERT_TRUE(segment) << received.size();
        const bool ours = LoadBig16(segment.data() + 12) == packet.type() &&
                          segment.data()[Packet::kL3 + (ipv4 ? 9 : 6)] == kProtocolTcp;
        if (!ours) continue;  // the kernel's own talk
        ++frames;
        if (!joined) {
          EXPECT_LE(segment.size(), headers + 1400);
        }
        EXPECT_TRUE(HasGoodChecksums(segment));
        received.append(reinterpret_cast<const char*>(segment.data()) + headers,
                        segment.size() - headers);
      }
      EXPECT_TRUE(received == payload);
      EXPECT_EQ(frames, joined ? 8u : 43u);
    }
  }
}

TEST_F(PacketFramePortTest, DatagramsAreCutOnRequest) {
  const auto transport = OpenPacket();
  if (!transport->capabilities().segmentation_offload) GTEST_SKIP() << "Linux 6.2 can";
  const auto port = OpenFrames(*transport);
  for (const bool ipv4 : {true, false}) {
    const auto socket = ValueOrDie(UdpSocket::Bind(*there_, ipv4 ? "10.0.0.2" : "fd00::2", 5000));
    const Packet packet = {.ipv4 = ipv4,
                           .payload = std::string(500, 'a') + std::string(500, 'b') + "end"};
    Buffer frame = FrameOf(*port, kFarMac, packet);
    RequestSegments(packet, 500, frame);
    ASSERT_TRUE(SendFrame(*port, std::move(frame)));
    for (size_t at = 0; at < packet.payload.size(); at += 500) {
      EXPECT_EQ(socket.Receive(), packet.payload.substr(at, 500));
    }
  }
}

TEST_F(PacketFramePortTest, VlanTagsArriveWhereTheyWere) {
  const auto transport = OpenPacket();
  const auto near = OpenFrames(*transport);
  std::unique_ptr<FramePort> far;
  std::unique_ptr<Transport> far_transport;
  {
    const testnet::ScopedNamespace there(*there_);
    far_transport = OpenLinux("linux { packet { interface: 'far0' } }");
    far = OpenFrames(*far_transport);
  }
  for (const std::string& tags :
       {std::string("\x20\x05", 2), std::string("\x00\x07\x81\x00\xe0\x09", 6)}) {
    for (const uint16_t type : {0x8100, 0x88a8}) {
      Buffer frame = FrameOf(*near, kFarMac, type, tags + "\x88\xb5 tagged");
      const std::string sent = Text(frame);
      ASSERT_TRUE(SendFrame(*near, std::move(frame)));
      std::string got;
      do {
        const Buffer received = ReceiveFrame(*far);
        ASSERT_TRUE(received);
        got = Text(received);
      } while (got.substr(0, 14) != sent.substr(0, 14) && got.size() > 14);
      EXPECT_EQ(got, sent);
    }
  }
}

TEST_F(PacketFramePortTest, JumboFrames) {
  MakeLink(9000);
  const auto transport = OpenPacket("", "buffers { bytes: 16384 }");
  EXPECT_EQ(transport->capabilities().max_frame_bytes, 9014u);
  const auto port = OpenFrames(*transport);
  const auto socket = ValueOrDie(UdpSocket::Bind(*there_, "10.0.0.2", 5000));
  const Packet packet = {.payload = std::string(9000 - 28, 'j')};
  Buffer frame = FrameOf(*port, kFarMac, packet);
  RequestChecksums(packet, frame);
  ASSERT_TRUE(SendFrame(*port, std::move(frame)));
  EXPECT_EQ(socket.Receive(), packet.payload);
  ASSERT_TRUE(socket.Send("10.0.0.1", 4000, packet.payload));
  EXPECT_EQ(UdpPayload(ReceiveUdp(*port)), packet.payload);
}

TEST_F(PacketFramePortTest, FramesLongerThanABufferAreDroppedAndCounted) {
  MakeLink(9000);
  for (const char* timeout : {"", "block_timeout_ms: 1"}) {
    const auto transport = OpenPacket(timeout);
    EXPECT_EQ(transport->capabilities().max_frame_bytes, 8192u - 128);
    const auto port = OpenFrames(*transport);
    const auto socket = ValueOrDie(UdpSocket::Bind(*there_, "10.0.0.2", 0));
    ASSERT_TRUE(socket.Send("10.0.0.1", 4000, std::string(8500, 'x')));
    ASSERT_TRUE(socket.Send("10.0.0.1", 4000, "short"));
    EXPECT_EQ(UdpPayload(ReceiveUdp(*port)), "short");
    EXPECT_EQ(port->stats().receive_dropped, 1u);
  }
}

TEST_F(PacketFramePortTest, WhatDoesNotFitTheRingIsCounted) {
  constexpr int kFrames = 2000;
  for (const char* timeout : {"", "block_timeout_ms: 1"}) {
    const auto transport = OpenPacket(absl::StrCat("ring_bytes: 262144 ", timeout));
    const auto port = OpenFrames(*transport);
    const auto socket = ValueOrDie(UdpSocket::Bind(*there_, "10.0.0.2", 0));
    for (int i = 0; i < kFrames; ++i) {
      ASSERT_TRUE(socket.Send("10.0.0.1", 4000, std::string(1400, 'x')));
    }
    EXPECT_TRUE(Until([&] {
      Buffer in[32];
      port->Receive(absl::MakeSpan(in));
      // One more makes the kernel tell what it has lost.
      socket.Send("10.0.0.1", 4000, "y");
      return port->stats().received + port->stats().receive_dropped >= kFrames;
    })) << port->stats().received
        << " + " << port->stats().receive_dropped;
    EXPECT_GT(port->stats().receive_dropped, 0u);
    EXPECT_GT(port->stats().received, 0u);
  }
}

TEST_F(PacketFramePortTest, FramesForOthersOnlyWhenPromiscuous) {
  const auto transport = OpenPacket();
  const auto curious_transport = OpenPacket("promiscuous: true");
  const auto port = OpenFrames(*transport);
  const auto curious = OpenFrames(*curious_transport);
  const auto socket = ValueOrDie(UdpSocket::Bind(*there_, "10.0.0.2", 0));
  ASSERT_TRUE(there_->Ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev far0").ok());
  ASSERT_TRUE(socket.Send("10.0.0.9", 4000, "for another"));
  ASSERT_TRUE(socket.Send("10.0.0.1", 4000, "for us"));
  EXPECT_EQ(UdpPayload(ReceiveUdp(*port)), "for us");
  EXPECT_EQ(UdpPayload(ReceiveUdp(*curious)), "for another");
  EXPECT_EQ(UdpPayload(ReceiveUdp(*curious)), "for us");
  EXPECT_TRUE(absl::StrContains(here_->Run("ip -d link show near0").output, "promiscuity 1"));
}

TEST_F(PacketFramePortTest, GroupsAreThoseOfTheFilter) {
  const auto transport = OpenPacket();
  const auto port = OpenFrames(*transport);
  const auto groups = [&] { return here_->Run("ip maddr show dev near0").output; };
  const MacAddress one = {0x01, 0, 0x5e, 1, 2, 3};
  const MacAddress two = {0x01, 0, 0x5e, 4, 5, 6};
  EXPECT_TRUE(absl::StrContains(here_->Run("ip -d link show near0").output, "allmulti 1"));
  ASSERT_TRUE(port->SetFilter({}, {one, two}).ok());
  EXPECT_TRUE(absl::StrContains(here_->Run("ip -d link show near0").output, "allmulti 0"));
  EXPECT_TRUE(absl::StrContains(groups(), ToString(one)));
  EXPECT_TRUE(absl::StrContains(groups(), ToString(two)));
  ASSERT_TRUE(port->SetFilter({}, {two}).ok());
  EXPECT_FALSE(absl::StrContains(groups(), ToString(one)));
  EXPECT_TRUE(absl::StrContains(groups(), ToString(two)));
}

TEST_F(PacketFramePortTest, AnInterfaceThatIsRemovedEndsThePort) {
  const auto transport = OpenPacket();
  const auto port = OpenFrames(*transport);
  ASSERT_TRUE(here_->Ip("link del near0").ok());
  Buffer in[1];
  EXPECT_TRUE(Until([&] {
    port->Receive(absl::MakeSpan(in));
    return !port->status().ok();
  }));
  EXPECT_TRUE(absl::StrContains(port->status().message(), "near0")) << port->status();
  EXPECT_FALSE(port->link_up());
  Buffer out[] = {FrameOf(*port, kFarMac, 0x88b5, "x")};
  EXPECT_EQ(port->Send(absl::MakeSpan(out)), 0u);
  EXPECT_TRUE(out[0]);
}

TEST_F(PacketFramePortTest, ErrorsSayWhatToDo) {
  const absl::Status missing = OpenError("interface: 'none0'");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(missing.message(), "near0")) << missing;
  const absl::Status loopback = OpenError("interface: 'lo'");
  EXPECT_EQ(loopback.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(loopback.message(), "Ethernet")) << loopback;
  WithoutCapabilities([] {
    const absl::Status refused = OpenError("interface: 'near0'");
    EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_TRUE(absl::StrContains(refused.message(), "cap_net_raw")) << refused;
  });
  ASSERT_TRUE(here_->Ip("link set near0 down").ok());
  const absl::Status down = OpenError("interface: 'near0'");
  EXPECT_EQ(down.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(down.message(), "ip link set near0 up")) << down;

  const auto plain = OpenLinux();
  EXPECT_FALSE(plain->capabilities().frames);
  EXPECT_TRUE(absl::StrContains(plain->OpenFramePort({}).status().message(), "packet {"));
  ASSERT_TRUE(here_->Ip("link set near0 up").ok());
  const auto transport = OpenPacket();
  EXPECT_EQ(transport->OpenFramePort({.local = At("10.0.0.1:1")}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Queues are threads' own: nothing is shared on the way.
TEST_F(PacketFramePortTest, TwoThreadsWithAQueueEach) {
  constexpr int kFlows = 32;
  constexpr int kRounds = 50;
  const auto transport = OpenPacket();
  std::atomic<bool> stop{false};
  std::atomic<int> ready{0};
  std::atomic<uint64_t> echoed[2] = {};
  std::vector<std::thread> threads;
  for (int queue = 0; queue < 2; ++queue) {
    threads.emplace_back([&, queue] {
      const auto port = OpenFrames(*transport, queue, 2);
      ready.fetch_add(1);
      while (!stop.load()) {
        Buffer burst[8];
        const size_t n = port->Receive(absl::MakeSpan(burst));
        if (n == 0) std::this_thread::yield();
        for (Buffer& frame : absl::MakeSpan(burst, n)) {
          if (LoadBig16(frame.data() + 12) != 0x0800) continue;
          // Back with addresses and ports exchanged, which changes no checksum.
          std::string bytes = Text(frame);
          for (const auto& [from, to, size] : {std::tuple{0, 6, 6}, {26, 30, 4}, {34, 36, 2}}) {
            std::memcpy(frame.data() + to, bytes.data() + from, static_cast<size_t>(size));
            std::memcpy(frame.data() + from, bytes.data() + to, static_cast<size_t>(size));
          }
          Buffer out[] = {std::move(frame)};
          while (port->Send(absl::MakeSpan(out)) == 0 && !stop.load()) continue;
          echoed[queue].fetch_add(1);
        }
      }
    });
  }
  while (ready.load() < 2) std::this_thread::yield();
  std::vector<UdpSocket> sockets;
  for (int i = 0; i < kFlows; ++i) {
    sockets.push_back(ValueOrDie(UdpSocket::Bind(*there_, "10.0.0.2", 0)));
  }
  for (int round = 0; round < kRounds; ++round) {
    for (const UdpSocket& socket : sockets) {
      ASSERT_TRUE(socket.Send("10.0.0.1", 4000, absl::StrCat("round ", round)));
    }
    for (const UdpSocket& socket : sockets) {
      ASSERT_EQ(socket.Receive(), absl::StrCat("round ", round));
    }
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(echoed[0].load(), 0u);
  EXPECT_GT(echoed[1].load(), 0u);
  EXPECT_EQ(echoed[0].load() + echoed[1].load(), uint64_t{kFlows * kRounds});
}

}  // namespace
}  // namespace weft::linux_transport
