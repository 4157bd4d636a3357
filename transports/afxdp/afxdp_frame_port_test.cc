// SPDX-License-Identifier: Apache-2.0
//
// Frames between the two ends of a veth pair.
#include "weft/transports/afxdp/afxdp_frame_port.h"

#include <net/if.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/afxdp/afxdp_test_util.h"

namespace weft::afxdp {
namespace {

std::string Payload(size_t size, char seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(seed + i * 7);
  return bytes;
}

class AfxdpFramePortTest : public VethTest {
 protected:
  // Both ends.
  void OpenBoth(const std::string& afxdp = "", const std::string& buffers = "", int queues = 1) {
    near_ = OpenEnd("near0", afxdp, buffers, queues);
    far_ = There([&] { return OpenEnd("far0", afxdp, buffers, queues); });
  }
  FramePort& near() { return near_.port(); }
  FramePort& far() { return far_.port(); }
  std::string FrameToFar(size_t size, char seed) {
    return EthernetHeader(far().mac(), near().mac()) + Payload(size - 14, seed);
  }

  End near_, far_;
};

class Modes : public AfxdpFramePortTest, public testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(Modes, Modes,
                         testing::Values("mode: NATIVE", "mode: GENERIC", "need_wakeup: false",
                                         "zero_copy: NEVER", "busy_poll_us: 20"));

TEST_P(Modes, FramesOfEverySizeCrossBothWays) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth(GetParam());
  EXPECT_TRUE(near().link_up());
  EXPECT_EQ(near().device_name(), "near0");
  EXPECT_EQ(near().capabilities().max_frame_bytes, 1514u);
  EXPECT_NE(near().mac(), far().mac());
  for (size_t size = 14; size <= 1514; size += size < 70 ? 1 : 95) {
    const std::string there = FrameToFar(size, 'a');
    const std::string back = EthernetHeader(near().mac(), far().mac()) + Payload(size - 14, 'z');
    ASSERT_TRUE(SendText(near(), there));
    EXPECT_EQ(Text(ReceiveOne(far())), there);
    ASSERT_TRUE(SendText(far(), back));
    EXPECT_EQ(Text(ReceiveOne(near())), back);
  }
  EXPECT_EQ(near().stats().copied_buffers, 0u);
  EXPECT_EQ(far().stats().copied_buffers, 0u);
  EXPECT_EQ(near().stats().sent, near().stats().received);
}

TEST_F(AfxdpFramePortTest, AutoTakesNativeWhereTheDriverHasItAndFallsBackFromZeroCopy) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  EXPECT_TRUE(static_cast<AfxdpFramePort&>(near()).is_native());
  EXPECT_FALSE(static_cast<AfxdpFramePort&>(near()).is_zero_copy());
}

TEST_F(AfxdpFramePortTest, AReceivedFrameGoesBackFromWhereItLies) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  const std::string frame = FrameToFar(100, 'a');
  ASSERT_TRUE(SendText(near(), frame));
  Buffer echo[] = {ReceiveOne(far())};
  ASSERT_TRUE(echo[0]);
  // Room for the headers of whoever sends it on.
  EXPECT_GE(echo[0].headroom(), 128u);
  std::memcpy(echo[0].data(), near().mac().data(), 6);
  ASSERT_TRUE(SendAll(far(), absl::MakeSpan(echo)));
  EXPECT_EQ(Text(ReceiveOne(near())).substr(6), frame.substr(6));
  EXPECT_EQ(far().stats().copied_buffers, 0u);
}

TEST_F(AfxdpFramePortTest, BuffersOfOtherPoolsAreCopiedAndCounted) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  BufferPool other({.count = 8});
  const std::string frame = FrameToFar(300, 'a');
  Buffer burst[] = {Frame(other, frame), Frame(near().pool(), frame)};
  ASSERT_TRUE(SendAll(near(), absl::MakeSpan(burst)));
  EXPECT_EQ(Text(ReceiveOne(far())), frame);
  EXPECT_EQ(Text(ReceiveOne(far())), frame);
  EXPECT_EQ(near().stats().copied_buffers, 1u);
  EXPECT_EQ(near().stats().copied_bytes, 300u);
  EXPECT_EQ(other.available(), 8u);
}

TEST_F(AfxdpFramePortTest, WhatIsNoFrameIsDroppedAndCounted) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  BufferPool large({.count = 4, .bytes = 8192});
  std::vector<Buffer> burst;
  burst.push_back(Frame(near().pool(), FrameToFar(14, 'a').substr(1)));
  burst.push_back(Frame(large, FrameToFar(1515, 'a')));
  burst.push_back(near().pool().Allocate());
  burst.emplace_back();
  burst.push_back(Frame(near().pool(), FrameToFar(60, 'a')));
  EXPECT_EQ(near().Send(absl::MakeSpan(burst)), 5u);
  EXPECT_EQ(near().stats().send_failed, 4u);
  EXPECT_EQ(near().stats().sent, 1u);
  EXPECT_EQ(Text(ReceiveOne(far())), FrameToFar(60, 'a'));
}

