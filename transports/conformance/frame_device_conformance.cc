// SPDX-License-Identifier: Apache-2.0
//
// What frame_port.h promises of devices: queues, filters, links, offloads.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weft/core/bytes.h"
#include "weft/transports/conformance/frame_conformance.h"

namespace weft {
namespace {

using Flag = FrameOffload::Flag;

constexpr size_t kL3 = kFrameHeaderBytes;
constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;

// The Internet checksum's sum (RFC 1071), folded, not complemented.
uint16_t Sum(const uint8_t* bytes, size_t size, uint32_t sum = 0) {
  for (size_t i = 0; i + 1 < size; i += 2) sum += LoadBig16(bytes + i);
  if (size % 2 != 0) sum += uint32_t{bytes[size - 1]} << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// TCP or UDP over IPv4 or IPv6, without the checksums. The flow is `source_port`'s.
struct Packet {
  bool ipv4 = true;
  uint8_t protocol = kUdp;
  uint16_t source_port = 4000;
  std::string payload;

  size_t l3_bytes() const { return ipv4 ? 20 : 40; }
  size_t l4_bytes() const { return protocol == kTcp ? 20 : 8; }
  size_t l4() const { return kL3 + l3_bytes(); }
  size_t checksum() const { return l4() + (protocol == kTcp ? 16 : 6); }
  uint16_t type() const { return ipv4 ? 0x0800 : 0x86dd; }

  std::string Bytes() const {
    const size_t segment = l4_bytes() + payload.size();
    std::string bytes(l3_bytes() + l4_bytes(), '\0');
    auto* const ip = reinterpret_cast<uint8_t*>(bytes.data());
    if (ipv4) {
      ip[0] = 0x45;
      StoreBig16(ip + 2, static_cast<uint16_t>(20 + segment));
      ip[8] = 64;
      ip[9] = protocol;
      StoreBig32(ip + 12, 0x0a000001);  // 10.0.0.1, 10.0.0.2
      StoreBig32(ip + 16, 0x0a000002);
    } else {
      ip[0] = 0x60;
      StoreBig16(ip + 4, static_cast<uint16_t>(segment));
      ip[6] = protocol;
      ip[7] = 64;
      ip[8] = ip[24] = 0xfd;  // fd00::1, fd00::2
      ip[23] = 1;
      ip[39] = 2;
    }
    uint8_t* const l4 = ip + l3_bytes();
    StoreBig16(l4, source_port);
    StoreBig16(l4 + 2, 5000);
    if (protocol == kTcp) {
      l4[12] = 5 << 4;
      l4[13] = 0x10;  // ACK
    } else {
      StoreBig16(l4 + 4, static_cast<uint16_t>(segment));
    }
    return bytes + payload;
  }
};

uint16_t PseudoHeaderSum(const uint8_t* ip, const Packet& packet, size_t segment) {
  const uint32_t rest = static_cast<uint32_t>(segment) + packet.protocol;
  return packet.ipv4 ? Sum(ip + 12, 8, rest) : Sum(ip + 8, 32, rest);
}

class FrameDeviceConformance : public FrameTest {
 protected:
  Buffer Make(FramePort& from, const MacAddress& to, const Packet& packet) {
    return Frame(from.pool(), to, from.mac(), packet.Bytes(), packet.type());
  }
  static void FillIpChecksum(Buffer& frame) {
    StoreBig16(frame.data() + kL3 + 10, static_cast<uint16_t>(~Sum(frame.data() + kL3, 20)));
  }
  // Asks the device for both checksums.
  static void RequestChecksums(Buffer& frame, const Packet& packet) {
    FrameOffload& offload = frame.offload();
    offload.flags = Flag::kSendL4Checksum | (packet.protocol == kTcp ? Flag::kTcp : Flag::kUdp);
    offload.flags |= packet.ipv4 ? Flag::kIpv4 | Flag::kSendIpChecksum : Flag::kIpv6;
    offload.l2_bytes = kL3;
    offload.l3_bytes = static_cast<uint16_t>(packet.l3_bytes());
    StoreBig16(
        frame.data() + packet.checksum(),
        PseudoHeaderSum(frame.data() + kL3, packet, packet.l4_bytes() + packet.payload.size()));
  }
  // Both are right, or the device says so.
  static void ExpectChecksums(const Buffer& frame, const Packet& packet) {
    const uint8_t* const ip = frame.data() + kL3;
    if (packet.ipv4 && (frame.offload().flags & Flag::kIpChecksumGood) == 0) {
      EXPECT_EQ(Sum(ip, 20), 0xffff);
    }
    if (frame.offload().flags & Flag::kL4ChecksumGood) return;
    const size_t segment = packet.ipv4 ? LoadBig16(ip + 2) - 20u : LoadBig16(ip + 4);
    ASSERT_LE(packet.l4() + segment, frame.size());
    EXPECT_EQ(Sum(frame.data() + packet.l4(), segment, PseudoHeaderSum(ip, packet, segment)),
              0xffff);
  }
};

INSTANTIATE_TEST_SUITE_P(Frames, FrameDeviceConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::frames)), AdapterName);

TEST_P(FrameDeviceConformance, QueuesShareWhatArrivesByFlow) {
  const int queues = GetParam().queues;
  if (queues < 2) GTEST_SKIP() << "one queue is all there is";
  constexpr uint16_t kFlows = 64;
  constexpr int kRounds = 3;
  auto a = OpenPort(0);
  std::vector<std::unique_ptr<FramePort>> shared;
  for (int i = 0; i < queues; ++i) shared.push_back(OpenPort(1, i, queues));
  for (const auto& port : shared) EXPECT_EQ(port->mac(), shared[0]->mac());
  std::map<uint16_t, std::multiset<const FramePort*>> receivers;  // by flow
  size_t got = 0;
  for (uint16_t i = 0; i < kFlows * kRounds; ++i) {
    Packet packet;
    packet.source_port = static_cast<uint16_t>(10'000 + i % kFlows);
    Buffer frame = Make(*a, shared[0]->mac(), packet);
    FillIpChecksum(frame);
    ASSERT_TRUE(Send(*a, std::move(frame)));
  }
  EXPECT_TRUE(Until([&] {
    for (const auto& port : shared) {
      Buffer in[8];
      const size_t n = port->Receive(absl::MakeSpan(in));
      got += n;
      for (const Buffer& buffer : absl::MakeSpan(in, n)) {
        receivers[LoadBig16(buffer.data() + kL3 + 20)].insert(port.get());
      }
    }
    return got >= kFlows * kRounds;
  })) << got;
  EXPECT_EQ(receivers.size(), kFlows);
  std::set<const FramePort*> busy;
  for (const auto& [flow, ports] : receivers) {
    EXPECT_EQ(ports.size(), kRounds);
    EXPECT_EQ(ports.count(*ports.begin()), kRounds) << "flow " << flow << " went to several";
    busy.insert(*ports.begin());
  }
  EXPECT_EQ(busy.size(), shared.size()) << "a queue got nothing";
  // Each sends by itself.
  for (const auto& port : shared) ExpectArrives(*port, *a, "from a queue");
}

TEST_P(FrameDeviceConformance, AFilterKeepsWhatItIsToldToKeep) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const MacAddress group = {0x01, 0x00, 0x5e, 0x01, 0x02, 0x03};
  const absl::Status status =
      b->SetFilter({Address::Ipv4({10, 0, 0, 2}, 0), Address::Ipv6({0xfd}, 0)}, {group});
  ASSERT_TRUE(status.ok()) << status;
  Packet packet = {.payload = "unicast"};
  Buffer frame = Make(*a, b->mac(), packet);
  FillIpChecksum(frame);
  ASSERT_TRUE(Send(*a, std::move(frame)));
  EXPECT_EQ(PayloadOf(Receive(*b)).substr(28, 7), "unicast");
  std::string arp(28, '\0');  // a request for 10.0.0.2 (RFC 826)
  for (const auto& [at, byte] : {std::pair{1, 1}, {2, 8}, {4, 6}, {5, 4}, {7, 1}}) {
    arp[static_cast<size_t>(at)] = static_cast<char>(byte);
  }
  StoreBig32(reinterpret_cast<uint8_t*>(arp.data()) + 14, 0x0a000001);
  StoreBig32(reinterpret_cast<uint8_t*>(arp.data()) + 24, 0x0a000002);
  ASSERT_TRUE(Send(*a, Frame(a->pool(), kBroadcast, a->mac(), arp, 0x0806)));
  EXPECT_EQ(PayloadOf(Receive(*b)).substr(0, arp.size()), arp);
  // What is replaced or taken back does no harm either.
  EXPECT_TRUE(b->SetFilter({}, {}).ok());
  EXPECT_TRUE(b->SetFilter({Address::Ipv4({10, 0, 0, 2}, 0)}, {group, group}).ok());
  frame = Make(*a, b->mac(), packet);
  FillIpChecksum(frame);
  ASSERT_TRUE(Send(*a, std::move(frame)));
  EXPECT_TRUE(Receive(*b));
}

TEST_P(FrameDeviceConformance, ALinkThatGoesDownAndUpIsTold) {
  if (!GetParam().set_link) GTEST_SKIP() << "links cannot be taken down";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ExpectTheyTalk(*a, *b);
  PortEvent events[4];
  while (a->TakeEvents(absl::MakeSpan(events)) > 0) continue;
  for (const bool up : {false, true}) {
    ASSERT_TRUE(GetParam().set_link(0, up).ok());
    EXPECT_TRUE(UntilLinkIs(*a, up));
    ASSERT_EQ(a->TakeEvents(absl::MakeSpan(events)), 1u);
    EXPECT_EQ(events[0].kind, up ? PortEvent::Kind::kLinkUp : PortEvent::Kind::kLinkDown);
    EXPECT_FALSE(a->has_events());
    if (up) break;
    // Nothing is stuck: a frame is lost, or kept for later.
    Buffer out[] = {Frame(a->pool(), b->mac(), a->mac(), "lost")};
    a->Send(absl::MakeSpan(out));
  }
  EXPECT_TRUE(a->status().ok()) << a->status();
  // The network may take a moment longer to believe it.
  EXPECT_TRUE(Until([&] {
    Buffer out[] = {Frame(a->pool(), b->mac(), a->mac(), "again")};
    if (out[0]) a->Send(absl::MakeSpan(out));
    Buffer in[1];
    return b->Receive(absl::MakeSpan(in)) == 1 && PayloadOf(in[0]).substr(0, 5) == "again";
  }));
}

TEST_P(FrameDeviceConformance, ALinkThatChangesWakesWhoWaits) {
  if (!GetParam().set_link || !transport().capabilities().can_wait) {
    GTEST_SKIP() << "links cannot be taken down, or ports not be waited for";
  }
  auto a = OpenPort(0);
  Buffer in[4];
  ASSERT_TRUE(GetParam().set_link(0, false).ok());
  while (a->link_up()) {
    ASSERT_TRUE(WaitFor(*a)) << "slept through it";
    a->Receive(absl::MakeSpan(in));
  }
  ASSERT_TRUE(GetParam().set_link(0, true).ok());
  while (!a->link_up()) {
    ASSERT_TRUE(WaitFor(*a)) << "slept through it";
    a->Receive(absl::MakeSpan(in));
  }
}

TEST_P(FrameDeviceConformance, ChecksumsAreFilledInOnRequest) {
  if (!transport().capabilities().checksum_offload) GTEST_SKIP() << "no checksum offload";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (const bool ipv4 : {true, false}) {
    for (const uint8_t protocol : {kTcp, kUdp}) {
      for (const size_t size : {1, 64, 601}) {
        const Packet packet = {
            .ipv4 = ipv4, .protocol = protocol, .payload = RandomBytes(size, size)};
        Buffer frame = Make(*a, b->mac(), packet);
        RequestChecksums(frame, packet);
        ASSERT_TRUE(Send(*a, std::move(frame)));
        const Buffer got = Receive(*b);
        ASSERT_TRUE(got);
        ExpectChecksums(got, packet);
        EXPECT_EQ(PayloadOf(got).substr(packet.l3_bytes() + packet.l4_bytes(), size),
                  packet.payload);
      }
    }
  }
  EXPECT_EQ(a->stats().send_failed, 0u);
}

// TCP may arrive in the pieces that were asked for, or joined again.
TEST_P(FrameDeviceConformance, SegmentsAreCutOnRequest) {
  if (!transport().capabilities().segmentation_offload) GTEST_SKIP() << "no segmentation offload";
  constexpr size_t kPieces = 3;
  constexpr uint16_t kPieceBytes = 560;
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (const bool ipv4 : {true, false}) {
    const Packet packet = {
        .ipv4 = ipv4, .protocol = kTcp, .payload = RandomBytes(kPieces * kPieceBytes, ipv4)};
    Buffer frame = Make(*a, b->mac(), packet);
    RequestChecksums(frame, packet);
    frame.offload().flags |= Flag::kSegment;
    frame.offload().l4_bytes = static_cast<uint8_t>(packet.l4_bytes());
    frame.offload().segment_bytes = kPieceBytes;
    ASSERT_TRUE(Send(*a, std::move(frame)));
    std::string got(packet.payload.size(), '\0');
    size_t bytes = 0;
    while (bytes < got.size()) {
      const Buffer piece = Receive(*b);
      ASSERT_TRUE(piece) << bytes;
      ExpectChecksums(piece, packet);
      const size_t at = LoadBig32(piece.data() + packet.l4() + 4);  // the sequence number
      const std::string payload = PayloadOf(piece).substr(packet.l3_bytes() + packet.l4_bytes());
      ASSERT_LE(at + payload.size(), got.size());
      got.replace(at, payload.size(), payload);
      bytes += payload.size();
    }
    EXPECT_EQ(got, packet.payload);
  }
  EXPECT_EQ(a->stats().send_failed, 0u);
}

TEST_P(FrameDeviceConformance, RequestsThatMakeNoSenseAreDroppedOrIgnored) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (uint32_t flags = 0; flags < 128; ++flags) {
    Buffer frame = Frame(a->pool(), b->mac(), a->mac(), std::string(50, 'x'));
    frame.offload() = {.flags = static_cast<uint16_t>(flags),
                       .l2_bytes = 200,
                       .l4_bytes = 255,
                       .l3_bytes = 60'000,
                       .segment_bytes = static_cast<uint16_t>(flags % 3)};
    ASSERT_TRUE(Send(*a, std::move(frame)));
  }
  ExpectTheyTalk(*a, *b);
}

}  // namespace
}  // namespace weft
