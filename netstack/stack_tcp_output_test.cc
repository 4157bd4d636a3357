// SPDX-License-Identifier: Apache-2.0
//
// TCP segments that a handler sends: headers, checksums, offloads, what does not fit, and what the
// device does not take.
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/netstack/segment_test_util.h"
#include "weft/netstack/stack_test_util.h"

namespace weft::netstack {
namespace {

const Bytes kNoops = FromHex("01010101 01010101 01010101");  // 12 bytes of options

// Parameter: IPv4.
class StackTcpOutputTest : public StackTest, public testing::WithParamInterface<bool> {
 protected:
  bool v4() const { return GetParam(); }
  IpAddress ours() const { return Ip(v4() ? kOurs4 : kOurs6); }
  IpAddress peer() const { return Ip(v4() ? kPeer4 : kPeer6); }
  size_t headers() const { return (v4() ? 20 : 40) + 20; }

  OutgoingSegment Segment(const SegmentSpec& spec, const Bytes& payload) {
    return {.buffer = FillSegment(stack_->Allocate(), spec, payload),
            .source = ours(),
            .destination = peer()};
  }
  // Larger than a frame; to be cut into pieces of `segment_bytes`, with 12 bytes of options.
  OutgoingSegment Large(const Bytes& payload, uint16_t segment_bytes, uint8_t flags = kTcpAck) {
    OutgoingSegment large = {
        .buffer = FillSegment(large_.Allocate(), {.flags = flags, .options = kNoops}, payload),
        .source = ours(),
        .destination = peer()};
    large.buffer.offload() = {
        .flags = FrameOffload::kSegment, .l4_bytes = 32, .segment_bytes = segment_bytes};
    return large;
  }
  size_t Send(OutgoingSegment& segment) { return stack_->SendSegments({&segment, 1}); }
  // Of segments that were heard, in their order; checks that they follow each other.
  Bytes Joined(const std::vector<Packet>& packets) {
    Bytes all;
    for (const Packet& packet : packets) {
      TcpView tcp;
      EXPECT_TRUE(TcpView::Parse(packet.upper, &tcp));
      EXPECT_EQ(tcp.sequence(), 1000u + all.size());
      const absl::Span<const uint8_t> payload = tcp.payload();
      all.insert(all.end(), payload.begin(), payload.end());
    }
    return all;
  }

  BufferPool large_{{.count = 8, .bytes = 66'000, .headroom = 128}};
};

INSTANTIATE_TEST_SUITE_P(Families, StackTcpOutputTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "ipv4" : "ipv6"; });

TEST_P(StackTcpOutputTest, SegmentsOfEachSizeWithAndWithoutOffload) {
  for (const bool offload : {false, true}) {
    checksum_offload_ = offload;
    OpenStack();
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{2}, size_t{999}, 1500 - headers()}) {
      const Bytes payload = Pattern(bytes, bytes);
      OutgoingSegment segment = Segment({.source_port = 80, .destination_port = 50000}, payload);
      segment.ecn = 2;
      segment.dscp = 46;
      segment.ttl = 7;
      ASSERT_EQ(Send(segment), 1u);
      EXPECT_FALSE(segment.buffer);
      const std::vector<Packet> heard = Packets(Run());
      ASSERT_EQ(heard.size(), 1u);
      EXPECT_EQ(heard[0].protocol, 6);
      EXPECT_EQ(heard[0].source, ours());
      EXPECT_EQ(heard[0].destination, peer());
      EXPECT_EQ(heard[0].traffic_class, 46 << 2 | 2);
      EXPECT_EQ(heard[0].ttl, 7);
      EXPECT_EQ(heard[0].dont_fragment, v4());
      EXPECT_EQ(heard[0].source_port(), 80);
      EXPECT_EQ(Slice(heard[0].upper, kTcpHeaderBytes), payload);
    }
    EXPECT_EQ(device_->checksum_requests, offload ? 5u : 0u);
    EXPECT_EQ(stats().segments_sent.value(), 5u);
    EXPECT_TRUE(NothingHeld());
  }
}

TEST_P(StackTcpOutputTest, WithoutWishesItIsTheStacksTtlAndNoMark) {
  config::Netstack config = Config();
  config.set_ttl(33);
  OpenStack(config);
  OutgoingSegment segment = Segment({}, {});
  ASSERT_EQ(Send(segment), 1u);
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].ttl, 33);
  EXPECT_EQ(heard[0].traffic_class, 0);
}