TEST_F(AfxdpFramePortTest, BurstsLargerThanTheRingsGetThrough) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth("send_descriptors: 64 receive_descriptors: 512");
  std::vector<Buffer> burst;
  for (int i = 0; i < 300; ++i) burst.push_back(Frame(near().pool(), FrameToFar(60 + i, 'a')));
  ASSERT_TRUE(SendAll(near(), absl::MakeSpan(burst)));
  for (int i = 0; i < 300; ++i) ASSERT_EQ(ReceiveOne(far()).size(), 60u + i) << i;
}

// Nothing of a port is lost for good, whoever holds its buffers for however long.
TEST_F(AfxdpFramePortTest, APortWhoseBuffersAreAllHeldLosesFramesAndRecovers) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth("receive_descriptors: 64", "buffers { count: 64 }");
  std::vector<Buffer> held;
  uint64_t sent = 0;
  for (; sent < 200; ++sent) {
    Buffer burst[] = {Frame(near().pool(), FrameToFar(100, 'a'))};
    ASSERT_TRUE(SendAll(near(), absl::MakeSpan(burst)));
    Buffer in[1];
    if (far().Receive(absl::MakeSpan(in)) == 1) held.push_back(std::move(in[0]));
  }
  // The kernel may be slow to bring the last ones.
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  do {
    while (Buffer buffer = ReceiveOne(far(), 0)) held.push_back(std::move(buffer));
    far().Arm();
    far().Disarm();
  } while (held.size() + far().stats().receive_dropped < sent &&
           std::chrono::steady_clock::now() < end);
  EXPECT_LE(held.size(), 64u);
  EXPECT_EQ(held.size() + far().stats().receive_dropped, sent);
  std::thread([&] { held.clear(); }).join();
  ASSERT_TRUE(SendText(near(), FrameToFar(99, 'b')));
  EXPECT_EQ(Text(ReceiveOne(far())), FrameToFar(99, 'b'));
}

TEST_F(AfxdpFramePortTest, BuffersOutliveTheirPort) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  ASSERT_TRUE(SendText(near(), FrameToFar(100, 'a')));
  const std::string expected = FrameToFar(100, 'a');
  const Buffer kept = ReceiveOne(far());
  near_.Close();
  far_.Close();
  EXPECT_EQ(Text(kept), expected);
}

TEST_F(AfxdpFramePortTest, JumboFramesAreJoinedAndCut) {
  for (const char* mode : {"mode: NATIVE", "mode: GENERIC"}) {
    MakePair({.mtu = 9000});
    if (IsSkipped()) return;
    OpenBoth(mode);
    EXPECT_EQ(near().capabilities().max_frame_bytes, 9014u);
    EXPECT_GE(near().pool().Allocate().tailroom(), 9014u);
    for (size_t size : {14, 60, 1514, 3000, 3776, 3777, 4096, 7552, 7553, 9014}) {
      const std::string frame = FrameToFar(size, 'j');
      ASSERT_TRUE(SendText(near(), frame));
      EXPECT_EQ(Text(ReceiveOne(far())), frame) << mode << " " << size;
    }
    EXPECT_EQ(near().stats().copied_buffers, 10u);  // as UMEM chunks are shorter
    EXPECT_EQ(far().stats().copied_buffers, 5u);    // those that came in pieces
    std::vector<Buffer> burst;
    for (int i = 0; i < 100; ++i) burst.push_back(Frame(near().pool(), FrameToFar(9000, 'k')));
    ASSERT_TRUE(SendAll(near(), absl::MakeSpan(burst)));
    for (int i = 0; i < 100; ++i) ASSERT_EQ(ReceiveOne(far()).size(), 9000u) << i;
    near_.Close();
    far_.Close();
  }
}

TEST_F(AfxdpFramePortTest, MiddlingMtuTakesLargerChunks) {
  MakePair({.mtu = 3000});
  if (IsSkipped()) return;
  OpenBoth();
  ASSERT_TRUE(SendText(near(), FrameToFar(3014, 'm')));
  EXPECT_EQ(Text(ReceiveOne(far())), FrameToFar(3014, 'm'));
  EXPECT_EQ(near().stats().copied_buffers + far().stats().copied_buffers, 0u);
}

