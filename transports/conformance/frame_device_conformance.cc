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
#include "weft/transports/conformance/packet.h"

namespace weft {
namespace {

constexpr size_t kL3 = kFrameHeaderBytes;

class FrameDeviceConformance : public FrameTest {
 protected:
  Buffer Make(FramePort& from, const MacAddress& to, const Packet& packet) {
    return Frame(from.pool(), to, from.mac(), packet.Bytes(), packet.type());
  }
  static void ExpectGoodChecksums(const Buffer& frame) {
    EXPECT_TRUE(HasGoodChecksums(frame)) << "of " << frame.size() << " bytes";
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
    // The device's thread may have changed the link since the port last looked.
    EXPECT_TRUE(Until([&] {
      a->Receive({});
      return a->has_events();
    }));
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
    for (const uint8_t protocol : {kProtocolTcp, kProtocolUdp}) {
      for (const size_t size : {1, 64, 601}) {
        const Packet packet = {
            .ipv4 = ipv4, .protocol = protocol, .payload = RandomBytes(size, size)};
        Buffer frame = Make(*a, b->mac(), packet);
        RequestChecksums(packet, frame);
        ASSERT_TRUE(Send(*a, std::move(frame)));
        const Buffer got = Receive(*b);
        ASSERT_TRUE(got);
        ExpectGoodChecksums(got);
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
    const Packet packet = {.ipv4 = ipv4,
                           .protocol = kProtocolTcp,
                           .payload = RandomBytes(kPieces * kPieceBytes, ipv4)};
    Buffer frame = Make(*a, b->mac(), packet);
    RequestSegments(packet, kPieceBytes, frame);
    ASSERT_TRUE(Send(*a, std::move(frame)));
    std::string got(packet.payload.size(), '\0');
    size_t bytes = 0;
    while (bytes < got.size()) {
      const Buffer piece = Receive(*b);
      ASSERT_TRUE(piece) << bytes;
      ExpectGoodChecksums(piece);
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
