// SPDX-License-Identifier: Apache-2.0
#include "weft/core/virtual_time.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"

namespace weft {
namespace {

// A world whose events are strings that it appends to a log.
class World : public VirtualTime {
 public:
  int64_t NowNs() const override { return now_ns_; }
  int64_t NextEventNs() const override {
    return events_.empty() ? INT64_MAX : events_.begin()->first;
  }
  void AdvanceTo(int64_t time_ns) override {
    EXPECT_GE(time_ns, now_ns_);
    EXPECT_LE(time_ns, NextEventNs());
    now_ns_ = time_ns;
    ++advances;
    while (!events_.empty() && events_.begin()->first <= now_ns_) {
      log += events_.begin()->second;
      events_.erase(events_.begin());
    }
  }
  void At(int64_t time_ns, const std::string& event) { events_.emplace(time_ns, event); }

  std::string log;
  int advances = 0;

 private:
  int64_t now_ns_ = 0;
  std::multimap<int64_t, std::string> events_;
};

bool Never() { return false; }

TEST(RunVirtualTest, JumpsFromEventToEventAndEndsWhenNoneIsLeft) {
  World world;
  world.At(3'000'000'000, "b");
  world.At(1'000'000'000, "a");
  Loop loop({}, world);
  Loop* loops[] = {&loop};
  EXPECT_FALSE(RunVirtual(world, loops, Never));
  EXPECT_EQ(world.log, "ab");
  EXPECT_EQ(world.NowNs(), 3'000'000'000);
  EXPECT_EQ(world.advances, 2);
}

TEST(RunVirtualTest, EndsWhenDone) {
  World world;
  for (int i = 1; i <= 9; ++i) world.At(i * 1'000'000, std::to_string(i));
  EXPECT_TRUE(RunVirtual(world, {}, [&] { return world.log.size() == 4; }));
  EXPECT_EQ(world.log, "1234");
  EXPECT_EQ(world.NowNs(), 4'000'000);
}

TEST(RunVirtualTest, StopsBeforeTheEnd) {
  World world;
  world.At(1'000, "a");
  world.At(2'000, "b");
  EXPECT_FALSE(RunVirtual(world, {}, Never, 1'999));
  EXPECT_EQ(world.log, "a");
  EXPECT_FALSE(RunVirtual(world, {}, Never, 2'000));
  EXPECT_EQ(world.log, "ab");
}

TEST(RunVirtualTest, TimersOfLoopsFireAtTheirDeadlines) {
  World world;
  Loop early({}, world);
  Loop late({}, world);
  struct Stamp {
    static void Fire(void* self, int64_t now_ns) {
      static_cast<Stamp*>(self)->fired_ns.push_back(now_ns);
    }
    std::vector<int64_t> fired_ns;
    Timer timer{&Stamp::Fire, this};
  };
  Stamp a;
  Stamp b;
  early.timers().Schedule(a.timer, 12'345);
  late.timers().Schedule(b.timer, 987'654'321);
  Loop* loops[] = {&early, &late};
  EXPECT_FALSE(RunVirtual(world, loops, Never));
  EXPECT_EQ(a.fired_ns, std::vector<int64_t>{12'345});
  EXPECT_EQ(b.fired_ns, std::vector<int64_t>{987'654'321});
}

TEST(RunVirtualTest, TimersOfNoLoopFireAfterTheEventsOfTheirInstant) {
  World world;
  world.At(5'000, "event ");
  Timer timer(
      [](void* self, int64_t now_ns) {
        auto* world = static_cast<World*>(self);
        EXPECT_EQ(now_ns, 5'000);
        world->log += "timer ";
      },
      &world);
  world.timers().Schedule(timer, 5'000);
  EXPECT_FALSE(RunVirtual(world, {}, Never));
  EXPECT_EQ(world.log, "event timer ");
}

TEST(RunVirtualTest, RunsLoopsInTheirOrderUntilNoneHasWork) {
  World world;
  Loop a({}, world);
  Loop b({}, world);
  std::string log;
  a.Post([&] {
    log += "a1 ";
    b.Post([&] {
      log += "b1 ";
      a.Post([&] { log += "a2 "; });
    });
  });
  Loop* loops[] = {&a, &b};
  EXPECT_FALSE(RunVirtual(world, loops, Never));
  EXPECT_EQ(log, "a1 b1 a2 ");
  EXPECT_EQ(world.NowNs(), 0);
}

// NextDeadlineNs() is only a lower bound. Advancing to it must bring the run forward each time: it
// fires something or raises the bound, at most once a level of the wheel.
TEST(RunVirtualTest, MakesProgressWhateverTheTimers) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Prng prng(seed);
    World world;
    Loop loop({}, world);
    struct State {
      World* world;
      int fired = 0;
      int64_t last_ns = 0;
    } state{&world};
    struct One {
      static void Fire(void* self, int64_t now_ns) {
        auto* one = static_cast<One*>(self);
        EXPECT_EQ(now_ns, one->state->world->NowNs());
        EXPECT_EQ(now_ns, std::max(one->timer.deadline_ns(), one->state->last_ns));
        one->state->last_ns = now_ns;
        ++one->state->fired;
      }
      State* state;
      Timer timer{&One::Fire, this};
    };
    std::vector<std::unique_ptr<One>> timers;
    for (int i = 0; i < 50; ++i) {
      timers.emplace_back(new One{.state = &state});
      // Of all magnitudes up to 2^60 ns, some years.
      loop.timers().Schedule(timers.back()->timer,
                             static_cast<int64_t>(prng.Next() >> (4 + prng.Below(60))));
    }
    int armed = 50;
    for (int i = 0; i < 20; ++i) {
      Timer& timer = timers[prng.Below(50)]->timer;
      if (timer.armed()) --armed;
      loop.timers().Cancel(timer);
    }
    Loop* loops[] = {&loop};
    EXPECT_FALSE(RunVirtual(world, loops, [&] {
      EXPECT_LT(loop.stats().iterations, 2000u) << "seed " << seed << ": stuck";
      return loop.stats().iterations >= 2000;
    }));
    EXPECT_EQ(state.fired, armed) << "seed " << seed;
  }
}

TEST(RunVirtualTest, CoroutinesSleepInVirtualTime) {
  World world;
  Loop loop({}, world);
  TaskGroup tasks;
  std::vector<int64_t> woke_ns;
  const auto nap = [](Loop& loop, std::vector<int64_t>& woke_ns) -> Task<> {
    for (int i = 0; i < 3; ++i) {
      co_await loop.Sleep(absl::Hours(1));
      woke_ns.push_back(loop.now_ns());
    }
  };
  tasks.Spawn(nap(loop, woke_ns));
  Loop* loops[] = {&loop};
  EXPECT_TRUE(RunVirtual(world, loops, [&] { return tasks.size() == 0; }));
  const int64_t hour_ns = int64_t{3600} * 1'000'000'000;
  EXPECT_EQ(woke_ns, (std::vector<int64_t>{hour_ns, 2 * hour_ns, 3 * hour_ns}));
}

}  // namespace
}  // namespace weft