TEST_P(StackTcpOutputTest, WhatIsKeptIsSentAgainWithoutACopy) {
  OpenStack();
  const Bytes payload = Pattern(500);
  Buffer buffer = FillSegment(stack_->Allocate(), {}, payload);
  const size_t headroom = buffer.headroom();
  const size_t size = buffer.size();
  Buffer kept = buffer.Share();
  for (int round = 0; round < 3; ++round) {
    OutgoingSegment segment = {
        .buffer = std::move(buffer), .source = ours(), .destination = peer()};
    ASSERT_EQ(Send(segment), 1u);
    const std::vector<Packet> heard = Packets(Run());
    ASSERT_EQ(heard.size(), 1u);
    EXPECT_EQ(Slice(heard[0].upper, kTcpHeaderBytes), payload);
    ASSERT_FALSE(kept.is_shared());
    kept.SetData(headroom, size);
    buffer = kept.Share();
  }
}

TEST_P(StackTcpOutputTest, WhatTheDeviceDoesNotTakeStaysAsItWas) {
  for (const bool offload : {false, true}) {
    checksum_offload_ = offload;
    OpenStack();
    std::vector<OutgoingSegment> burst(40);
    for (size_t i = 0; i < burst.size(); ++i) {
      burst[i] = Segment({.sequence = static_cast<uint32_t>(i)}, Pattern(10, i));
    }
    device_->send_max = 7;
    EXPECT_EQ(stack_->SendSegments(absl::MakeSpan(burst)), 7u);
    EXPECT_EQ(stats().segments_blocked.value(), 1u);
    EXPECT_EQ(stats().segments_sent.value(), 7u);
    for (size_t i = 7; i < burst.size(); ++i) {
      ASSERT_TRUE(burst[i].buffer);
      EXPECT_EQ(burst[i].buffer.size(), kTcpHeaderBytes + 10);
      EXPECT_EQ(burst[i].buffer.offload().flags, 0);
    }
    device_->send_max = 0;
    EXPECT_EQ(stack_->SendSegments(absl::MakeSpan(burst).subspan(7)), 0u);
    device_->send_max = SIZE_MAX;
    EXPECT_EQ(stack_->SendSegments(absl::MakeSpan(burst).subspan(7)), 33u);
    const std::vector<Packet> heard = Packets(Run());
    ASSERT_EQ(heard.size(), 40u);
    for (size_t i = 0; i < heard.size(); ++i) {
      EXPECT_EQ(heard[i].upper[7], i);
      EXPECT_EQ(Slice(heard[i].upper, kTcpHeaderBytes), Pattern(10, i));
    }
    EXPECT_TRUE(NothingHeld());
  }
}

TEST_P(StackTcpOutputTest, WhatCanNeverBeSentIsDroppedAndCounted) {
  OpenStack();
  std::vector<OutgoingSegment> burst(7);
  burst[0] = {};  // null
  burst[1] = Segment({}, {});
  burst[1].buffer.TrimBack(1);  // shorter than its header
  burst[2] = Segment({}, {});
  burst[2].destination = Ip(v4() ? "224.0.0.1" : "ff02::1");
  burst[3] = Segment({}, {});
  burst[3].source = Ip(v4() ? kOurs6 : kOurs4);  // of the other family
  burst[4] = Segment({}, {});
  burst[4].buffer.Prepend(burst[4].buffer.headroom());  // no room for headers
  burst[4].buffer.data()[kTcpDataOffsetOffset] = 0x50;
  burst[5] = Segment({}, {});
  burst[5].destination = Ip(v4() ? "192.168.9.9" : "fd99::1");  // no route leads there
  burst[6] = Segment({}, {});
  burst[6].destination = Ip(v4() ? "10.0.0.255" : "ff02::2");  // to everybody
  EXPECT_EQ(stack_->SendSegments(absl::MakeSpan(burst)), 7u);
  EXPECT_TRUE(Run().empty());
  EXPECT_EQ(stats().send_dropped.value(), 6u);
  EXPECT_EQ(stats().no_route.value(), 1u);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpOutputTest, SegmentsWaitForTheirNeighbour) {
  OpenStack(ConfigWithoutNeighbors());
  OutgoingSegment segment = Segment({}, Pattern(50));
  ASSERT_EQ(Send(segment), 1u);
  const std::vector<Frame> asked = Run();
  ASSERT_EQ(asked.size(), 1u);
  if (v4()) {
    SendTo(our_mac(), kTypeArp, ArpMessage(2, peer_mac(), kPeer4, our_mac(), kOurs4));
  } else {
    Bytes target(16);
    std::copy_n(peer().bytes(), 16, target.begin());
    const Bytes option = Join(std::vector<Bytes>{{2, 1}, MacBytes(peer_mac())});
    SendIp(WithHopLimit(Ipv6Packet({.source = kPeer6, .destination = kOurs6, .next_header = 58},
                                   Icmp6Message(peer(), ours(), 136, 0, 0x60000000,
                                                Join(std::vector<Bytes>{target, option}))),
                        255));
  }
  const std::vector<Packet> heard = Packets(Run(), 6);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].mac_to, peer_mac());
  EXPECT_EQ(Slice(heard[0].upper, kTcpHeaderBytes), Pattern(50));
}

