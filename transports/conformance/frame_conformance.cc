// SPDX-License-Identifier: Apache-2.0
//
// What frame_port.h promises, of ports that are joined by a network that knows their MAC addresses:
// frames, bursts, buffers, threads, waiting.
#include "weft/transports/conformance/frame_conformance.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

class FrameConformance : public FrameTest {};

INSTANTIATE_TEST_SUITE_P(Frames, FrameConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::frames)), AdapterName);

TEST_P(FrameConformance, CapabilitiesOfThePort) {
  auto port = OpenPort(0);
  auto other = OpenPort(1);
  EXPECT_TRUE(UntilLinkIs(*port, true));
  EXPECT_EQ(port->capabilities().max_frame_bytes, max_frame());
  EXPECT_EQ(port->capabilities().checksum_offload, transport().capabilities().checksum_offload);
  EXPECT_EQ(port->wait_fd() >= 0, port->capabilities().can_wait);
  EXPECT_FALSE(port->device_name().empty());
  EXPECT_EQ(port->mac()[0] & 1, 0) << "the address of a group";
  EXPECT_NE(port->mac(), MacAddress{});
  EXPECT_NE(port->mac(), other->mac());
  const MacAddress mac = port->mac();
  EXPECT_GE(port->pool().Allocate().tailroom(), max_frame());
  EXPECT_GE(port->pool().Allocate().headroom(), port->capabilities().headroom_bytes);
  EXPECT_TRUE(port->status().ok());
  port.reset();
  EXPECT_EQ(OpenPort(0)->mac(), mac) << "another one the second time";
}

TEST_P(FrameConformance, FramesOfEverySizeArriveAsTheyWere) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const auto check = [&](size_t size) {
    const std::string payload = RandomBytes(size - kFrameHeaderBytes, size);
    ASSERT_TRUE(Send(*a, *b, payload));
    const Buffer got = Receive(*b);
    ASSERT_TRUE(got) << size;
    ASSERT_GE(got.size(), size);  // a device may pad
    EXPECT_EQ(PayloadOf(got).substr(0, payload.size()), payload);
    EXPECT_EQ(std::memcmp(got.data(), b->mac().data(), 6), 0);
    EXPECT_EQ(std::memcmp(got.data() + 6, a->mac().data(), 6), 0);
  };
  size_t frames = 0;
  for (size_t size = kFrameHeaderBytes; size < max_frame(); size += size < 70 ? 1 : 97, ++frames) {
    ASSERT_NO_FATAL_FAILURE(check(size));
  }
  ASSERT_NO_FATAL_FAILURE(check(max_frame()));
  EXPECT_EQ(a->stats().sent, frames + 1);
  EXPECT_EQ(b->stats().received, frames + 1);
  EXPECT_EQ(a->stats().send_failed, 0u);
}

TEST_P(FrameConformance, UnicastReachesOneAndBroadcastAllOthers) {
  if (max_ends() < 3) GTEST_SKIP() << "two ends are all there are";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  auto c = OpenPort(2);
  ASSERT_TRUE(Send(*a, *b, "for b"));
  ASSERT_TRUE(Send(*a, Frame(a->pool(), kBroadcast, a->mac(), "for all")));
  EXPECT_EQ(PayloadOf(Receive(*b)).substr(0, 5), "for b");
  EXPECT_EQ(PayloadOf(Receive(*b)).substr(0, 7), "for all");
  Buffer in[1];
  EXPECT_EQ(a->Receive(absl::MakeSpan(in)), 0u) << "a sender hears itself";
  // A TAP device has no addresses to choose by: a switch that does not know b gives it to c as
  // well.
  const Buffer first = Receive(*c);
  ASSERT_TRUE(first);
  if (PayloadOf(first).substr(0, 5) == "for b") {
    EXPECT_EQ(std::memcmp(first.data(), b->mac().data(), 6), 0);
    EXPECT_EQ(PayloadOf(Receive(*c)).substr(0, 7), "for all");
  } else {
    EXPECT_EQ(PayloadOf(first).substr(0, 7), "for all");
  }
}

