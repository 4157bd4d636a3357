// SPDX-License-Identifier: Apache-2.0
//
// Ports of devices that live within this process: net_vhost and net_virtio_user joined by a socket,
// net_ring, net_null.
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/dpdk/dpdk_test_util.h"

namespace weft::dpdk {
namespace {

using ::testing::HasSubstr;

// Two transports, one for each end of a wire.
class WireTest : public testing::Test {
 protected:
  explicit WireTest(const std::string& settings = "", const std::string& rest = "")
      : socket_(absl::StrCat(directory_.path(), "/wire")),
        host_(OpenDpdk(
            absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket_, ",queues=2' ", settings),
            rest)) {
    host_port_ = OpenPort(*host_);
    guest_ = OpenDpdk(
        absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, ",queues=2' ", settings),
        rest);
    if (guest_port_ == nullptr) guest_port_ = OpenPort(*guest_);
    EXPECT_TRUE(AwaitLink(*host_port_, true));
    EXPECT_TRUE(AwaitLink(*guest_port_, true));
  }

  const TemporaryDirectory directory_;
  const std::string socket_;
  std::unique_ptr<Transport> host_;
  std::unique_ptr<Transport> guest_;
  std::unique_ptr<FramePort> host_port_;
  std::unique_ptr<FramePort> guest_port_;
};

TEST_F(WireTest, FramesOfEverySizeArriveAsTheyWere) {
  for (auto [from, to] : {std::pair(host_port_.get(), guest_port_.get()),
                          std::pair(guest_port_.get(), host_port_.get())}) {
    EXPECT_NE(from->mac(), to->mac());
    const size_t max = from->capabilities().max_frame_bytes;
    EXPECT_EQ(max, 1514u);
    for (size_t size = kHeaderBytes; size <= max; size += size < 70 ? 1 : 19) {
      const std::string payload(size - kHeaderBytes, static_cast<char>(size));
      ASSERT_TRUE(Send(*from, Frame(from->pool(), to->mac(), from->mac(), payload)));
      const Buffer got = Receive(*to);
      ASSERT_TRUE(got);
      EXPECT_EQ(PayloadOf(got).substr(0, payload.size()), payload);
      EXPECT_TRUE(to->pool().Owns(got));
    }
    EXPECT_EQ(from->stats().copied_buffers, 0u);
    EXPECT_EQ(to->stats().copied_buffers, 0u);
  }
}

TEST_F(WireTest, WhatIsNoFrameIsDroppedAndCounted) {
  BufferPool large({.count = 8, .bytes = 16384});
  std::vector<Buffer> burst;
  burst.push_back(Frame(host_port_->pool(), kBroadcast, host_port_->mac(), "first"));
  burst.push_back(Frame(host_port_->pool(), kBroadcast, host_port_->mac(), ""));
  burst.back().TrimBack(1);
  burst.push_back(Frame(large, kBroadcast, host_port_->mac(), std::string(1501, 'x')));
  burst.push_back(host_port_->pool().Allocate());
  burst.emplace_back();
  burst.push_back(Frame(host_port_->pool(), kBroadcast, host_port_->mac(), "last"));
  EXPECT_EQ(host_port_->Send(absl::MakeSpan(burst)), 6u);
  for (const Buffer& buffer : burst) EXPECT_FALSE(buffer);
  EXPECT_EQ(host_port_->stats().send_failed, 4u);
  EXPECT_EQ(host_port_->stats().sent, 2u);
  EXPECT_EQ(PayloadOf(Receive(*guest_port_)).substr(0, 5), "first");
  EXPECT_EQ(PayloadOf(Receive(*guest_port_)).substr(0, 4), "last");
}

TEST_F(WireTest, BuffersOfOthersAreCopiedAndCounted) {
  BufferPool other({.count = 8, .bytes = 4096, .headroom = 0});
  std::vector<Buffer> burst;
  burst.push_back(Frame(other, kBroadcast, host_port_->mac(), "copied"));
  burst.push_back(Frame(host_port_->pool(), kBroadcast, host_port_->mac(), "moved"));
  burst.push_back(Frame(guest_port_->pool(), kBroadcast, host_port_->mac(), "another port's"));
  EXPECT_EQ(host_port_->Send(absl::MakeSpan(burst)), 3u);
  EXPECT_EQ(other.available(), 8u);
  EXPECT_EQ(PayloadOf(Receive(*guest_port_)).substr(0, 6), "copied");
  EXPECT_EQ(PayloadOf(Receive(*guest_port_)).substr(0, 5), "moved");
  EXPECT_EQ(PayloadOf(Receive(*guest_port_)).substr(0, 14), "another port's");
  EXPECT_EQ(host_port_->stats().copied_buffers, 2u);
  EXPECT_EQ(host_port_->stats().copied_bytes, 14u + 6 + 14 + 14);
}

