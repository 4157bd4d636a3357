// SPDX-License-Identifier: Apache-2.0

#include "weft/core/timer_wheel.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"

namespace weft {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kStart = 1'000 * kMs;

// A timer that runs a function.
class Alarm {
 public:
  explicit Alarm(std::function<void(int64_t)> function) : function_(std::move(function)) {}
  Timer& timer() { return timer_; }

 private:
  static void Fire(void* self, int64_t now_ns) {
    // A copy, as the function may destroy this object.
    const std::function<void(int64_t)> function = static_cast<Alarm*>(self)->function_;
    function(now_ns);
  }

  std::function<void(int64_t)> function_;
  Timer timer_{&Alarm::Fire, this};
};

TEST(TimerWheelTest, IsEmptyAtFirst) {
  TimerWheel wheel(0);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.NextDeadlineNs(), TimerWheel::kNever);
  EXPECT_EQ(wheel.Advance(INT64_MAX), 0u);
}

TEST(TimerWheelTest, FiresAtItsDeadlineAndOnce) {
  TimerWheel wheel(1000);
  int64_t fired_ns = 0;
  Alarm alarm([&](int64_t now_ns) { fired_ns = now_ns; });
  wheel.Schedule(alarm.timer(), 1000 + 5 * kMs);
  EXPECT_TRUE(alarm.timer().armed());
  EXPECT_EQ(alarm.timer().deadline_ns(), 1000 + 5 * kMs);
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(wheel.Advance(1000 + 5 * kMs - 1), 0u);
  EXPECT_EQ(fired_ns, 0);
  EXPECT_EQ(wheel.Advance(1000 + 5 * kMs), 1u);
  EXPECT_EQ(fired_ns, 1000 + 5 * kMs);
  EXPECT_FALSE(alarm.timer().armed());
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.Advance(INT64_MAX), 0u);
}

TEST(TimerWheelTest, PastDeadlineFiresInTheNextAdvance) {
  TimerWheel wheel(5 * kMs);
  int fired = 0;
  Alarm past([&](int64_t) { ++fired; });
  Alarm negative([&](int64_t) { ++fired; });
  wheel.Schedule(past.timer(), 1);
  wheel.Schedule(negative.timer(), INT64_MIN);
  EXPECT_LE(wheel.NextDeadlineNs(), 5 * kMs);
  EXPECT_EQ(wheel.Advance(5 * kMs), 2u);
  EXPECT_EQ(fired, 2);
}

TEST(TimerWheelTest, TimeThatStepsBackLosesNothing) {
  TimerWheel wheel(0);
  EXPECT_EQ(wheel.Advance(0), 0u);
  Alarm first([](int64_t) {});
  wheel.Schedule(first.timer(), 5 * kMs);
  EXPECT_EQ(wheel.Advance(6 * kMs), 1u);
  Alarm second([](int64_t) {});
  wheel.Schedule(second.timer(), 3 * kMs);
  EXPECT_EQ(wheel.Advance(2 * kMs), 0u);
  EXPECT_EQ(wheel.Advance(3 * kMs), 1u);
}

TEST(TimerWheelTest, ReschedulingMovesATimer) {
  TimerWheel wheel(0);
  Alarm alarm([](int64_t) {});
  wheel.Schedule(alarm.timer(), 2 * kMs);
  wheel.Schedule(alarm.timer(), 7 * kMs);
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(wheel.Advance(6 * kMs), 0u);
  EXPECT_EQ(wheel.Advance(7 * kMs), 1u);
  wheel.Schedule(alarm.timer(), 100 * kMs);
  wheel.Schedule(alarm.timer(), 8 * kMs);
  EXPECT_LE(wheel.NextDeadlineNs(), 8 * kMs);
  EXPECT_EQ(wheel.Advance(8 * kMs), 1u);
}