TEST_P(FrameConformance, WhatIsNoFrameIsDroppedAndCounted) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  BufferPool large({.count = 4, .bytes = max_frame() + 4096});
  std::vector<Buffer> burst;
  burst.push_back(Frame(a->pool(), b->mac(), a->mac(), ""));
  burst.back().TrimBack(1);
  burst.push_back(
      Frame(large, b->mac(), a->mac(), std::string(max_frame() - kFrameHeaderBytes + 1, 'x')));
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

TEST_P(FrameConformance, BurstsMayBeLargerThanTheBestSize) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  const size_t n = 2 * transport().capabilities().max_burst + 1;
  std::vector<Buffer> burst;
  for (size_t i = 0; i < n; ++i) {
    burst.push_back(Frame(a->pool(), b->mac(), a->mac(), absl::StrCat(i, " ")));
  }
  absl::Span<Buffer> rest = absl::MakeSpan(burst);
  std::vector<bool> seen(n);
  size_t got = 0;
  EXPECT_TRUE(Until([&] {
    rest.remove_prefix(a->Send(rest));
    std::vector<Buffer> in(3 * n);
    const size_t received = b->Receive(absl::MakeSpan(in));
    for (size_t i = 0; i < received; ++i) {
      const size_t number = std::stoul(PayloadOf(in[i]));
      EXPECT_LT(number, n);
      EXPECT_FALSE(seen[number]);
      seen[number] = true;
    }
    got += received;
    return got == n;
  })) << got
      << " of " << n;
  EXPECT_EQ(a->Send({}), 0u);
  EXPECT_EQ(b->Receive({}), 0u);
}

TEST_P(FrameConformance, BuffersOfAnyOriginAndShapeAreSent) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  BufferPool foreign({.count = 4, .bytes = 256, .headroom = 0});
  const MacAddress to = b->mac();
  const MacAddress from = a->mac();
  std::vector<Buffer> burst;
  burst.push_back(Frame(foreign, to, from, "foreign pool"));
  Buffer trimmed = a->pool().Allocate();
  std::memset(trimmed.Append(8), 'x', 8);
  trimmed.TrimFront(8);
  const Buffer whole = Frame(foreign, to, from, "front");
  std::memcpy(trimmed.Append(whole.size()), whole.data(), whole.size());
  burst.push_back(std::move(trimmed));
  Buffer headed = a->pool().Allocate();
  std::memcpy(headed.Append(4), "head", 4);
  std::memcpy(headed.Prepend(kFrameHeaderBytes), whole.data(), kFrameHeaderBytes);
  burst.push_back(std::move(headed));
  burst.push_back(Frame(a->pool(), to, from, "shortened"));
  burst.back().TrimBack(4);
  absl::Span<Buffer> rest = absl::MakeSpan(burst);
  ASSERT_TRUE(Until([&] {
    rest.remove_prefix(a->Send(rest));
    return rest.empty();
  }));
  for (const std::string expected : {"foreign pool", "front", "head", "short"}) {
    const Buffer got = Receive(*b);
    ASSERT_TRUE(got);
    EXPECT_EQ(PayloadOf(got).substr(0, expected.size()), expected);
  }
}

TEST_P(FrameConformance, AReceivedBufferMayBeSentBack) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (int i = 0; i < 100; ++i) {
    const std::string text = absl::StrCat("frame ", i);
    ASSERT_TRUE(Send(*a, *b, text));
    Buffer echo = Receive(*b);
    ASSERT_TRUE(echo);
    std::memcpy(echo.data(), a->mac().data(), 6);
    std::memcpy(echo.data() + 6, b->mac().data(), 6);
    ASSERT_TRUE(Send(*b, std::move(echo)));
    const Buffer reply = Receive(*a);
    ASSERT_TRUE(reply);
    EXPECT_EQ(PayloadOf(reply).substr(0, text.size()), text);
  }
}

