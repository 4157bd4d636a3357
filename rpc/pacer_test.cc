// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/pacer.h"

#include <algorithm>
#include <cstdint>

#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"

namespace weft::rpc {
namespace {

constexpr int64_t kHour = 3'600'000'000'000;

TEST(PacerTest, WithoutAGapEverythingMayGoAtOnce) {
  Pacer pacer;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pacer.Allowed(1000, 0, 1), UINT32_MAX);
    pacer.OnSent(1000, 0, 1, 100);
  }
  EXPECT_LE(pacer.NextNs(0), 1000);
}

TEST(PacerTest, KeepsTheGap) {
  Pacer pacer;
  EXPECT_EQ(pacer.Allowed(5000, 1000, 1), 1u) << "the first may go at once";
  pacer.OnSent(5000, 1000, 1, 1);
  EXPECT_EQ(pacer.Allowed(5000, 1000, 1), 0u);
  EXPECT_EQ(pacer.Allowed(5999, 1000, 1), 0u);
  EXPECT_EQ(pacer.NextNs(1000), 6000);
  EXPECT_EQ(pacer.Allowed(6000, 1000, 1), 1u);
}

TEST(PacerTest, APauseEarnsOneBurst) {
  Pacer pacer;
  EXPECT_EQ(pacer.Allowed(0, 1000, 4), 4u) << "as does the time before the first packet";
  pacer.OnSent(0, 1000, 4, 4);
  EXPECT_EQ(pacer.Allowed(2500, 1000, 4), 2u);
  EXPECT_EQ(pacer.Allowed(1'000'000, 1000, 4), 4u);
  pacer.OnSent(1'000'000, 1000, 4, 4);
  EXPECT_EQ(pacer.Allowed(1'000'999, 1000, 4), 0u);
  EXPECT_EQ(pacer.NextNs(1000), 1'001'000);
}

TEST(PacerTest, WhoIsLateCatchesUp) {
  Pacer pacer;
  pacer.OnSent(0, 1000, 4, 4);
  pacer.OnSent(1900, 1000, 4, 1);  // its slot was 1000
  EXPECT_EQ(pacer.NextNs(1000), 2000);
}

TEST(PacerTest, AGapThatChangesHoldsFromTheLatestPacket) {
  Pacer pacer;
  pacer.OnSent(0, 1'000'000, 1, 1);
  EXPECT_EQ(pacer.NextNs(1'000'000), 1'000'000);
  EXPECT_EQ(pacer.NextNs(1000), 1000);
  EXPECT_EQ(pacer.Allowed(1000, 1000, 1), 1u);
  EXPECT_EQ(pacer.Allowed(1000, 0, 1), UINT32_MAX);
}

TEST(PacerTest, PacingBeginsAfterWhatWasSentUnpaced) {
  Pacer pacer;
  pacer.OnSent(7000, 0, 1, 10);
  EXPECT_EQ(pacer.NextNs(1000), 8000);
}

TEST(PacerTest, WhatIsSentWithoutAskingDelaysByABurstAtMost) {
  Pacer pacer;
  pacer.OnSent(0, 1000, 4, UINT32_MAX);
  EXPECT_EQ(pacer.NextNs(1000), 5000);
}

TEST(PacerTest, ExtremesDoNotOverflow) {
  Pacer pacer;
  constexpr int64_t kLate = INT64_MAX / 4;
  EXPECT_EQ(pacer.Allowed(0, INT64_MAX, 65536), 65536u);
  EXPECT_EQ(pacer.Allowed(kLate, INT64_MAX, 65536), 65536u);
  pacer.OnSent(kLate, INT64_MAX, 65536, UINT32_MAX);
  EXPECT_EQ(pacer.NextNs(INT64_MAX), kLate + kHour);
  pacer.OnSent(kLate, INT64_MAX, 65536, UINT32_MAX);
  EXPECT_EQ(pacer.Allowed(kLate, INT64_MAX, 65536), 0u);
}

// Driven by a timer of the wheel, whose ticks do not divide the gap, it reaches its rate exactly.
TEST(PacerTest, DoesNotDriftOnTheTimerWheel) {
  for (const int64_t gap_ns : {300, 999, 1024, 1500, 7001, 100'003}) {
    constexpr uint32_t kBurst = 8;
    struct Sender {
      TimerWheel wheel{0};
      Pacer pacer;
      int64_t gap_ns;
      uint64_t sent = 0;
      Timer timer{[](void* self, int64_t now_ns) { static_cast<Sender*>(self)->Send(now_ns); },
                  this};

      void Send(int64_t now_ns) {
        const uint32_t n = pacer.Allowed(now_ns, gap_ns, kBurst);
        pacer.OnSent(now_ns, gap_ns, kBurst, n);
        sent += n;
        wheel.Schedule(timer, pacer.NextNs(gap_ns));
      }
    } sender;
    sender.gap_ns = gap_ns;
    sender.pacer.OnSent(0, gap_ns, kBurst, kBurst);
    sender.Send(0);
    Prng prng(7);
    constexpr int64_t kEndNs = 10'000'000;
    int64_t now_ns = 0;
    while (now_ns < kEndNs) {
      now_ns = std::min<int64_t>(kEndNs, now_ns + 1 + prng.Below(1024));
      sender.wheel.Advance(now_ns);
    }
    EXPECT_LE(sender.sent, static_cast<uint64_t>(kEndNs / gap_ns)) << gap_ns;
    EXPECT_GE(sender.sent + 4,  // What the last tick has not sent yet.
              static_cast<uint64_t>(kEndNs / gap_ns))
        << gap_ns;
  }
}

// In no time span more packets than its slots and one burst, whatever is asked when.
TEST(PacerTest, NeverExceedsTheRateByMoreThanABurst) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Prng prng(seed);
    const auto gap_ns = static_cast<int64_t>(1 + prng.Below(5000));
    const auto burst = static_cast<uint32_t>(1 + prng.Below(16));
    Pacer pacer;
    int64_t now_ns = static_cast<int64_t>(prng.Below(1'000'000));
    const int64_t start_ns = now_ns;
    int64_t sent = 0;
    for (int i = 0; i < 2000; ++i) {
      now_ns += static_cast<int64_t>(prng.Below(prng.Chance(0.05) ? 100'000 : 3000));
      const uint32_t allowed = pacer.Allowed(now_ns, gap_ns, burst);
      ASSERT_EQ(allowed == 0, now_ns < pacer.NextNs(gap_ns)) << "seed " << seed;
      const auto n = static_cast<uint32_t>(prng.Below(allowed + 1));
      pacer.OnSent(now_ns, gap_ns, burst, n);
      sent += n;
      ASSERT_LE(sent, (now_ns - start_ns) / gap_ns + burst) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace weft::rpc
