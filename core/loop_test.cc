// SPDX-License-Identifier: Apache-2.0
#include "weft/core/loop.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"

namespace weft {
namespace {

// Counts how it is used and does what the test says.
class ScriptedPollable : public Pollable {
 public:
  explicit ScriptedPollable(
      std::function<size_t()> poll = [] { return size_t{0}; }, int fd = -1)
      : poll_(std::move(poll)), fd_(fd) {}

  size_t Poll() override {
    ++polls;
    return poll_();
  }
  int wait_fd() const override { return fd_; }
  bool Arm() override {
    ++arms;
    return arm_result;
  }
  void Disarm() override { ++disarms; }

  int polls = 0;
  int arms = 0;
  int disarms = 0;
  bool arm_result = true;

 private:
  std::function<size_t()> poll_;
  int fd_;
};

// What other threads put in, one thread takes out; can be waited for.
class Mailbox : public Pollable {
 public:
  Mailbox() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~Mailbox() override { close(fd_); }

  void Put() {
    pending_.fetch_add(1);
    const uint64_t one = 1;
    if (armed_.load()) {
      ASSERT_EQ(write(fd_, &one, sizeof(one)), 8);
    }
  }

  size_t Poll() override {
    const int n = pending_.exchange(0);
    for (int i = 0; i < n; ++i) on_message();
    return n;
  }
  int wait_fd() const override { return fd_; }
  bool Arm() override {
    armed_.store(true);
    if (pending_.load() == 0) return true;
    Disarm();
    return false;
  }
  void Disarm() override {
    armed_.store(false);
    uint64_t count;
    [[maybe_unused]] ssize_t got = read(fd_, &count, sizeof(count));
  }

  bool armed() const { return armed_.load(); }

  std::function<void()> on_message = [] {};