TEST_F(WireTest, AFullRingTakesNoMoreUntilThereIsRoom) {
  std::vector<Buffer> burst;
  for (int i = 0; i < 3000; ++i) {
    burst.push_back(Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), std::to_string(i)));
  }
  absl::Span<Buffer> rest = absl::MakeSpan(burst);
  int received = 0;
  while (!rest.empty()) {
    const size_t taken = guest_port_->Send(rest);
    for (const Buffer& buffer : rest.first(taken)) EXPECT_FALSE(buffer);
    rest.remove_prefix(taken);
    for (const Buffer& buffer : rest) EXPECT_TRUE(buffer);
    if (taken > 0) continue;
    for (int i = 0; i < 100; ++i) {
      const std::string number = std::to_string(received++);
      ASSERT_EQ(PayloadOf(Receive(*host_port_)).substr(0, number.size()), number);
    }
  }
  for (; received < 3000; ++received) {
    const std::string number = std::to_string(received);
    ASSERT_EQ(PayloadOf(Receive(*host_port_)).substr(0, number.size()), number);
  }
  EXPECT_GT(guest_port_->stats().send_blocked, 0u);
  EXPECT_EQ(guest_port_->stats().sent, 3000u);
  EXPECT_EQ(guest_port_->stats().send_failed, 0u);
}

TEST_F(WireTest, EveryBufferComesBack) {
  // Those that lie in the rings are the device's until it stops.
  const size_t receive_ring = 1024;
  const size_t send_ring = 1024;
  EXPECT_EQ(host_port_->pool().count(), 4096 + receive_ring + send_ring);
  std::vector<Buffer> all;
  while (Buffer buffer = host_port_->pool().Allocate()) all.push_back(std::move(buffer));
  EXPECT_GE(all.size(), 4096u);
  for (Buffer& buffer : all) std::memset(buffer.Append(buffer.tailroom()), 0xee, 1);
  // Without a buffer nothing is received, but nothing breaks.
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(
        Send(*guest_port_, Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), "waits")));
  }
  Buffer got[4];
  host_port_->Receive(absl::MakeSpan(got));
  // Another thread may free them.
  std::thread([&] { all.clear(); }).join();
  EXPECT_GE(host_port_->pool().available(), 4096u);
  ASSERT_TRUE(
      Send(*guest_port_, Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), "more")));
  EXPECT_TRUE(Receive(*host_port_));
}

TEST_F(WireTest, RequestsThatContradictThemselvesAreRefused) {
  ASSERT_TRUE(guest_port_->capabilities().checksum_offload);
  const FrameOffload good = {
      .flags = FrameOffload::kIpv4 | FrameOffload::kUdp | FrameOffload::kSendL4Checksum,
      .l2_bytes = 14,
      .l3_bytes = 20};
  for (const auto change :
       {+[](FrameOffload& o) { o.l2_bytes = 10; }, +[](FrameOffload& o) { o.l2_bytes = 200; },
        +[](FrameOffload& o) { o.l3_bytes = 19; }, +[](FrameOffload& o) { o.l3_bytes = 512 + 20; },
        +[](FrameOffload& o) { o.l3_bytes = 1000 - 14 - 7; }}) {
    Buffer frame =
        Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), std::string(986, '\0'));
    frame.offload() = good;
    change(frame.offload());
    Buffer burst[] = {std::move(frame)};
    EXPECT_EQ(guest_port_->Send(absl::MakeSpan(burst)), 1u);
  }
  EXPECT_EQ(guest_port_->stats().send_failed, 5u);
  EXPECT_EQ(guest_port_->stats().sent, 0u);
}

TEST_F(WireTest, BuffersOutliveTheirPortAndTransport) {
  ASSERT_TRUE(Send(*guest_port_, Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), "x")));
  Buffer kept = Receive(*host_port_);
  Buffer mine = host_port_->pool().Allocate();
  host_port_.reset();
  host_.reset();
  EXPECT_EQ(PayloadOf(kept).substr(0, 1), "x");
  std::memset(mine.Append(100), 1, 100);
}

