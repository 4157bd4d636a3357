// SPDX-License-Identifier: Apache-2.0
//
// What time it is for the code that a loop runs.
#include <sys/eventfd.h>

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/unique_fd.h"

namespace weft {
namespace {

constexpr int64_t kSleepNs = 10'000'000'000;

// Lets the loop fall asleep and wakes it after ten seconds, again and again, with nothing to do.
class LongSleeps : public Pollable {
 public:
  LongSleeps(Loop& loop, ManualClock& clock) : loop_(loop), clock_(clock) {}

  size_t Poll() override {
    lag_ns.push_back(clock_.NowNs() - loop_.now_ns());
    if (lag_ns.size() == 20) loop_.Stop();
    clock_.Advance(spent_polling_ns);
    return 0;
  }
  int wait_fd() const override { return fd_.get(); }
  bool Arm() override {
    clock_.Advance(kSleepNs);
    return true;
  }

  int64_t spent_polling_ns = 0;
  std::vector<int64_t> lag_ns;  // of the loop's time behind the clock's, in each round

 private:
  Loop& loop_;
  ManualClock& clock_;
  const UniqueFd fd_{eventfd(1, EFD_CLOEXEC)};  // always readable
};

// Each fifth round finds work.
class BusyNowAndThen : public LongSleeps {
 public:
  using LongSleeps::LongSleeps;

  size_t Poll() override {
    LongSleeps::Poll();
    return ++rounds_ % 5 == 0 ? 1 : 0;
  }

 private:
  int rounds_ = 0;
};

TEST(LoopTimeTest, BusyIsWhatRoundsTookThatFoundWork) {
  for (const LoopMode mode : {LoopMode::kBusy, LoopMode::kSleep}) {
    ManualClock clock(1000);
    Loop loop({.mode = mode}, clock);
    BusyNowAndThen poller(loop, clock);
    poller.spent_polling_ns = 100;
    loop.Add(&poller);
    loop.Run();
    // Twenty rounds. The clock is not read for each idle one: up to three of them may be counted.
    EXPECT_GE(loop.stats().busy_ns.value(), 3 * 100u);
    EXPECT_LE(loop.stats().busy_ns.value(), 4 * 400u);
    loop.Remove(&poller);
  }
}

TEST(LoopTimeTest, IsNewAfterASleep) {
  ManualClock clock(1000);
  Loop loop({.mode = LoopMode::kSleep}, clock);
  LongSleeps sleeper(loop, clock);
  loop.Add(&sleeper);
  loop.Run();
  EXPECT_EQ(sleeper.lag_ns, std::vector<int64_t>(20, 0));
}

TEST(LoopTimeTest, IsNewAfterASleepThatCameOnlyAfterSpinning) {
  ManualClock clock(1000);
  Loop loop({.mode = LoopMode::kAdaptive, .spin = absl::Microseconds(5)}, clock);
  LongSleeps sleeper(loop, clock);
  sleeper.spent_polling_ns = 1000;
  loop.Add(&sleeper);
  loop.Run();
  for (const int64_t lag_ns : sleeper.lag_ns) EXPECT_LT(lag_ns, 10'000);
}

TEST(LoopTimeTest, StandsStillWithinARoundAndPassesBetweenRounds) {
  ManualClock clock(1000);
  Loop loop({}, clock);
  clock.Set(5000);
  EXPECT_EQ(loop.now_ns(), 5000) << "a timer set before the first round is set against this";
  loop.Post([&] {
    clock.Set(6000);
    EXPECT_EQ(loop.now_ns(), 5000);
  });
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(loop.now_ns(), 6000);
}

}  // namespace
}  // namespace weft
