// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/time_wait.h"

#include "gtest/gtest.h"

namespace weft::tcp {
namespace {

constexpr int64_t kS = 1'000'000'000;

TimeWaitEntry EntryOf(uint16_t port) {
  TimeWaitEntry entry;
  entry.set_flow(
      {netstack::IpAddress::V4(0x0a000001), netstack::IpAddress::V4(0x0a000002), 80, port});
  entry.snd_nxt = Seq(port);
  return entry;
}

class TimeWaitTest : public ::testing::Test {
 protected:
  TimerWheel wheel_{kS};
  TimeWaitTable table_{4, 60 * kS, 7, &wheel_};
};

TEST_F(TimeWaitTest, RestsAndIsForgotten) {
  table_.Add(EntryOf(1), 1 * kS);
  table_.Add(EntryOf(2), 11 * kS);
  const uint32_t index = table_.Find(EntryOf(1).flow());
  ASSERT_NE(index, TimeWaitTable::kNone);
  EXPECT_EQ(table_[index].snd_nxt, Seq(1));
  wheel_.Advance(60 * kS);
  EXPECT_EQ(table_.size(), 2u);
  wheel_.Advance(61 * kS + 1'000'000);
  EXPECT_EQ(table_.Find(EntryOf(1).flow()), TimeWaitTable::kNone);
  EXPECT_NE(table_.Find(EntryOf(2).flow()), TimeWaitTable::kNone);
  wheel_.Advance(71 * kS + 1'000'000);
  EXPECT_EQ(table_.size(), 0u);
  EXPECT_EQ(wheel_.size(), 0u);
}

TEST_F(TimeWaitTest, RenewedRestsOn) {
  table_.Add(EntryOf(1), 1 * kS);
  table_.Renew(table_.Find(EntryOf(1).flow()), 50 * kS);
  wheel_.Advance(62 * kS);
  EXPECT_EQ(table_.size(), 1u);
  wheel_.Advance(111 * kS);
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(TimeWaitTest, AtTheLimitTheOldestGoes) {
  for (uint16_t port = 1; port <= 4; ++port) table_.Add(EntryOf(port), port * kS);
  EXPECT_TRUE(table_.full());
  table_.Renew(table_.Find(EntryOf(1).flow()), 5 * kS);
  table_.Add(EntryOf(5), 6 * kS);
  EXPECT_EQ(table_.size(), 4u);
  EXPECT_NE(table_.Find(EntryOf(1).flow()), TimeWaitTable::kNone);
  EXPECT_EQ(table_.Find(EntryOf(2).flow()), TimeWaitTable::kNone);
}

TEST_F(TimeWaitTest, RemovedIsGoneAtOnce) {
  table_.Add(EntryOf(1), kS);
  table_.Add(EntryOf(2), kS);
  table_.Add(EntryOf(3), kS);
  table_.Remove(table_.Find(EntryOf(2).flow()));
  EXPECT_EQ(table_.Find(EntryOf(2).flow()), TimeWaitTable::kNone);
  table_.Remove(table_.Find(EntryOf(1).flow()));
  table_.Remove(table_.Find(EntryOf(3).flow()));
  EXPECT_EQ(wheel_.size(), 0u);
}

TEST(TimeWaitManyTest, ThousandsComeAndGo) {
  TimerWheel wheel(0);
  TimeWaitTable table(100'000, 2 * kS, 7, &wheel);
  for (int round = 0; round < 3; ++round) {
    for (uint32_t port = 0; port < 10'000; ++port) {
      table.Add(EntryOf(static_cast<uint16_t>(port)), round * 10 * kS);
    }
    EXPECT_EQ(table.size(), 10'000u);
    wheel.Advance(round * 10 * kS + 3 * kS);
    EXPECT_EQ(table.size(), 0u);
  }
}

TEST(TickTest, GoesRoundAndBack) {
  for (const int64_t ns : {int64_t{0}, int64_t{1}, (int64_t{1} << 46) - 5, int64_t{1} << 50}) {
    EXPECT_GE(Tick::AtLeast(ns).ToNs(ns), ns);
    EXPECT_LE(Tick::AtMost(ns).ToNs(ns), ns);
    EXPECT_LT(Tick::AtLeast(ns + 30'000 * kS).ToNs(ns), ns + 30'000 * kS + 2 * Tick::kNs);
    EXPECT_TRUE(Tick::AtLeast(ns));
  }
}

}  // namespace
}  // namespace weft::tcp