TEST_F(WireTest, PortsAndTransportsAreOpenedAgain) {
  for (int i = 0; i < 3; ++i) {
    if (i == 2) {
      host_port_.reset();  // the other end stays connected
      host_port_ = OpenPort(*host_);
    } else {
      guest_port_.reset();
      EXPECT_TRUE(AwaitLink(*host_port_, false));
    }
    if (i == 1) {
      guest_.reset();
      guest_ = OpenDpdk(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket_, "'"));
    }
    if (guest_port_ == nullptr) guest_port_ = OpenPort(*guest_);
    EXPECT_TRUE(AwaitLink(*host_port_, true));
    EXPECT_TRUE(AwaitLink(*guest_port_, true));
    ASSERT_TRUE(
        Send(*guest_port_, Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), "again")));
    ASSERT_TRUE(Receive(*host_port_));
    ASSERT_TRUE(
        Send(*host_port_, Frame(host_port_->pool(), kBroadcast, host_port_->mac(), "again")));
    ASSERT_TRUE(Receive(*guest_port_));
  }
}

TEST_F(WireTest, APortMayBeUsedByAnotherThreadThatBindsIt) {
  std::thread([&] {
    guest_port_->BindToThisThread();
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(Send(*guest_port_,
                       Frame(guest_port_->pool(), kBroadcast, guest_port_->mac(), "elsewhere")));
    }
  }).join();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Receive(*host_port_));
  guest_port_->BindToThisThread();
}

TEST_F(WireTest, Filters) {
  const MacAddress group = {0x01, 0x00, 0x5e, 0, 0, 1};
  EXPECT_TRUE(guest_port_->SetFilter({}, {group}).ok());
  EXPECT_TRUE(guest_port_->SetFilter({}, {}).ok());
  EXPECT_EQ(guest_port_->SetFilter({}, {guest_port_->mac()}).code(),
            absl::StatusCode::kInvalidArgument);
}

size_t OpenFiles() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

// Both ends as the conformance suite has them: transports first, then ports, closed in any order.
TEST(TwoEndsTest, OpenAndCloseInAnyOrder) {
  const TemporaryDirectory directory;
  const std::string socket = absl::StrCat(directory.path(), "/wire");
  const auto host = OpenDpdk(absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket, "'"));
  const auto guest =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket, "'"));
  size_t files = 0;
  for (int i = 0; i < 6; ++i) {
    auto a = OpenPort(i % 2 == 0 ? *host : *guest);
    auto b = OpenPort(i % 2 == 0 ? *guest : *host);
    ASSERT_TRUE(AwaitLink(*a, true));
    ASSERT_TRUE(AwaitLink(*b, true));
    ASSERT_TRUE(Send(*a, Frame(a->pool(), b->mac(), a->mac(), "there")));
    ASSERT_TRUE(Receive(*b));
    ASSERT_TRUE(Send(*b, Frame(b->pool(), a->mac(), b->mac(), "back")));
    ASSERT_TRUE(Receive(*a));
    (i % 3 == 0 ? a : b).reset();
    a.reset();
    b.reset();
    // net_vhost notices on a thread of its own that the other end has gone.
    if (i == 1) {
      files = OpenFiles();
    } else if (i > 1) {
      EXPECT_TRUE(Until([&] { return OpenFiles() <= files; }));
    }
  }
}

