// SPDX-License-Identifier: Apache-2.0
//
// What frame_port.h promises, of ports that are joined by a network that knows their MAC addresses.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/conformance/conformance.h"

namespace weft {
namespace {

constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr size_t kHeaderBytes = 14;

Buffer Frame(BufferPool& pool, const MacAddress& to, const MacAddress& from,
             const std::string& payload) {
  Buffer frame = pool.Allocate();
  std::memcpy(frame.Append(6), to.data(), 6);
  std::memcpy(frame.Append(6), from.data(), 6);
  std::memcpy(frame.Append(2), "\x88\xb5", 2);  // for local experiments
  if (!payload.empty()) std::memcpy(frame.Append(payload.size()), payload.data(), payload.size());
  return frame;
}

std::string PayloadOf(const Buffer& frame) {
  return {reinterpret_cast<const char*>(frame.data()) + kHeaderBytes, frame.size() - kHeaderBytes};
}

class FrameConformance : public ConformanceTest {
 protected:
  std::unique_ptr<FramePort> OpenPort(size_t n) {
    auto port = transport(n).OpenFramePort({.local = Local(n)});
    EXPECT_TRUE(port.ok()) << port.status();
    return port.ok() ? *std::move(port) : nullptr;
  }
  bool Send(FramePort& port, Buffer frame) {
    Buffer burst[] = {std::move(frame)};
    return Until([&] { return port.Send(absl::MakeSpan(burst)) == 1; }) && !burst[0];
  }
  Buffer Receive(FramePort& port) {
    Buffer burst[1];
    Until([&] { return port.Receive(absl::MakeSpan(burst)) == 1; });
    return std::move(burst[0]);
  }
  size_t max_frame() { return transport().capabilities().max_frame_bytes; }
};

INSTANTIATE_TEST_SUITE_P(Frames, FrameConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::frames)), AdapterName);

TEST_P(FrameConformance, CapabilitiesOfThePort) {
  auto port = OpenPort(0);
  EXPECT_EQ(port->capabilities().max_frame_bytes, max_frame());
  EXPECT_EQ(port->wait_fd() >= 0, port->capabilities().can_wait);
  EXPECT_TRUE(port->link_up());
  EXPECT_EQ(port->mac()[0] & 1, 0) << "the address of a group";
  EXPECT_NE(port->mac(), MacAddress{});
  EXPECT_NE(port->mac(), OpenPort(1)->mac());
  EXPECT_GE(port->pool().Allocate().tailroom(), max_frame());
}

TEST_P(FrameConformance, FramesOfEverySizeArriveAsTheyWere) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (size_t size = kHeaderBytes; size <= max_frame(); size += size < 70 ? 1 : 97) {
    const std::string payload = RandomBytes(size - kHeaderBytes, size);
    ASSERT_TRUE(Send(*a, Frame(a->pool(), b->mac(), a->mac(), payload)));
    const Buffer got = Receive(*b);
    ASSERT_TRUE(got);
    ASSERT_GE(got.size(), size);  // a device may pad
    EXPECT_EQ(PayloadOf(got).substr(0, payload.size()), payload);
    EXPECT_EQ(std::memcmp(got.data(), b->mac().data(), 6), 0);
    EXPECT_EQ(std::memcmp(got.data() + 6, a->mac().data(), 6), 0);
  }
  ASSERT_TRUE(
      Send(*a, Frame(a->pool(), b->mac(), a->mac(), std::string(max_frame() - kHeaderBytes, 'm'))));
  EXPECT_EQ(Receive(*b).size(), max_frame());
}

TEST_P(FrameConformance, UnicastReachesOneAndBroadcastAllOthers) {
  if (max_ends() < 3) GTEST_SKIP() << "two ends are all there are";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  auto c = OpenPort(2);
  ASSERT_TRUE(Send(*a, Frame(a->pool(), b->mac(), a->mac(), "for b")));
  ASSERT_TRUE(Send(*a, Frame(a->pool(), kBroadcast, a->mac(), "for all")));
  EXPECT_EQ(PayloadOf(Receive(*b)).substr(0, 5), "for b");
  EXPECT_EQ(PayloadOf(Receive(*b)).substr(0, 7), "for all");
  EXPECT_EQ(PayloadOf(Receive(*c)).substr(0, 7), "for all");
  Buffer in[1];
  EXPECT_EQ(a->Receive(absl::MakeSpan(in)), 0u) << "a sender hears itself";
}

TEST_P(FrameConformance, WhatIsNoFrameIsDroppedAndCounted) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  BufferPool large({.count = 4, .bytes = max_frame() + 4096});
  std::vector<Buffer> burst;
  burst.push_back(Frame(a->pool(), b->mac(), a->mac(), ""));
  burst.back().TrimBack(1);
  burst.push_back(
      Frame(large, b->mac(), a->mac(), std::string(max_frame() - kHeaderBytes + 1, 'x')));
  burst.push_back(a->pool().Allocate());  // empty
  burst.emplace_back();                   // null
  burst.push_back(Frame(a->pool(), b->mac(), a->mac(), "good"));
  EXPECT_EQ(a->Send(absl::MakeSpan(burst)), 5u);
  for (const Buffer& buffer : burst) EXPECT_FALSE(buffer);
  EXPECT_EQ(a->stats().send_failed, 4u);
  EXPECT_EQ(a->stats().sent, 1u);
  const Buffer got = Receive(*b);
  ASSERT_TRUE(got);
  EXPECT_EQ(PayloadOf(got).substr(0, 4), "good");
}

TEST_P(FrameConformance, PortsLeaveNothingBehind) {
  { auto warm_up = OpenPort(0); }
  const size_t files = OpenFiles();
  for (int i = 0; i < 50; ++i) {
    auto a = OpenPort(0);
    auto b = OpenPort(1);
    ASSERT_TRUE(Send(*a, Frame(a->pool(), b->mac(), a->mac(), "x")));
    ASSERT_TRUE(Receive(*b));
  }
  EXPECT_EQ(OpenFiles(), files);
}

}  // namespace
}  // namespace weft
