// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/fault_port.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/decorators/fake_port.h"

namespace weft {
namespace {

config::Fault Faults(uint64_t seed = 1) {
  config::Fault faults;
  faults.set_seed(seed);
  return faults;
}

// A fault port over a fake one, and a sender that numbers its messages.
class Bench {
 public:
  explicit Bench(const config::Fault& faults, const BufferPoolOptions& buffers = {},
                 TimerWheel* timers = nullptr)
      : port_(Below(buffers), faults, clock, timers) {}

  // Sends one message; returns whether it was accepted.
  bool Send(const std::string& text) {
    Datagram one[] = {{Peer{{5, 0, 0}}, TextBuffer(port_.pool(), text)}};
    const size_t n = port_.Send(absl::MakeSpan(one));
    EXPECT_EQ(n == 0, static_cast<bool>(one[0].buffer));
    return n == 1;
  }
  void SendNumbers(int from, int to) {
    for (int i = from; i < to; ++i) EXPECT_TRUE(Send(absl::StrCat(i)));
  }
  void Poll() {
    Datagram in[4];
    port_.Receive(absl::MakeSpan(in));
  }

  FaultDatagramPort& port() { return port_; }
  FakeDatagramPort& below() { return *below_; }

  ManualClock clock;
  FakeState state;

 private:
  std::unique_ptr<FakeDatagramPort> Below(const BufferPoolOptions& buffers) {
    auto below = std::make_unique<FakeDatagramPort>(state, buffers);
    below_ = below.get();
    return below;
  }