// The whole of what was to be cut goes to a peer that wants it so.
TEST(SegmentationTest, OverAWireThatNeedsNoSegments) {
  const TemporaryDirectory directory;
  const std::string socket = absl::StrCat(directory.path(), "/wire");
  const std::string buffers = "buffers { count: 256 bytes: 65535 }";
  const auto host =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket, ",tso=1'"), buffers);
  const auto guest =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket, "'"), buffers);
  const auto a = OpenPort(*host);
  const auto b = OpenPort(*guest);
  ASSERT_TRUE(AwaitLink(*a, true));
  ASSERT_TRUE(b->capabilities().segmentation_offload);
  for (const size_t size : {1000u, 9000u, 60000u}) {
    Buffer frame = b->pool().Allocate();
    uint8_t* bytes = frame.Append(54 + size);
    std::memset(bytes, 0x11, 54 + size);
    bytes[12] = 0x08;
    bytes[13] = 0x00;
    bytes[14] = 0x45;
    bytes[16] = static_cast<uint8_t>((40 + size) >> 8);
    bytes[17] = static_cast<uint8_t>(40 + size);
    bytes[20] = bytes[21] = 0;  // no fragment
    bytes[23] = 6;
    bytes[46] = 5 << 4;
    FrameOffload& offload = frame.offload();
    offload.flags = FrameOffload::kIpv4 | FrameOffload::kTcp | FrameOffload::kSegment;
    offload.l2_bytes = 14;
    offload.l3_bytes = 20;
    offload.l4_bytes = 20;
    offload.segment_bytes = 1400;
    ASSERT_TRUE(Send(*b, std::move(frame)));
    EXPECT_EQ(b->stats().send_failed, 0u);
    const Buffer got = Receive(*a);
    ASSERT_TRUE(got);
    EXPECT_EQ(got.size(), 54 + size);
    EXPECT_TRUE(got.offload().flags & FrameOffload::kL4ChecksumGood);
  }
}

TEST(JumboTest, FramesUpToTheMtu) {
  const TemporaryDirectory directory;
  const std::string socket = absl::StrCat(directory.path(), "/wire");
  const auto host =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_vhost0,iface=", socket, "' mtu: 9000"));
  const auto a = OpenPort(*host);
  const auto guest =
      OpenDpdk(absl::StrCat("virtual_devices: 'net_virtio_user0,path=", socket, "' mtu: 9000"));
  const auto b = OpenPort(*guest);
  ASSERT_TRUE(AwaitLink(*a, true));
  ASSERT_EQ(a->capabilities().max_frame_bytes, 9014u);
  for (auto [from, to] : {std::pair(a.get(), b.get()), std::pair(b.get(), a.get())}) {
    const std::string payload(9000, 'j');
    ASSERT_TRUE(Send(*from, Frame(from->pool(), kBroadcast, from->mac(), payload)));
    const Buffer got = Receive(*to);
    ASSERT_TRUE(got);
    EXPECT_EQ(PayloadOf(got), payload);
    EXPECT_EQ(to->stats().copied_buffers, 0u);
  }
}

// Two queues, each of which loops what it sends.
class RingTest : public testing::Test {
 protected:
  std::unique_ptr<Transport> transport_ = OpenDpdk("virtual_devices: 'net_ring0'");
};

TEST_F(RingTest, QueuesOfADeviceAreOpenedOnceEach) {
  const auto first = OpenPort(*transport_, 0, 2);
  EXPECT_EQ(transport_->OpenFramePort({.queue = 0, .queues = 2}).status().code(),
            absl::StatusCode::kAlreadyExists);
  const auto other = transport_->OpenFramePort({.queue = 0, .queues = 1});
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("runs with 2 queues"));
  EXPECT_EQ(transport_->OpenFramePort({.queue = 2, .queues = 2}).status().code(),
            absl::StatusCode::kInvalidArgument);
  auto second = OpenPort(*transport_, 1, 2);
  second.reset();
  second = OpenPort(*transport_, 1, 2);  // the device went on meanwhile
  ASSERT_TRUE(Send(*second, Frame(second->pool(), kBroadcast, second->mac(), "loop")));
  EXPECT_EQ(PayloadOf(Receive(*second)), "loop");
  Buffer none[1];
  EXPECT_EQ(first->Receive(absl::MakeSpan(none)), 0u);
}

TEST_F(RingTest, ADeviceHasSoManyQueues) {
  const auto port = transport_->OpenFramePort({.queue = 0, .queues = 100});
  EXPECT_EQ(port.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(port.status().message()),
              HasSubstr("device 'net_ring0': it has 16 queues, and 100 are asked for"));
}

// A port that has said nothing receives all groups, whatever another one has said before.
TEST_F(RingTest, GroupsAreThoseOfThePortsThatAreOpen) {
  const auto first = OpenPort(*transport_, 0, 2);
  uint16_t device = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &device), 0);
  EXPECT_EQ(rte_eth_allmulticast_get(device), 1);
  ASSERT_TRUE(first->SetFilter({}, {}).ok());
  EXPECT_EQ(rte_eth_allmulticast_get(device), 0);
  auto second = OpenPort(*transport_, 1, 2);
  EXPECT_EQ(rte_eth_allmulticast_get(device), 1);
  second.reset();
  EXPECT_EQ(rte_eth_allmulticast_get(device), 0);
}