// More waits for a neighbour than may: the oldest goes, and nothing else is held up.
TEST_P(StackTcpOutputTest, WhatWaitsForNeighboursIsBounded) {
  OpenStack(ConfigWithoutNeighbors());
  for (int i = 0; i < 1000; ++i) {
    OutgoingSegment segment = Segment({}, {});
    if (!segment.buffer) break;
    ASSERT_EQ(Send(segment), 1u);
  }
  EXPECT_GT(device_->pool().available(), kBuffers / 2);
}

TEST_P(StackTcpOutputTest, TheDeviceCutsWhatItCan) {
  checksum_offload_ = segmentation_offload_ = true;
  OpenStack();
  const Bytes payload = Pattern(20'000);
  OutgoingSegment large = Large(payload, 1400, kTcpAck | kTcpPush | kTcpFin);
  large.ecn = 2;
  ASSERT_EQ(Send(large), 1u);
  const std::vector<Packet> heard = Packets(Run());
  EXPECT_EQ(device_->segment_requests, 1u);
  EXPECT_EQ(stats().segments_cut.value(), 0u);
  ASSERT_EQ(heard.size(), 15u);
  EXPECT_EQ(Joined(heard), payload);
  for (size_t i = 0; i < heard.size(); ++i) {
    EXPECT_EQ(heard[i].traffic_class, 2);
    EXPECT_EQ(heard[i].upper[kTcpFlagsOffset],
              i + 1 < heard.size() ? kTcpAck : kTcpAck | kTcpPush | kTcpFin);
  }
}

TEST_P(StackTcpOutputTest, TheStackCutsWhatTheDeviceCannot) {
  OpenStack();
  const Bytes payload = Pattern(20'000);
  OutgoingSegment large = Large(payload, 1400);
  Buffer kept = large.buffer.Share();
  ASSERT_EQ(Send(large), 1u);
  EXPECT_FALSE(kept.is_shared());
  const std::vector<Packet> heard = Packets(Run());
  EXPECT_EQ(stats().segments_cut.value(), 1u);
  ASSERT_EQ(heard.size(), 15u);
  EXPECT_EQ(Joined(heard), payload);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpOutputTest, PiecesFitThePathWhateverWasAskedFor) {
  for (const bool offload : {false, true}) {
    checksum_offload_ = segmentation_offload_ = offload;
    OpenStack();
    const Bytes payload = Pattern(20'000);
    OutgoingSegment large = Large(payload, 9000);
    ASSERT_EQ(Send(large), 1u);
    const std::vector<Packet> heard = Packets(Run());
    EXPECT_EQ(Joined(heard), payload);
    for (const Packet& packet : heard) EXPECT_LE(packet.whole.size(), 1500u);
  }
}

TEST_P(StackTcpOutputTest, WhatFitsOneSegmentIsNotCut) {
  checksum_offload_ = segmentation_offload_ = true;
  OpenStack();
  OutgoingSegment small = Large(Pattern(1000), 1400);
  ASSERT_EQ(Send(small), 1u);
  EXPECT_EQ(Packets(Run()).size(), 1u);
  EXPECT_EQ(device_->segment_requests, 0u);
  EXPECT_EQ(device_->checksum_requests, 1u);
}

TEST_P(StackTcpOutputTest, LargeSegmentsThatAreNotTakenKeepTheirRequest) {
  checksum_offload_ = segmentation_offload_ = true;
  OpenStack();
  device_->send_max = 0;
  OutgoingSegment large = Large(Pattern(20'000), 1400);
  EXPECT_EQ(Send(large), 0u);
  ASSERT_TRUE(large.buffer);
  EXPECT_EQ(large.buffer.size(), 20'032u);
  EXPECT_EQ(large.buffer.offload().flags, FrameOffload::kSegment);
  device_->send_max = SIZE_MAX;
  EXPECT_EQ(Send(large), 1u);
  EXPECT_EQ(Joined(Packets(Run())), Pattern(20'000));
}

// Pieces that the device has no room for go first when it has, and nothing overtakes them.
TEST_P(StackTcpOutputTest, PiecesThatWaitGoFirst) {
  OpenStack();
  device_->send_max = 4;
  OutgoingSegment burst[] = {Large(Pattern(60'000), 1400),
                             Segment({.sequence = 61'000}, Pattern(10))};
  ASSERT_EQ(stack_->SendSegments(burst), 1u);
  OutgoingSegment& next = burst[1];
  EXPECT_EQ(Send(next), 0u);
  EXPECT_TRUE(next.buffer);
  device_->send_max = 0;
  EXPECT_EQ(Send(next), 0u);
  device_->send_max = SIZE_MAX;
  std::vector<Packet> heard = Packets(Run());
  EXPECT_EQ(Joined(heard), Pattern(60'000)) << "the stack goes on by itself";
  EXPECT_EQ(Send(next), 1u);
  EXPECT_EQ(Packets(Run()).size(), 1u);
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpOutputTest, WithoutBuffersToCutIntoItIsTriedAgain) {
  OpenStack();
  std::vector<Buffer> held;
  while (device_->pool().available() > 5) held.push_back(stack_->Allocate());
  OutgoingSegment large = Large(Pattern(20'000), 1400);
  EXPECT_EQ(Send(large), 0u);
  EXPECT_TRUE(large.buffer);
  held.clear();
  EXPECT_EQ(Send(large), 1u);
  EXPECT_EQ(Joined(Packets(Run())), Pattern(20'000));
  // Crumbs that no pool has buffers for.
  large = Large(Pattern(20'000), 1);
  EXPECT_EQ(Send(large), 1u);
  EXPECT_EQ(stats().send_dropped.value(), 1u);
}

TEST_P(StackTcpOutputTest, LargeSegmentsToOurselvesAreCutToo) {
  OpenStack();
  TestHandler handler(stack_.get());
  handler.ports = {80};
  OutgoingSegment large = Large(Pattern(20'000), 1400);
  large.destination = ours();
  ASSERT_EQ(Send(large), 1u);
  Run();
  Bytes all;
  for (const TestHandler::Heard& heard : handler.heard) {
    const Bytes payload = heard.payload();
    all.insert(all.end(), payload.begin(), payload.end());
  }
  EXPECT_EQ(all, Pattern(20'000));
  EXPECT_TRUE(NothingHeld());
}

TEST_P(StackTcpOutputTest, WhatIsTooLongForItsPathGoesInFragments) {
  OpenStack();
  OutgoingSegment large = Large(Pattern(4000), 1400);
  large.buffer.offload() = {};  // it asks for nothing
  ASSERT_EQ(Send(large), 1u);
  const std::vector<Packet> heard = Packets(Run());
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_TRUE(heard[0].more);
  EXPECT_FALSE(heard[0].dont_fragment);
  EXPECT_EQ(heard[1].offset, heard[0].upper.size());
  EXPECT_EQ(stats().fragmented.value(), 1u);
}

// RFC 1191, 3: what cannot become smaller is sent so that routers may cut it.
TEST_P(StackTcpOutputTest, AtTheFloorOfPathsPacketsMayBreak) {
  if (!v4()) GTEST_SKIP() << "routers of IPv6 cut nothing";
  config::Netstack config = Config();
  config.set_mtu(552);
  config.clear_addresses();
  config.add_addresses("10.0.0.1/24");
  config.mutable_neighbors()->RemoveLast();
  OpenStack(config);
  OutgoingSegment first = Segment({}, Pattern(100));
  OutgoingSegment second = Segment({}, Pattern(100));
  ASSERT_EQ(Send(first), 1u);
  ASSERT_EQ(Send(second), 1u);
  const std::vector<Packet> heard = Packets(Run(), 6);
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_FALSE(heard[0].dont_fragment);
  EXPECT_NE(heard[0].id, heard[1].id);
}

TEST_P(StackTcpOutputTest, NothingIsAllocated) {
  OpenStack();
  TestHandler handler(stack_.get());
  const auto round = [&] {
    OutgoingSegment burst[8];
    for (OutgoingSegment& segment : burst) {
      Buffer buffer = stack_->Allocate();
      TcpFields{.source_port = 80, .flags = kTcpAck}.Write(buffer.Append(kTcpHeaderBytes));
      segment = {.buffer = std::move(buffer), .source = ours(), .destination = peer()};
    }
    return stack_->SendSegments(absl::MakeSpan(burst));
  };
  device_->send_max = 0;  // the simulated network would allocate
  EXPECT_EQ(round(), 0u);
  const int64_t before = AllocationsOfThisThread();
  EXPECT_EQ(round(), 0u);
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

}  // namespace
}  // namespace weft::netstack