TEST_F(AfxdpFramePortTest, EachQueueHasItsOwnPort) {
  for (const int queues : {2, 4}) {
    MakePair({.queues = queues});
    if (IsSkipped()) return;
    OpenBoth("", "", queues);
    // What a veth end sends on a queue, the other receives on the same.
    for (int q = 0; q < queues; ++q) {
      ASSERT_TRUE(SendText(*near_.ports[q], FrameToFar(60 + q, 'q')));
      EXPECT_EQ(ReceiveOne(*far_.ports[q]).size(), 60u + q);
    }
    near_.Close();
    far_.Close();
  }
}

TEST_F(AfxdpFramePortTest, FirstQueueShiftsAll) {
  MakePair({.queues = 4});
  if (IsSkipped()) return;
  near_ = OpenEnd("near0", "", "", 4);
  far_ = There([] { return OpenEnd("far0", "first_queue: 2", "", 2); });
  ASSERT_TRUE(SendText(*near_.ports[3], FrameToFar(77, 'q')));
  EXPECT_EQ(ReceiveOne(*far_.ports[1]).size(), 77u);
}

// Two workers a side, each with its queue: nothing that they share is written on the way of a
// frame.
TEST_F(AfxdpFramePortTest, WorkersDoNotMeet) {
  constexpr int kQueues = 2;
  constexpr int kFrames = 2000;
  MakePair({.queues = kQueues});
  if (IsSkipped()) return;
  OpenBoth("", "", kQueues);
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int q = 0; q < kQueues; ++q) {
    threads.emplace_back([&, q] {
      FramePort& out = *near_.ports[q];
      FramePort& in = *far_.ports[q];
      out.BindToThisThread();
      in.BindToThisThread();
      const std::string frame = EthernetHeader(in.mac(), out.mac()) + Payload(50 + q, 'w');
      for (int i = 0; i < kFrames; ++i) {
        if (!SendText(out, frame) || Text(ReceiveOne(in)) != frame) return;
      }
      ++done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, kQueues);
  for (auto& port : near_.ports) port->BindToThisThread();
  for (auto& port : far_.ports) port->BindToThisThread();
}

TEST_F(AfxdpFramePortTest, NoWakeUpIsLost) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  constexpr int kRounds = 2000;
  std::thread echo([&] {
    far().BindToThisThread();
    for (int i = 0; i < kRounds; ++i) {
      Buffer burst[] = {ReceiveOne(far())};
      if (!burst[0]) return;
      std::memcpy(burst[0].data(), near().mac().data(), 6);
      if (!SendAll(far(), absl::MakeSpan(burst))) return;
    }
  });
  int received = 0;
  for (int i = 0; i < kRounds; ++i) {
    if (!SendText(near(), FrameToFar(64, static_cast<char>(i)))) break;
    if (!ReceiveOne(near())) break;
    ++received;
  }
  echo.join();
  far().BindToThisThread();
  EXPECT_EQ(received, kRounds);
}

TEST_F(AfxdpFramePortTest, AnIdlePortLetsItsThreadSleep) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  Buffer in[1];
  while (near().Receive(absl::MakeSpan(in)) > 0 || !near().Arm()) continue;
  pollfd event = {near().wait_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&event, 1, 100), 0);
  near().Disarm();
}

TEST_F(AfxdpFramePortTest, LinkGoesDownAndComesBack) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  const auto next_event = [&] {
    PortEvent event = {};
    while (near().TakeEvents({&event, 1}) == 0) {
      if (!WaitFor(near())) break;
      Buffer in[1];
      near().Receive(absl::MakeSpan(in));
    }
    return event.kind;
  };
  ASSERT_TRUE(ShellThere("ip link set far0 down"));
  EXPECT_EQ(next_event(), PortEvent::Kind::kLinkDown);
  EXPECT_FALSE(near().link_up());
  ASSERT_TRUE(ShellThere("ip link set far0 up"));
  EXPECT_EQ(next_event(), PortEvent::Kind::kLinkUp);
  EXPECT_TRUE(near().link_up());
  ASSERT_TRUE(SendText(near(), FrameToFar(60, 'u')));
  EXPECT_EQ(ReceiveOne(far()).size(), 60u);
}

TEST_F(AfxdpFramePortTest, ARemovedInterfaceLatchesTheStatus) {
  MakePair();
  if (IsSkipped()) return;
  OpenBoth();
  ASSERT_TRUE(Shell("ip link del near0"));
  Buffer in[1];
  while (near().status().ok() && WaitFor(near())) near().Receive(absl::MakeSpan(in));
  EXPECT_THAT(std::string(near().status().message()), testing::HasSubstr("near0"));
  EXPECT_TRUE(near().Arm());
  pollfd event = {near().wait_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&event, 1, 0), 0) << "a dead port keeps its loop awake";
  Buffer burst[] = {Frame(near().pool(), FrameToFar(60, 'x'))};
  EXPECT_EQ(near().Send(absl::MakeSpan(burst)), 0u);
}

}  // namespace
}  // namespace weft::afxdp