TEST_F(RingTest, FramesInPiecesAreJoinedAndCounted) {
  const auto port = OpenPort(*transport_);
  uint16_t device = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &device), 0);
  rte_mempool* pool = rte_pktmbuf_pool_create("pieces", 63, 0, 0, 512, SOCKET_ID_ANY);
  ASSERT_NE(pool, nullptr);
  for (const int pieces : {1, 3, 20}) {  // alone, but of a foreign pool; in pieces; too long
    rte_mbuf* frame = nullptr;
    for (int i = 0; i < pieces; ++i) {
      rte_mbuf* piece = rte_pktmbuf_alloc(pool);
      std::memset(rte_pktmbuf_append(piece, 200), 'a' + i, 200);
      if (frame == nullptr) {
        frame = piece;
      } else {
        ASSERT_EQ(rte_pktmbuf_chain(frame, piece), 0);
      }
    }
    ASSERT_EQ(rte_eth_tx_burst(device, 0, &frame, 1), 1);
    Buffer got[2];
    const size_t n = port->Receive(absl::MakeSpan(got));
    if (pieces == 20) {
      EXPECT_EQ(n, 0u);
      break;
    }
    ASSERT_EQ(n, 1u);
    ASSERT_EQ(got[0].size(), static_cast<size_t>(200 * pieces));
    EXPECT_EQ(got[0].data()[0], 'a');
    EXPECT_EQ(got[0].data()[got[0].size() - 1], 'a' + pieces - 1);
    EXPECT_TRUE(port->pool().Owns(got[0]));
  }
  EXPECT_EQ(port->stats().copied_buffers, 2u);
  EXPECT_EQ(port->stats().receive_dropped, 1u);
  EXPECT_EQ(rte_mempool_in_use_count(pool), 0u);
  rte_mempool_free(pool);
}

// The device hands over the mbuf that was sent: whoever receives it may write to it, and its sender
// still needs it.
TEST_F(RingTest, WhatItsSenderKeepsIsReceivedAsACopy) {
  const auto port = OpenPort(*transport_);
  Buffer frame = Frame(port->pool(), kBroadcast, port->mac(), "kept");
  const size_t headroom = frame.headroom();
  Buffer kept = frame.Share();
  for (uint64_t round = 1; round <= 3; ++round) {
    ASSERT_TRUE(Send(*port, std::move(frame)));
    EXPECT_TRUE(kept.is_shared());
    Buffer got[1];
    ASSERT_EQ(port->Receive(absl::MakeSpan(got)), 1u);
    EXPECT_NE(got[0].data(), kept.data());
    EXPECT_EQ(got[0].size(), kept.size());
    std::memset(got[0].data(), 0, got[0].size());
    EXPECT_EQ(port->stats().copied_buffers, round);
    ASSERT_FALSE(kept.is_shared());
    kept.SetData(headroom, kept.size());
    EXPECT_EQ(PayloadOf(kept), "kept");
    frame = kept.Share();
  }
  // Nobody keeps it any more.
  kept.Reset();
  const uint8_t* const data = frame.data();
  ASSERT_TRUE(Send(*port, std::move(frame)));
  Buffer got[1];
  ASSERT_EQ(port->Receive(absl::MakeSpan(got)), 1u);
  EXPECT_EQ(got[0].data(), data);
}