 private:
  const int fd_;
  std::atomic<int> pending_{0};
  std::atomic<bool> armed_{false};
};

TEST(LoopTest, RunOncePollsInOrderAndCountsWork) {
  ManualClock clock(1000);
  Loop loop({}, clock);
  std::string order;
  ScriptedPollable a([&] { return order += 'a', size_t{2}; });
  ScriptedPollable b([&] { return order += 'b', size_t{0}; });
  loop.Add(&a);
  loop.Add(&b);
  EXPECT_EQ(loop.now_ns(), 1000);
  clock.Advance(5);
  EXPECT_EQ(loop.RunOnce(), 2u);
  EXPECT_EQ(loop.now_ns(), 1005);
  loop.Remove(&a);
  EXPECT_EQ(loop.RunOnce(), 0u);
  EXPECT_EQ(order, "abb");
  EXPECT_EQ(loop.stats().iterations, 2u);
  EXPECT_EQ(loop.stats().idle_iterations, 1u);
}

TEST(LoopTest, TimersFireWhenTheClockReachesThem) {
  ManualClock clock(0);
  Loop loop({}, clock);
  std::vector<int64_t> fired;
  const auto record = [](void* context, int64_t now_ns) {
    static_cast<std::vector<int64_t>*>(context)->push_back(now_ns);
  };
  Timer timer(record, &fired);
  EXPECT_EQ(loop.NextTimerNs(), TimerWheel::kNever);
  loop.timers().Schedule(timer, 5'000);
  EXPECT_LE(loop.NextTimerNs(), 5'000);
  clock.Set(4'999);
  EXPECT_EQ(loop.RunOnce(), 0u);
  clock.Set(5'001);
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(fired, std::vector<int64_t>{5'001});
}

TEST(LoopTest, PollablesMayBeAddedWhilePolled) {
  ManualClock clock;
  Loop loop({}, clock);
  // Many, so that the list has to move.
  std::vector<std::unique_ptr<ScriptedPollable>> added;
  ScriptedPollable adder([&] {
    for (int i = 0; i < 100; ++i) {
      added.push_back(std::make_unique<ScriptedPollable>([] { return size_t{1}; }));
      loop.Add(added.back().get());
    }
    loop.Remove(&adder);
    return size_t{0};
  });
  loop.Add(&adder);
  EXPECT_EQ(loop.RunOnce(), 100u);
  EXPECT_EQ(loop.RunOnce(), 100u);
  EXPECT_EQ(adder.polls, 1);
}

TEST(LoopTest, PollablesMayBeRemovedWhilePolled) {
  ManualClock clock;
  Loop loop({}, clock);
  ScriptedPollable before;
  ScriptedPollable after;
  auto self = std::make_unique<ScriptedPollable>();
  ScriptedPollable* raw = self.get();
  *self = ScriptedPollable([&, raw] {
    loop.Remove(&before);
    loop.Remove(raw);
    loop.Remove(&after);
    self.reset();  // takes this function with it: nothing may follow
    return size_t{1};
  });
  ScriptedPollable last;
  for (Pollable* pollable : {static_cast<Pollable*>(&before), static_cast<Pollable*>(raw),
                             static_cast<Pollable*>(&after), static_cast<Pollable*>(&last)}) {
    loop.Add(pollable);
  }
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(loop.RunOnce(), 0u);
  EXPECT_EQ(before.polls, 1);
  EXPECT_EQ(after.polls, 0);
  EXPECT_EQ(last.polls, 2);
  loop.Remove(&before);  // unknown by now: harmless
  loop.Add(&before);
  loop.RunOnce();
  EXPECT_EQ(before.polls, 2);
}

TEST(LoopTest, PostedFunctionsRunInOrderAndThoseTheyPostInTheNextRound) {
  ManualClock clock;
  Loop loop({}, clock);
  std::string order;
  loop.Post([&] {
    order += '1';
    loop.Post([&] { order += '3'; });
  });
  loop.Post([&] { order += '2'; });
  EXPECT_EQ(loop.RunOnce(), 2u);
  EXPECT_EQ(order, "12");
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(order, "123");
  EXPECT_EQ(loop.RunOnce(), 0u);
}

TEST(LoopTest, PostedFunctionsThatDidNotRunAreDestroyedWithTheLoop) {
  ManualClock clock;
  auto token = std::make_shared<int>(0);
  {
    Loop loop({}, clock);
    loop.Post([token] { ADD_FAILURE() << "must not run"; });
    EXPECT_EQ(token.use_count(), 2);
  }
  EXPECT_EQ(token.use_count(), 1);
}

TEST(LoopTest, PostedFunctionsMayOwnWhatCannotBeCopied) {
  ManualClock clock;
  Loop loop({}, clock);
  int seen = 0;
  loop.Post([&seen, value = std::make_unique<int>(42)] { seen = *value; });
  loop.RunOnce();
  EXPECT_EQ(seen, 42);
}

TEST(LoopTest, StopBeforeRunEndsItAtOnce) {
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  EXPECT_FALSE(loop.stopped());
  loop.Stop();
  EXPECT_TRUE(loop.stopped());
  loop.Run();
  EXPECT_EQ(loop.stats().iterations, 0u);
}

class LoopModeTest : public testing::TestWithParam<LoopMode> {
 protected:
  // How often to hand over between threads. Busy loops that share a processor with others hand over
  // only when their time slice ends, and have no sleep that could go wrong.
  static int Handovers() { return GetParam() == LoopMode::kBusy ? 20 : 2000; }
};

INSTANTIATE_TEST_SUITE_P(AllModes, LoopModeTest,
                         testing::Values(LoopMode::kBusy, LoopMode::kAdaptive, LoopMode::kSleep),
                         [](const auto& info) {
                           return info.param == LoopMode::kBusy       ? "Busy"
                                  : info.param == LoopMode::kAdaptive ? "Adaptive"
                                                                      : "Sleep";
                         });

TEST_P(LoopModeTest, RunsWhatOtherThreadsPost) {
  Loop loop({.mode = GetParam()}, RealClock());
  constexpr int kThreads = 4;
  constexpr int kPosts = 5000;
  std::vector<int> last(kThreads, -1);
  int total = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.Post([&, t, i] {
          EXPECT_EQ(std::exchange(last[t], i), i - 1);
          if (++total == kThreads * kPosts) loop.Stop();
        });
      }
    });
  }
  loop.Run();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kPosts);
}

// Each post finds the loop idle, and often asleep or on the way there: a lost wake-up hangs the
// test.
TEST_P(LoopModeTest, NoWakeUpIsLost) {
  Loop loop({.mode = GetParam(), .spin = absl::Microseconds(2)}, RealClock());
  std::thread runner([&] { loop.Run(); });
  std::atomic<int> done{0};
  const int rounds = Handovers();
  for (int i = 1; i <= rounds; ++i) {
    loop.Post([&done, i] {
      done.store(i);
      done.notify_one();
    });
    done.wait(i - 1);
  }
  loop.Stop();
  runner.join();
  EXPECT_EQ(done.load(), rounds);
}

TEST_P(LoopModeTest, TwoLoopsPassMessagesToAndFro) {
  Loop left({.mode = GetParam(), .spin = absl::Microseconds(2)}, RealClock());
  Loop right({.mode = GetParam(), .spin = absl::Microseconds(2)}, RealClock());
  Mailbox left_box;
  Mailbox right_box;
  int rounds = 0;
  left_box.on_message = [&] {
    if (++rounds < Handovers()) return right_box.Put();
    right.Stop();
    left.Stop();
  };
  right_box.on_message = [&] { left_box.Put(); };
  left.Add(&left_box);
  right.Add(&right_box);
  std::thread runner([&] { right.Run(); });
  right_box.Put();
  left.Run();
  runner.join();
  EXPECT_EQ(rounds, Handovers());
}

TEST_P(LoopModeTest, TimersFireWithoutAnythingElseHappening) {
  Loop loop({.mode = GetParam(), .spin = absl::Microseconds(1)}, RealClock());
  struct Chain {
    static void Fire(void* self, int64_t now_ns) {
      auto* chain = static_cast<Chain*>(self);
      EXPECT_GE(now_ns, chain->timer.deadline_ns());
      if (++chain->fired == 20) return chain->loop->Stop();
      chain->loop->timers().Schedule(chain->timer, now_ns + 100'000);
    }
    Loop* loop;
    int fired = 0;
    Timer timer{&Chain::Fire, this};
  };
  Chain chain{.loop = &loop};
  loop.timers().Schedule(chain.timer, loop.now_ns() + 100'000);
  loop.Run();
  EXPECT_EQ(chain.fired, 20);
}

Loop* interrupted_loop = nullptr;

TEST_P(LoopModeTest, StopsFromASignalHandler) {
  Loop loop({.mode = GetParam(), .spin = absl::Microseconds(1)}, RealClock());
  interrupted_loop = &loop;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {
    const int saved_errno = errno;
    interrupted_loop->Stop();
    errno = saved_errno;
  };
  sigaction(SIGUSR1, &action, &before);
  std::atomic<bool> running{false};
  std::thread runner([&] {
    loop.Post([&] {
      running.store(true);
      running.notify_one();
    });
    loop.Run();
  });
  running.wait(false);
  pthread_kill(runner.native_handle(), SIGUSR1);
  runner.join();
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_TRUE(loop.stopped());
}

TEST(LoopTest, BusyNeverSleeps) {
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  Timer stop([](void* self, int64_t) { static_cast<Loop*>(self)->Stop(); }, &loop);
  loop.timers().Schedule(stop, loop.now_ns() + 1'000'000);
  loop.Run();
  EXPECT_EQ(loop.stats().sleeps, 0u);
}

TEST(LoopTest, AdaptiveDoesNotSleepBeforeItHasSpun) {
  Loop loop({.mode = LoopMode::kAdaptive, .spin = absl::InfiniteDuration()}, RealClock());
  Timer stop([](void* self, int64_t) { static_cast<Loop*>(self)->Stop(); }, &loop);
  loop.timers().Schedule(stop, loop.now_ns() + 1'000'000);
  loop.Run();
  EXPECT_EQ(loop.stats().sleeps, 0u);
}

// An idle loop costs nothing: it goes round a few times for each thing that happens, not more.
TEST(LoopTest, SleepsWhileThereIsNothingToDo) {
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  Mailbox box;
  loop.Add(&box);
  int got = 0;
  box.on_message = [&] {
    if (++got == 10) loop.Stop();
  };
  std::thread sender([&] {
    for (int i = 0; i < 10; ++i) {
      while (!box.armed()) std::this_thread::yield();
      box.Put();
    }
  });
  loop.Run();
  sender.join();
  EXPECT_GE(loop.stats().sleeps, 1u);
  EXPECT_LE(loop.stats().iterations, 40u);
}

TEST(LoopTest, FarTimersDoNotKeepItAwake) {
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  Timer far([](void*, int64_t) {}, nullptr);
  loop.timers().Schedule(far, loop.now_ns() + int64_t{3600} * 1'000'000'000);
  Timer stop([](void* self, int64_t) { static_cast<Loop*>(self)->Stop(); }, &loop);
  loop.timers().Schedule(stop, loop.now_ns() + 20'000'000);
  loop.Run();
  // A timer may need one round a level of the wheel to be reached.
  EXPECT_LE(loop.stats().iterations, 40u);
  EXPECT_TRUE(far.armed());
}

// From now on the kernel refuses this thread the call, with `error`. False where that cannot be
// had.
bool Refuse(uint32_t call, uint32_t error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {.len = std::size(program), .filter = program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(LoopTest, SleepsWhereTheFineWaitIsRefused) {
  for (const uint32_t error : {ENOSYS, EPERM}) {
    bool refused = false;
    uint64_t sleeps = 0;
    std::thread([&] {
      refused = Refuse(SYS_epoll_pwait2, error);
      Loop loop({.mode = LoopMode::kSleep}, RealClock());
      Timer timer([](void* stopped, int64_t) { static_cast<Loop*>(stopped)->Stop(); }, &loop);
      loop.timers().Schedule(timer, loop.now_ns() + 200'000'000);
      loop.Run();
      sleeps = loop.stats().sleeps;
    }).join();
    if (!refused) GTEST_SKIP() << "no seccomp";
    EXPECT_GE(sleeps, 1u);
    EXPECT_LE(sleeps, 5u);
  }
}

TEST(LoopTest, APollableWithoutDescriptorKeepsTheLoopAwakeWhileItIsThere) {
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  uint64_t sleeps_with_it = 99;
  Timer stop([](void* self, int64_t) { static_cast<Loop*>(self)->Stop(); }, &loop);
  ScriptedPollable spinner([&] {
    if (spinner.polls < 1000) return size_t{0};
    sleeps_with_it = loop.stats().sleeps;
    loop.Remove(&spinner);
    loop.timers().Schedule(stop, loop.now_ns() + 200'000'000);
    return size_t{0};
  });
  loop.Add(&spinner);
  loop.Run();
  EXPECT_EQ(sleeps_with_it, 0u);
  EXPECT_GT(loop.stats().sleeps, 0u);
}

TEST(LoopTest, RemovingOneOfTwoWithTheSameDescriptorLeavesTheOther) {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  ScriptedPollable stays(
      [&] {
        uint64_t count;
        if (read(fd, &count, sizeof(count)) != sizeof(count)) return size_t{0};
        loop.Stop();
        return size_t{1};
      },
      fd);
  ScriptedPollable goes([] { return size_t{0}; }, fd);
  loop.Add(&stays);
  loop.Add(&goes);
  loop.Remove(&goes);
  struct Context {
    const int fd;
  } context{fd};
  Timer timer(
      [](void* self, int64_t) {
        const uint64_t one = 1;
        ASSERT_EQ(write(static_cast<Context*>(self)->fd, &one, sizeof(one)), 8);
      },
      &context);
  loop.timers().Schedule(timer, loop.now_ns() + 200'000'000);
  loop.Run();
  EXPECT_GT(loop.stats().sleeps, 0u);
  close(fd);
}

TEST(LoopTest, DoesNotSleepWhenArmFindsWork) {
  const int fd = eventfd(0, EFD_CLOEXEC);
  Loop loop({.mode = LoopMode::kSleep}, RealClock());
  ScriptedPollable first([] { return size_t{0}; }, fd);
  const int other_fd = eventfd(0, EFD_CLOEXEC);
  ScriptedPollable refuser([] { return size_t{0}; }, other_fd);
  refuser.arm_result = false;
  const int third_fd = eventfd(0, EFD_CLOEXEC);
  ScriptedPollable last(
      [&] {
        if (last.polls == 100) loop.Stop();
        return size_t{0};
      },
      third_fd);
  loop.Add(&first);
  loop.Add(&refuser);
  loop.Add(&last);
  loop.Run();
  EXPECT_EQ(loop.stats().sleeps, 0u);
  // What was armed is disarmed; what refused, and what was not asked, is not.
  EXPECT_GT(first.arms, 0);
  EXPECT_EQ(first.disarms, first.arms);
  EXPECT_EQ(refuser.disarms, 0);
  EXPECT_EQ(last.arms, 0);
  EXPECT_EQ(last.disarms, 0);
  for (int open : {fd, other_fd, third_fd}) close(open);
}

TEST(LoopTest, SteadyStateAllocatesNothing) {
  ManualClock clock;
  Loop loop({}, clock);
  ScriptedPollable pollable;
  loop.Add(&pollable);
  struct Again {
    static void Fire(void* self, int64_t now_ns) {
      auto* again = static_cast<Again*>(self);
      again->loop->timers().Schedule(again->timer, now_ns + 3'000);
    }
    Loop* loop;
    Timer timer{&Again::Fire, this};
  };
  Again again{.loop = &loop};
  loop.timers().Schedule(again.timer, 0);
  int posted = 0;
  int64_t warm = 0;
  for (int i = 0; i < 1100; ++i) {
    if (i == 100) warm = AllocationsOfThisThread();
    clock.Advance(1'000);
    loop.Post([&posted] { ++posted; });
    loop.RunOnce();
  }
  EXPECT_EQ(AllocationsOfThisThread() - warm, 0);
  EXPECT_EQ(posted, 1100);
}

}  // namespace
}  // namespace weft