  FakeDatagramPort* below_;
  FaultDatagramPort port_;
};

TEST(FaultPortTest, WithoutFaultsABurstPassesInOneCall) {
  Bench bench(Faults());
  std::vector<Datagram> burst(40);
  for (int i = 0; i < 40; ++i)
    burst[i] = {Peer{}, TextBuffer(bench.port().pool(), absl::StrCat(i))};
  EXPECT_EQ(bench.port().Send(absl::MakeSpan(burst)), 40u);
  EXPECT_EQ(bench.state.sends, 1);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(bench.state.sent[i], absl::StrCat(i));
  EXPECT_TRUE(bench.port().capabilities().reliable);
}

TEST(FaultPortTest, RatesAreThoseAskedFor) {
  constexpr int kMessages = 20'000;
  config::Fault faults = Faults();
  faults.set_loss(0.1);
  faults.set_duplicate(0.05);
  faults.set_corrupt(0.02);
  faults.set_reorder(0.01);
  Bench bench(faults);
  const std::string text(32, 'x');
  for (int i = 0; i < kMessages; ++i) {
    EXPECT_TRUE(bench.Send(text));
    bench.clock.Advance(1'000);
  }
  bench.clock.Advance(1'000'000'000);
  bench.Poll();
  // Within 15 %, some four standard deviations of the rarest.
  const FaultStats& stats = bench.port().fault_stats();
  EXPECT_NEAR(stats.lost, 0.1 * kMessages, 0.015 * kMessages);
  EXPECT_NEAR(stats.duplicated, 0.9 * 0.05 * kMessages, 0.0075 * kMessages);
  EXPECT_NEAR(stats.corrupted, 0.9 * 0.02 * kMessages, 0.005 * kMessages);
  EXPECT_NEAR(stats.reordered, 0.9 * 0.01 * kMessages, 0.003 * kMessages);
  EXPECT_EQ(stats.overflowed, 0u);
  EXPECT_EQ(bench.state.sent.size(), kMessages - stats.lost + stats.duplicated);
  // A corrupted one has one bit flipped, and so has its duplicate, if any.
  size_t flipped = 0;
  for (const std::string& sent : bench.state.sent) {
    int bits = 0;
    for (const char c : sent) bits += std::popcount(static_cast<unsigned char>(c ^ 'x'));
    EXPECT_LE(bits, 1);
    flipped += bits;
  }
  EXPECT_GE(flipped, stats.corrupted);
  EXPECT_LE(flipped, stats.corrupted + stats.duplicated);
  EXPECT_EQ(bench.port().stats().sent, bench.state.sent.size());
  EXPECT_FALSE(bench.port().capabilities().reliable);
  EXPECT_FALSE(bench.port().capabilities().ordered);
}

TEST(FaultPortTest, WhatItsSenderKeepsIsCorruptedInACopy) {
  config::Fault faults = Faults();
  faults.set_corrupt(1);
  Bench bench(faults);
  const std::string text(64, 'x');
  Datagram one[] = {{Peer{}, TextBuffer(bench.port().pool(), text)}};
  const Buffer kept = one[0].buffer.Share();
  EXPECT_EQ(bench.port().Send(absl::MakeSpan(one)), 1u);
  ASSERT_EQ(bench.state.sent.size(), 1u);
  EXPECT_NE(bench.state.sent[0], text);
  EXPECT_EQ(std::string(kept.bytes().begin(), kept.bytes().end()), text);
  EXPECT_FALSE(kept.is_shared());
  EXPECT_EQ(bench.port().fault_stats().corrupted, 1u);
  EXPECT_EQ(bench.port().stats().copied_buffers, 1u);
}

TEST(FaultPortTest, WithoutABufferForTheCopyItIsLost) {
  config::Fault faults = Faults();
  faults.set_corrupt(1);
  Bench bench(faults, {.count = 1});
  Datagram one[] = {{Peer{}, TextBuffer(bench.port().pool(), "text")}};
  const Buffer kept = one[0].buffer.Share();
  EXPECT_EQ(bench.port().Send(absl::MakeSpan(one)), 1u);
  EXPECT_TRUE(bench.state.sent.empty());
  EXPECT_EQ(std::string(kept.bytes().begin(), kept.bytes().end()), "text");
  EXPECT_EQ(bench.port().fault_stats().overflowed, 1u);
  EXPECT_EQ(bench.port().fault_stats().corrupted, 0u);
}

TEST(FaultPortTest, TheSeedFixesWhatHappens) {
  const auto run = [](uint64_t seed) {
    config::Fault faults = Faults(seed);
    faults.set_loss(0.2);
    faults.set_duplicate(0.2);
    faults.set_reorder(0.2);
    faults.set_corrupt(0.2);
    faults.set_delay_jitter_us(100);
    Bench bench(faults);
    for (int i = 0; i < 500; ++i) {
      bench.Send(absl::StrCat(i));
      bench.clock.Advance(3'000);
    }
    return bench.state.sent;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(FaultPortTest, ReorderedMessagesAreOvertaken) {
  config::Fault faults = Faults();
  faults.set_reorder(0.1);
  Bench bench(faults);
  bench.SendNumbers(0, 200);  // all in the same instant
  EXPECT_EQ(bench.state.sent.size(), 200 - bench.port().fault_stats().reordered);
  bench.clock.Advance(100'000);
  bench.Poll();
  EXPECT_EQ(bench.state.sent.size(), 200u);
  std::vector<int> numbers;
  for (const std::string& text : bench.state.sent) numbers.push_back(std::stoi(text));
  EXPECT_FALSE(std::is_sorted(numbers.begin(), numbers.end()));
  std::sort(numbers.begin(), numbers.end());
  for (int i = 0; i < 200; ++i) EXPECT_EQ(numbers[i], i);
}

TEST(FaultPortTest, DelayedMessagesLeaveInOrderWhenTheirTimeHasCome) {
  config::Fault faults = Faults();
  faults.set_delay_us(10);
  Bench bench(faults);
  bench.SendNumbers(0, 50);
  bench.clock.Advance(9'999);
  bench.SendNumbers(50, 60);
  EXPECT_TRUE(bench.state.sent.empty());
  bench.clock.Advance(1);
  bench.Poll();
  ASSERT_EQ(bench.state.sent.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(bench.state.sent[i], absl::StrCat(i));
  bench.clock.Advance(10'000);
  bench.Poll();
  EXPECT_EQ(bench.state.sent.size(), 60u);
}

TEST(FaultPortTest, JitterStaysWithinItsBounds) {
  config::Fault faults = Faults();
  faults.set_delay_us(10);
  faults.set_delay_jitter_us(10);
  Bench bench(faults);
  bench.SendNumbers(0, 100);
  bench.clock.Advance(9'999);
  bench.Poll();
  EXPECT_EQ(bench.state.sent.size(), 0u);
  bench.clock.Advance(5'000);
  bench.Poll();
  EXPECT_GT(bench.state.sent.size(), 20u);
  EXPECT_LT(bench.state.sent.size(), 80u);
  bench.clock.Advance(5'001);
  bench.Poll();
  EXPECT_EQ(bench.state.sent.size(), 100u);
}

TEST(FaultPortTest, RefusesToWaitWhileItHoldsMessages) {
  config::Fault faults = Faults();
  faults.set_delay_us(10);
  Bench bench(faults);
  EXPECT_TRUE(bench.port().Arm());
  EXPECT_EQ(bench.state.arms, 1);
  bench.port().Disarm();
  EXPECT_EQ(bench.state.disarms, 1);
  bench.SendNumbers(0, 1);
  EXPECT_FALSE(bench.port().Arm());
  EXPECT_EQ(bench.state.arms, 1);
  bench.clock.Advance(10'000);
  EXPECT_TRUE(bench.port().Arm());  // which has sent it
  EXPECT_EQ(bench.state.sent.size(), 1u);
  bench.state.arm_result = false;
  EXPECT_FALSE(bench.port().Arm());
}

TEST(FaultPortTest, BackPressurePassesThroughAndTheDiceAreCastOnce) {
  config::Fault faults = Faults();
  faults.set_loss(0.3);
  Bench calm(faults);
  calm.SendNumbers(0, 300);

  Bench blocked(faults);
  std::vector<Datagram> burst(300);
  for (int i = 0; i < 300; ++i) {
    burst[i] = {Peer{}, TextBuffer(blocked.port().pool(), absl::StrCat(i))};
  }
  absl::Span<Datagram> rest = absl::MakeSpan(burst);
  for (size_t room = 0; !rest.empty(); room = 1 - room) {
    blocked.state.room = room;
    const size_t n = blocked.port().Send(rest);
    for (const Datagram& d : rest.first(n)) EXPECT_FALSE(d.buffer);
    for (const Datagram& d : rest.subspan(n)) EXPECT_TRUE(d.buffer);
    rest.remove_prefix(n);
  }
  EXPECT_EQ(blocked.state.sent, calm.state.sent);
}

TEST(FaultPortTest, HoldsABoundedNumberOfMessages) {
  config::Fault faults = Faults();
  faults.set_delay_us(10);
  // Half of the pool at most, so that others can still allocate.
  Bench bench(faults, {.count = 64});
  bench.SendNumbers(0, 40);
  EXPECT_EQ(bench.port().fault_stats().overflowed, 8u);
  EXPECT_EQ(bench.port().stats().send_failed, 8u);
  EXPECT_TRUE(bench.port().pool().Allocate());
  bench.clock.Advance(10'000);
  bench.Poll();
  EXPECT_EQ(bench.state.sent.size(), 32u);
}

TEST(FaultPortTest, WhatThePortBelowDoesNotTakeIsLost) {
  config::Fault faults = Faults();
  faults.set_delay_us(10);
  Bench bench(faults);
  bench.SendNumbers(0, 10);
  bench.clock.Advance(10'000);
  bench.state.room = 4;
  bench.Poll();
  EXPECT_EQ(bench.state.sent.size(), 4u);
  EXPECT_EQ(bench.port().fault_stats().overflowed, 6u);
  EXPECT_TRUE(bench.port().Arm());
}

TEST(FaultPortTest, AnEmptyPoolOnlyMeansNoDuplicates) {
  config::Fault faults = Faults();
  faults.set_duplicate(1);
  Bench bench(faults, {.count = 64});
  std::vector<Buffer> all;
  while (Buffer buffer = bench.port().pool().Allocate()) all.push_back(std::move(buffer));
  Datagram one[] = {{Peer{}, std::move(all.back())}};
  EXPECT_EQ(bench.port().Send(absl::MakeSpan(one)), 1u);
  EXPECT_EQ(bench.state.sent.size(), 1u);
  EXPECT_EQ(bench.port().fault_stats().duplicated, 0u);
}

TEST(FaultPortTest, WhatIsSentOnMeetsTheSameFaultsAndKeepsItsSource) {
  config::Fault faults = Faults();
  faults.set_loss(0.1);
  faults.set_duplicate(0.1);
  faults.set_reorder(0.1);
  faults.set_delay_us(5);
  Bench sending(faults);
  Bench sending_on(faults);
  for (int i = 0; i < 500; ++i) {
    sending.SendNumbers(i, i + 1);
    Datagram one[] = {{Peer{{5, 0, 0}}, TextBuffer(sending_on.port().pool(), absl::StrCat(i))}};
    const Peer source = {{1000u + static_cast<uint64_t>(i), 0, 0}};
    EXPECT_EQ(sending_on.port().Forward(absl::MakeSpan(one), {&source, 1}), 1u);
    for (Bench* bench : {&sending, &sending_on}) {
      bench->clock.Advance(2'000);
      bench->Poll();
    }
  }
  EXPECT_EQ(sending_on.state.sent, sending.state.sent);
  EXPECT_TRUE(sending.state.sources.empty());
  ASSERT_EQ(sending_on.state.sources.size(), sending_on.state.sent.size());
  for (size_t i = 0; i < sending_on.state.sent.size(); ++i) {
    EXPECT_EQ(absl::StrCat(sending_on.state.sources[i] - 1000), sending_on.state.sent[i]);
  }
}

// Both kinds are held in one queue, and leave it in one order.
TEST(FaultPortTest, WhatIsSentAndWhatIsSentOnLeaveInTurn) {
  config::Fault faults = Faults();
  faults.set_delay_us(5);
  Bench bench(faults);
  std::vector<std::string> expected;
  for (int i = 0; i < 20; ++i) {
    expected.push_back(absl::StrCat(i));
    if (i % 3 != 0) {
      EXPECT_TRUE(bench.Send(expected.back()));
      continue;
    }
    Datagram one[] = {{Peer{{5, 0, 0}}, TextBuffer(bench.port().pool(), expected.back())}};
    const Peer nobody = {};  // the port below finds that out
    EXPECT_EQ(bench.port().Forward(absl::MakeSpan(one), {&nobody, 1}), 1u);
  }
  bench.clock.Advance(10'000);
  bench.Poll();
  EXPECT_EQ(bench.state.sent, expected);
  EXPECT_EQ(bench.state.sources.size(), 7u);
}

TEST(FaultPortTest, EmptyMessagesMeetFaultsToo) {
  config::Fault faults = Faults();
  faults.set_duplicate(1);
  faults.set_corrupt(1);
  Bench bench(faults);
  EXPECT_TRUE(bench.Send(""));
  EXPECT_EQ(bench.state.sent, (std::vector<std::string>{"", ""}));
}

TEST(FaultPortTest, ShowsThePortBelow) {
  Bench bench(Faults());
  FaultDatagramPort& port = bench.port();
  EXPECT_EQ(port.local_address(), bench.below().local_address());
  EXPECT_EQ(port.wait_fd(), 42);
  EXPECT_EQ(&port.pool(), &bench.below().pool());
  EXPECT_EQ(port.Resolve(*Address::Parse("10.0.0.2:77"))->words[0], 77u);
  EXPECT_EQ(port.AddressOf(Peer{{77, 0, 0}})->ToString(), "10.0.0.2:77");
  bench.below().AddEvent({PortEvent::Kind::kPeerClosed, Peer{{3, 0, 0}}});
  PortEvent events[2];
  EXPECT_EQ(port.TakeEvents(absl::MakeSpan(events)), 1u);
  EXPECT_EQ(port.TakeEvents(absl::MakeSpan(events)), 0u);
  port.BindToThisThread();
  EXPECT_EQ(bench.state.binds, 1);
  bench.state.incoming = {"in"};
  Datagram in[2];
  ASSERT_EQ(port.Receive(absl::MakeSpan(in)), 1u);
  EXPECT_EQ(TextOf(in[0].buffer), "in");
  bench.below().Die();
  EXPECT_EQ(port.status(), absl::UnavailableError("unplugged"));
}

// A clock without events of its own: only the port's timer can move it.
class EmptyWorld : public VirtualTime {
 public:
  int64_t NowNs() const override { return now_ns_; }
  int64_t NextEventNs() const override { return INT64_MAX; }
  void AdvanceTo(int64_t time_ns) override { now_ns_ = time_ns; }

 private:
  int64_t now_ns_ = 0;
};

TEST(FaultPortTest, DelaysPassInVirtualTime) {
  EmptyWorld world;
  FakeState state;
  config::Fault faults = Faults();
  faults.set_delay_us(10);
  faults.set_delay_jitter_us(50);
  {
    FaultDatagramPort port(std::make_unique<FakeDatagramPort>(state), faults, world,
                           &world.timers());
    for (int i = 0; i < 100; ++i) {
      Datagram one[] = {{Peer{}, TextBuffer(port.pool(), absl::StrCat(i))}};
      port.Send(absl::MakeSpan(one));
    }
    EXPECT_TRUE(RunVirtual(world, {}, [&] { return state.sent.size() == 50; }));
    EXPECT_GT(world.NowNs(), 10'000);
    EXPECT_FALSE(RunVirtual(world, {}, [] { return false; }));
    EXPECT_EQ(state.sent.size(), 100u);
    EXPECT_LE(world.NowNs(), 60'000);
    Datagram one[] = {{Peer{}, TextBuffer(port.pool(), "late")}};
    port.Send(absl::MakeSpan(one));
  }
  // Nothing is left of a port that was closed.
  EXPECT_FALSE(RunVirtual(world, {}, [] { return false; }));
  EXPECT_EQ(state.sent.size(), 100u);
}

TEST(FaultFramePortTest, FramesMeetTheSameFaults) {
  FakeState state;
  ManualClock clock;
  config::Fault faults = Faults();
  faults.set_loss(0.5);
  faults.set_delay_us(1);
  FaultFramePort port(std::make_unique<FakeFramePort>(state), faults, clock);
  for (int i = 0; i < 100; ++i) {
    Buffer one[] = {TextBuffer(port.pool(), std::string(60, 'f'))};
    EXPECT_EQ(port.Send(absl::MakeSpan(one)), 1u);
    EXPECT_FALSE(one[0]);
  }
  EXPECT_FALSE(port.Arm());
  clock.Advance(1'000);
  Buffer in[2];
  state.incoming = {"in"};
  EXPECT_EQ(port.Receive(absl::MakeSpan(in)), 1u);
  EXPECT_EQ(state.sent.size(), 100 - port.fault_stats().lost);
  EXPECT_TRUE(port.Arm());
  EXPECT_EQ(port.mac(), (MacAddress{2, 0, 0, 0, 0, 9}));
  EXPECT_FALSE(port.link_up());
  EXPECT_EQ(port.wait_fd(), 43);
  EXPECT_EQ(port.local_address(), Address::Sim("nic"));
}

}  // namespace
}  // namespace weft