// Elements that still hold the last burst's buffers give them back, or the pool would run dry.
TEST_P(FrameConformance, ReceiveReleasesWhatTheElementsHeld) {
  constexpr size_t kBurst = 16;
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  Buffer in[kBurst];
  for (size_t sent = 0; sent < 2 * config::Buffers().count(); sent += kBurst) {
    std::vector<Buffer> burst;
    for (size_t i = 0; i < kBurst; ++i) {
      burst.push_back(Frame(a->pool(), b->mac(), a->mac(), "text"));
      ASSERT_TRUE(burst.back()) << "the port keeps buffers that it was given";
    }
    absl::Span<Buffer> rest = absl::MakeSpan(burst);
    size_t got = 0;
    ASSERT_TRUE(Until([&] {
      rest.remove_prefix(a->Send(rest));
      got += b->Receive(absl::MakeSpan(in));
      return got == kBurst;
    })) << sent;
  }
  EXPECT_EQ(b->stats().receive_dropped, 0u);
}

TEST_P(FrameConformance, AnEmptyPoolLosesFramesAtMost) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ASSERT_TRUE(UntilLinkIs(*a, true));
  const size_t count = b->pool().count();
  // All that the receiver gets, it keeps.
  std::vector<Buffer> kept;
  size_t accepted = 0;
  for (size_t i = 0; i < count + count / 2; ++i) {
    Buffer out[] = {Frame(a->pool(), b->mac(), a->mac(), "text")};
    if (out[0]) accepted += a->Send(absl::MakeSpan(out));
    Buffer in[1];
    while (b->Receive(absl::MakeSpan(in)) == 1) kept.push_back(std::move(in[0]));
    if (is_virtual() && i % 64 == 0) Until([] { return false; });
  }
  // A device may be slow to bring the first ones.
  EXPECT_TRUE(Until([&] {
    Buffer in[1];
    while (b->Receive(absl::MakeSpan(in)) == 1) kept.push_back(std::move(in[0]));
    return !kept.empty();
  }));
  EXPECT_LE(kept.size(), count);
  kept.clear();
  // The port works again; what it could not take was left where it was, or counted.
  Buffer late[1];
  while (b->Receive(absl::MakeSpan(late)) == 1) late[0].Reset();
  ExpectTheyTalk(*a, *b);
  EXPECT_LE(b->stats().received + b->stats().receive_dropped, accepted + 1);

  // The sender's pool.
  std::vector<Buffer> all;
  while (Buffer buffer = a->pool().Allocate()) all.push_back(std::move(buffer));
  Buffer in[8];
  EXPECT_EQ(a->Receive(absl::MakeSpan(in)), 0u);
  all.clear();
  ExpectTheyTalk(*a, *b);
}

// A sender that never stops, and a receiver that does not poll: nothing blocks, grows or is lost
// track of, and when it polls again they go on.
TEST_P(FrameConformance, FloodingSomebodyWhoDoesNotPoll) {
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ASSERT_TRUE(UntilLinkIs(*a, true));
  const std::string text = RandomBytes(max_frame() - kFrameHeaderBytes, 1);
  size_t accepted = 0;
  std::vector<Buffer> burst;
  for (int round = 0; round < 2000; ++round) {
    while (burst.size() < 8) {
      Buffer frame = Frame(a->pool(), b->mac(), a->mac(), text);
      if (!frame) break;  // all are with the device
      burst.push_back(std::move(frame));
    }
    const size_t n = a->Send(absl::MakeSpan(burst));
    ASSERT_LE(n, burst.size());
    for (size_t i = 0; i < burst.size(); ++i) {
      ASSERT_EQ(static_cast<bool>(burst[i]), i >= n);
      if (i >= n) {
        ASSERT_EQ(PayloadOf(burst[i]), text);
      }
    }
    burst.erase(burst.begin(), burst.begin() + static_cast<ptrdiff_t>(n));
    accepted += n;
  }
  burst.clear();
  EXPECT_GT(accepted, 0u);
  EXPECT_EQ(accepted, a->stats().sent + a->stats().send_failed);
  Buffer in[32];
  int idle = 0;
  Until([&] {
    const size_t n = b->Receive(absl::MakeSpan(in));
    for (const Buffer& frame : absl::MakeSpan(in, n)) EXPECT_EQ(PayloadOf(frame), text);
    idle = n == 0 ? idle + 1 : 0;
    return idle >= 100 && b->stats().received > 0;
  });
  EXPECT_GT(b->stats().received, 0u);
  ExpectTheyTalk(*a, *b);
}