TEST(TimerWheelTest, CancelledOrDestroyedTimersDoNotFire) {
  TimerWheel wheel(0);
  Alarm cancelled([](int64_t) { FAIL(); });
  wheel.Schedule(cancelled.timer(), kMs);
  wheel.Cancel(cancelled.timer());
  wheel.Cancel(cancelled.timer());
  {
    Alarm destroyed([](int64_t) { FAIL(); });
    wheel.Schedule(destroyed.timer(), kMs);
  }
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.NextDeadlineNs(), TimerWheel::kNever);
  EXPECT_EQ(wheel.Advance(2 * kMs), 0u);
}

TEST(TimerWheelTest, FarFutureDeadlines) {
  TimerWheel wheel(123);
  Alarm latest([](int64_t) {});
  Alarm years([](int64_t) {});
  wheel.Schedule(latest.timer(), INT64_MAX);
  wheel.Schedule(years.timer(), int64_t{100} * 365 * 86400 * 1'000'000'000);
  EXPECT_EQ(wheel.Advance(int64_t{100} * 365 * 86400 * 1'000'000'000 - 1), 0u);
  EXPECT_EQ(wheel.Advance(int64_t{100} * 365 * 86400 * 1'000'000'000), 1u);
  EXPECT_EQ(wheel.Advance(INT64_MAX - 1), 0u);
  EXPECT_EQ(wheel.Advance(INT64_MAX), 1u);
}

TEST(TimerWheelTest, EqualDeadlinesFireInTheOrderOfScheduling) {
  TimerWheel wheel(0);
  std::vector<int> order;
  std::deque<Alarm> alarms;
  for (int i = 0; i < 100; ++i) {
    // Time passes in between, so that timers enter at different levels.
    Alarm tick([](int64_t) {});
    wheel.Schedule(tick.timer(), i * 50'000);
    wheel.Advance(i * 50'000);
    alarms.emplace_back([&order, i](int64_t) { order.push_back(i); });
    wheel.Schedule(alarms.back().timer(), 5 * kMs);
  }
  EXPECT_EQ(wheel.Advance(5 * kMs), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(TimerWheelTest, RearmingInThePastFiresOncePerAdvance) {
  TimerWheel wheel(0);
  Alarm* self = nullptr;
  Alarm alarm([&](int64_t) { wheel.Schedule(self->timer(), 0); });
  self = &alarm;
  wheel.Schedule(alarm.timer(), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(wheel.Advance(i * kMs), 1u);
  EXPECT_TRUE(alarm.timer().armed());
}

TEST(TimerWheelTest, CallbackMayCancelRescheduleAndDestroyOthersDueWithIt) {
  TimerWheel wheel(0);
  std::vector<char> fired;
  Alarm cancelled([&](int64_t) { fired.push_back('c'); });
  Alarm moved([&](int64_t) { fired.push_back('m'); });
  auto destroyed = std::make_unique<Alarm>([&](int64_t) { fired.push_back('d'); });
  Alarm first([&](int64_t now_ns) {
    fired.push_back('f');
    wheel.Cancel(cancelled.timer());
    wheel.Schedule(moved.timer(), now_ns + kMs);
    destroyed.reset();
  });
  Alarm last([&](int64_t) { fired.push_back('l'); });
  for (Alarm* alarm : {&first, &cancelled, &moved, destroyed.get(), &last}) {
    wheel.Schedule(alarm->timer(), kMs);
  }
  EXPECT_EQ(wheel.Advance(kMs), 2u);
  EXPECT_EQ(fired, (std::vector<char>{'f', 'l'}));
  EXPECT_EQ(wheel.Advance(2 * kMs), 1u);
  EXPECT_EQ(fired.back(), 'm');
}

TEST(TimerWheelTest, CallbackMayDestroyItsOwnTimer) {
  TimerWheel wheel(0);
  std::unique_ptr<Alarm> alarm;
  alarm = std::make_unique<Alarm>([&](int64_t) { alarm.reset(); });
  wheel.Schedule(alarm->timer(), 10);
  EXPECT_EQ(wheel.Advance(10), 1u);
  EXPECT_EQ(alarm, nullptr);
}

TEST(TimerWheelTest, TimersOutliveTheirWheel) {
  Alarm soon([](int64_t) { FAIL(); });
  Alarm late([](int64_t) { FAIL(); });
  {
    TimerWheel wheel(0);
    wheel.Schedule(soon.timer(), 0);
    wheel.Schedule(late.timer(), INT64_MAX);
  }
  EXPECT_FALSE(soon.timer().armed());
  TimerWheel other(0);
  other.Schedule(late.timer(), kMs);
  EXPECT_EQ(other.size(), 1u);
}

// Moving down takes several calls; meanwhile all may be cancelled and scheduled anew.
TEST(TimerWheelTest, VeryManyOfOneTimeFireOverSomeCalls) {
  constexpr int kMany = 5 * TimerWheel::kMovedAtOnce;
  constexpr int64_t kHourNs = 3'600'000'000'000;
  TimerWheel wheel(kStart);
  int fired = 0;
  std::deque<Timer> timers;
  for (int i = 0; i < kMany; ++i) {
    timers.emplace_back([](void* count, int64_t) { ++*static_cast<int*>(count); }, &fired);
    wheel.Schedule(timers.back(), kStart + kHourNs);
  }
  int64_t now_ns = kStart;
  while (wheel.NextDeadlineNs() < kStart + kHourNs) {
    now_ns = std::max(now_ns + 1, wheel.NextDeadlineNs());
    wheel.Advance(now_ns);
  }
  EXPECT_EQ(fired, 0);
  EXPECT_EQ(wheel.size(), static_cast<size_t>(kMany));
  // Late, and all at once.
  now_ns = kStart + 2 * kHourNs;
  wheel.Advance(now_ns);
  int calls = 1;
  int cancelled = 0;
  for (; wheel.size() > 0; ++calls) {
    ASSERT_LE(wheel.NextDeadlineNs(), now_ns);
    for (int i = calls; i < kMany; i += 100) {
      if (!timers[i].armed()) continue;
      if (i % 200 < 100) {
        wheel.Cancel(timers[i]);
        ++cancelled;
      } else {
        wheel.Schedule(timers[i], now_ns);
      }
    }
    wheel.Advance(++now_ns);
    ASSERT_LT(calls, 100);
  }
  EXPECT_EQ(fired + cancelled, kMany);
  EXPECT_EQ(wheel.NextDeadlineNs(), TimerWheel::kNever);
}

TEST(TimerWheelTest, AWheelMayGoWhileItsTimersMove) {
  std::deque<Timer> timers;
  TimerWheel wheel(kStart);
  for (uint32_t i = 0; i < 3 * TimerWheel::kMovedAtOnce; ++i) {
    timers.emplace_back([](void*, int64_t) {}, nullptr);
    wheel.Schedule(timers.back(), kStart + 3'600'000'000'000);
  }
  wheel.Advance(wheel.NextDeadlineNs());
  while (timers.size() > TimerWheel::kMovedAtOnce) timers.pop_back();
  EXPECT_EQ(wheel.size(), timers.size());
}

TEST(TimerWheelTest, SleepingUntilTheNextDeadlineArrivesInFewSteps) {
  Prng prng(1);
  for (int run = 0; run < 1000; ++run) {
    const int64_t start_ns = static_cast<int64_t>(prng.Next() >> (1 + prng.Below(60)));
    TimerWheel wheel(start_ns);
    Alarm alarm([](int64_t) {});
    const int64_t deadline_ns = static_cast<int64_t>(prng.Next() >> (1 + prng.Below(60)));
    wheel.Schedule(alarm.timer(), deadline_ns);
    int steps = 0;
    size_t fired = 0;
    while (fired == 0) {
      ASSERT_LE(++steps, 10);
      ASSERT_LE(wheel.NextDeadlineNs(), deadline_ns);
      fired = wheel.Advance(wheel.NextDeadlineNs());
    }
  }
}

// The wheel beside a std::multimap that does the same, through random operations.
class ModelTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  static constexpr int kTimers = 200;

  ModelTest() : prng_(GetParam()), now_ns_(static_cast<int64_t>(prng_.Below(1 << 20))) {
    for (int i = 0; i < kTimers; ++i)
      alarms_.emplace_back([this, i](int64_t now_ns) { OnFire(i, now_ns); });
  }

  // From nanoseconds to minutes ahead; sometimes behind.
  int64_t RandomDeadline() {
    const auto distance_ns =
        static_cast<int64_t>(prng_.Below(uint64_t{1} << (1 + prng_.Below(37))));
    return prng_.Below(8) == 0 ? now_ns_ - distance_ns : now_ns_ + distance_ns;
  }

  void Schedule(int i) {
    Forget(i);
    const int64_t deadline_ns = RandomDeadline();
    wheel_.Schedule(alarms_[i].timer(), deadline_ns);
    model_.emplace(deadline_ns, i);
    fresh_[i] = advancing_;
  }

  void Cancel(int i) {
    Forget(i);
    wheel_.Cancel(alarms_[i].timer());
  }

  void Forget(int i) {
    for (auto it = model_.begin(); it != model_.end(); ++it) {
      if (it->second == i) {
        model_.erase(it);
        return;
      }
    }
  }

  void OnFire(int i, int64_t now_ns) {
    EXPECT_EQ(now_ns, now_ns_);
    EXPECT_LE(alarms_[i].timer().deadline_ns(), now_ns_);
    EXPECT_FALSE(fresh_[i]) << "scheduled during this Advance";
    Forget(i);
    if (prng_.Below(4) == 0) Schedule(i);
    if (prng_.Below(4) == 0) Schedule(static_cast<int>(prng_.Below(kTimers)));
    if (prng_.Below(8) == 0) Cancel(static_cast<int>(prng_.Below(kTimers)));
  }

  void Advance() {
    if (prng_.Below(2) == 0 && wheel_.NextDeadlineNs() != TimerWheel::kNever) {
      now_ns_ = std::max(now_ns_, wheel_.NextDeadlineNs());
    } else {
      now_ns_ += static_cast<int64_t>(prng_.Below(uint64_t{1} << (1 + prng_.Below(35))));
    }
    fresh_.clear();
    advancing_ = true;
    wheel_.Advance(now_ns_);
    advancing_ = false;
    for (const auto& [deadline_ns, i] : model_) {
      if (deadline_ns > now_ns_) break;
      EXPECT_TRUE(fresh_[i]) << "timer " << i << " was due and did not fire";
    }
  }

  Prng prng_;
  int64_t now_ns_;
  TimerWheel wheel_{now_ns_};
  std::deque<Alarm> alarms_;
  std::multimap<int64_t, int> model_;
  std::map<int, bool> fresh_;  // Scheduled since the current or last Advance began?
  bool advancing_ = false;
};

TEST_P(ModelTest, BehavesLikeAMultimap) {
  for (int step = 0; step < 3000; ++step) {
    const int i = static_cast<int>(prng_.Below(kTimers));
    switch (prng_.Below(4)) {
      case 0:
      case 1:
        Schedule(i);
        break;
      case 2:
        Cancel(i);
        break;
      case 3:
        Advance();
        break;
    }
    ASSERT_EQ(wheel_.size(), model_.size());
    if (!model_.empty()) {
      ASSERT_LE(wheel_.NextDeadlineNs(), model_.begin()->first);
    }
    ASSERT_FALSE(HasFailure()) << "seed " << GetParam() << ", step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, ::testing::Range<uint64_t>(0, 40));

}  // namespace
}  // namespace weft