// What no honest device says of a frame: that it is longer than the memory it lies in.
TEST_F(RingTest, FramesBeyondTheirMemoryAreDroppedAndCounted) {
  const auto port = OpenPort(*transport_);
  uint16_t device = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &device), 0);
  rte_mempool* pool = rte_pktmbuf_pool_create("liars", 63, 0, 0, 512, SOCKET_ID_ANY);
  ASSERT_NE(pool, nullptr);
  const auto deliver = [&](rte_mbuf* frame) {
    EXPECT_EQ(rte_eth_tx_burst(device, 0, &frame, 1), 1);
    Buffer got[1];
    return port->Receive(absl::MakeSpan(got));
  };
  // Of the port's own pool.
  Buffer mine = Frame(port->pool(), kBroadcast, port->mac(), "mine");
  auto* own = reinterpret_cast<rte_mbuf*>(mine.ReleaseSlot()) - 1;
  rte_pktmbuf_reset(own);
  own->data_len = 60000;
  own->pkt_len = 60000;
  EXPECT_EQ(deliver(own), 0u);
  // In one piece, and in two of which the whole says less than the pieces.
  rte_mbuf* foreign = rte_pktmbuf_alloc(pool);
  foreign->data_len = 60000;
  foreign->pkt_len = 60;
  EXPECT_EQ(deliver(foreign), 0u);
  rte_mbuf* first = rte_pktmbuf_alloc(pool);
  rte_mbuf* second = rte_pktmbuf_alloc(pool);
  rte_pktmbuf_append(first, 100);
  second->data_len = 60000;
  ASSERT_EQ(rte_pktmbuf_chain(first, second), 0);
  first->pkt_len = 100;
  EXPECT_EQ(deliver(first), 0u);
  EXPECT_EQ(port->stats().receive_malformed, 3u);
  EXPECT_EQ(port->stats().receive_dropped, 0u);
  EXPECT_EQ(rte_mempool_in_use_count(pool), 0u);
  rte_mempool_free(pool);
}

// A driver may attach memory of its own to an mbuf of the port's pool.
TEST_F(RingTest, FramesInMemoryOfADriverAreCopied) {
  const auto port = OpenPort(*transport_);
  uint16_t device = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &device), 0);
  alignas(64) static uint8_t memory[1024];
  static int freed = 0;
  uint16_t bytes = sizeof(memory);
  auto* shared = rte_pktmbuf_ext_shinfo_init_helper(
      memory, &bytes, [](void*, void*) { ++freed; }, nullptr);
  ASSERT_NE(shared, nullptr);
  Buffer buffer = port->pool().Allocate();
  std::memset(buffer.Append(100), 'b', 100);
  auto* mbuf = reinterpret_cast<rte_mbuf*>(buffer.ReleaseSlot()) - 1;
  rte_pktmbuf_reset(mbuf);
  rte_pktmbuf_attach_extbuf(mbuf, memory, RTE_BAD_IOVA, bytes, shared);
  std::memset(rte_pktmbuf_append(mbuf, 100), 'm', 100);
  ASSERT_EQ(rte_eth_tx_burst(device, 0, &mbuf, 1), 1);
  Buffer got[1];
  ASSERT_EQ(port->Receive(absl::MakeSpan(got)), 1u);
  EXPECT_EQ(got[0].data()[0], 'm');
  EXPECT_EQ(port->stats().copied_buffers, 1u);
  EXPECT_EQ(freed, 1);
}

TEST_F(RingTest, LostFramesCountTowardsABurst) {
  const auto port = OpenPort(*transport_);
  uint16_t device = 0;
  ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &device), 0);
  for (int i = 0; i < 10; ++i) {
    Buffer buffer = port->pool().Allocate();
    auto* mbuf = reinterpret_cast<rte_mbuf*>(buffer.ReleaseSlot()) - 1;
    rte_pktmbuf_reset(mbuf);
    mbuf->data_len = 60000;
    ASSERT_EQ(rte_eth_tx_burst(device, 0, &mbuf, 1), 1);
  }
  Buffer got[4];
  EXPECT_EQ(port->Receive(absl::MakeSpan(got)), 0u);
  EXPECT_EQ(port->stats().receive_malformed, 4u);
  // net_ring keeps what nobody takes.
  for (int i = 0; i < 2; ++i) EXPECT_EQ(port->Receive(absl::MakeSpan(got)), 0u);
  EXPECT_EQ(port->stats().receive_malformed, 10u);
}

// A device that swallows what is sent and delivers without end.
TEST(NullTest, BurstsOfAnySize) {
  const auto transport = OpenDpdk("virtual_devices: 'net_null0,size=60'");
  const auto port = OpenPort(*transport);
  for (const size_t size : {1u, 31u, 32u, 33u, 64u, 65u, 500u}) {
    std::vector<Buffer> burst(size);
    ASSERT_EQ(port->Receive(absl::MakeSpan(burst)), size);
    for (const Buffer& frame : burst) ASSERT_EQ(frame.size(), 60u);
    ASSERT_EQ(port->Send(absl::MakeSpan(burst)), size);
    for (const Buffer& frame : burst) ASSERT_FALSE(frame);
  }
  EXPECT_EQ(port->stats().received, port->stats().sent);
  EXPECT_TRUE(port->link_up());
}

}  // namespace
}  // namespace weft::dpdk