TEST_P(FrameConformance, CopiesAreThoseThatAreDocumented) {
  constexpr size_t kFrameBytes = 100;
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Send(*a, *b, std::string(kFrameBytes - kFrameHeaderBytes, 'x')));
    ASSERT_TRUE(Receive(*b));
  }
  EXPECT_EQ(a->stats().copied_buffers, 20 * GetParam().copies_per_send);
  EXPECT_EQ(a->stats().copied_bytes, kFrameBytes * a->stats().copied_buffers);
  EXPECT_EQ(b->stats().copied_buffers, 20 * GetParam().copies_per_receive);
  EXPECT_EQ(b->stats().copied_bytes, kFrameBytes * b->stats().copied_buffers);
  EXPECT_EQ(a->stats().sent_bytes, 20 * kFrameBytes);
  EXPECT_EQ(b->stats().received_bytes, 20 * kFrameBytes);
}

TEST_P(FrameConformance, PortsLeaveNothingBehind) {
  { auto warm_up = OpenPort(0), other = OpenPort(1); }
  const size_t files = OpenFiles();
  // Some devices take a second to find each other.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (int i = 0; i < 10 && (i < 3 || std::chrono::steady_clock::now() < end); ++i) {
    auto a = OpenPort(0);
    auto b = OpenPort(1);
    ExpectTheyTalk(*a, *b);
  }
  // A device may close what a peer left to it on a thread of its own.
  EXPECT_TRUE(Until([&] { return OpenFiles() <= files; })) << OpenFiles() << " of " << files;
}

TEST_P(FrameConformance, APortMayMoveToAnotherThread) {
  if (is_virtual()) GTEST_SKIP() << "one thread is all there is in virtual time";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ExpectTheyTalk(*a, *b);
  std::thread([&] {
    a->BindToThisThread();
    b->BindToThisThread();
    ExpectTheyTalk(*a, *b);
    a.reset();
    b.reset();
  }).join();
}

// A frame that arrives on the way to sleep wakes the sleeper: each is sent only after the one
// before has been received, so a lost wake-up stops the exchange.
TEST_P(FrameConformance, NoWakeUpIsLost) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  constexpr int kRounds = 300;
  auto server = OpenPort(0);
  auto client = OpenPort(1);
  std::atomic<bool> failed{false};
  const auto receive = [&](FramePort& port) {
    Buffer in[1];
    while (port.Receive(absl::MakeSpan(in)) == 0) {
      if (failed.load() || !WaitFor(port)) {
        failed.store(true);
        return Buffer();
      }
    }
    return std::move(in[0]);
  };
  const auto send = [&](FramePort& from, FramePort& to) {
    Buffer out[] = {Frame(from.pool(), to.mac(), from.mac(), "turn")};
    while (from.Send(absl::MakeSpan(out)) == 0) std::this_thread::yield();
  };
  std::thread client_thread([&] {
    client->BindToThisThread();
    for (int i = 0; i < kRounds && !failed.load(); ++i) {
      send(*client, *server);
      (void)receive(*client);
    }
  });
  for (int i = 0; i < kRounds && !failed.load(); ++i) {
    if (!receive(*server)) break;
    send(*server, *client);
  }
  client_thread.join();
  client->BindToThisThread();
  EXPECT_FALSE(failed.load()) << "waited for nothing";
}

TEST_P(FrameConformance, AnIdlePortLetsItsThreadSleep) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  auto a = OpenPort(0);
  auto b = OpenPort(1);
  ExpectTheyTalk(*a, *b);
  // Polled, a port comes to rest: armed and not readable.
  Buffer in[4];
  PortEvent events[4];
  EXPECT_TRUE(Until([&] {
    b->Receive(absl::MakeSpan(in));
    b->TakeEvents(absl::MakeSpan(events));
    if (!b->Arm()) return false;
    pollfd fd = {b->wait_fd(), POLLIN, 0};
    const bool quiet = ::poll(&fd, 1, 0) == 0;
    b->Disarm();
    return quiet;
  }));
}

}  // namespace
}  // namespace weft
