// SPDX-License-Identifier: Apache-2.0
#include "weft/core/task.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"

namespace weft {
namespace {

// Writes a letter when it is made and its capital when it is destroyed.
class Witness {
 public:
  Witness(std::string& log, char letter) : log_(log), letter_(letter) { log_ += letter; }
  ~Witness() { log_ += static_cast<char>(letter_ - 'a' + 'A'); }
  Witness(const Witness&) = delete;

 private:
  std::string& log_;
  char letter_;
};

// Something to wait for that the test triggers. Notes who waits and withdraws with the awaiter.
class Gate {
 public:
  auto operator co_await() {
    struct Awaiter {
      explicit Awaiter(Gate& gate) : gate(gate) {}
      ~Awaiter() {
        if (gate.waiting_ == handle) gate.waiting_ = nullptr;
      }
      bool await_ready() const { return false; }
      void await_suspend(std::coroutine_handle<> h) { gate.waiting_ = handle = h; }
      void await_resume() {}
      Gate& gate;
      std::coroutine_handle<> handle;
    };
    return Awaiter(*this);
  }
  bool has_waiter() const { return waiting_ != nullptr; }
  void Open() { std::exchange(waiting_, nullptr).resume(); }

 private:
  std::coroutine_handle<> waiting_;
};

Task<int> Seven() { co_return 7; }
Task<int> Twice(Task<int> inner) { co_return 2 * co_await std::move(inner); }
Task<> Store(Task<int> task, int& result) { result = co_await std::move(task); }

TEST(TaskTest, DoesNothingBeforeItIsAwaited) {
  std::string log;
  const auto make = [](std::string& log) -> Task<> {
    log += "ran";
    co_return;
  };
  { Task<> task = make(log); }
  EXPECT_EQ(log, "");
}

TEST(TaskTest, ResultsPassThroughNestedTasks) {
  TaskGroup tasks;
  int result = 0;
  tasks.Spawn(Store(Twice(Twice(Seven())), result));
  EXPECT_EQ(result, 28);
  EXPECT_EQ(tasks.size(), 0u);
}

TEST(TaskTest, ResultsMayBeOfAnyMovableType) {
  TaskGroup tasks;
  std::string log;
  const auto move_only = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
  const auto status_or = [](bool ok) -> Task<absl::StatusOr<std::string>> {
    if (!ok) co_return absl::NotFoundError("gone");
    co_return "text";
  };
  struct Pair {
    int a;
    std::string b;
  };
  const auto aggregate = []() -> Task<Pair> { co_return {3, "three"}; };
  const auto run = [&]() -> Task<> {
    log += std::to_string(*co_await move_only());
    log += *co_await status_or(true);
    log += std::string((co_await status_or(false)).status().message());
    log += (co_await aggregate()).b;
  };
  tasks.Spawn(run());
  EXPECT_EQ(log, "5textgonethree");
}

TEST(TaskTest, ResumesWhereItWasSuspended) {
  TaskGroup tasks;
  Gate gate;
  std::string log;
  const auto run = [&]() -> Task<> {
    log += "a";
    co_await gate;
    log += "b";
    co_await gate;
    log += "c";
  };
  tasks.Spawn(run());
  EXPECT_EQ(log, "a");
  gate.Open();
  EXPECT_EQ(log, "ab");
  EXPECT_EQ(tasks.size(), 1u);
  gate.Open();
  EXPECT_EQ(log, "abc");
  EXPECT_EQ(tasks.size(), 0u);
}

TEST(TaskTest, MovingATaskMovesItsCoroutine) {
  TaskGroup tasks;
  int result = 0;
  Task<int> a = Seven();
  Task<int> b = std::move(a);
  a = Twice(std::move(b));
  tasks.Spawn(Store(std::move(a), result));
  EXPECT_EQ(result, 14);
}

Task<int> Inner(Gate& gate, std::string& log) {
  Witness e(log, 'e');
  co_await gate;
  Witness f(log, 'f');
  co_await gate;
  co_return 1;
}

Task<int> Middle(Gate& gate, std::string& log) {
  Witness c(log, 'c');
  const int first = co_await Inner(gate, log);
  Witness d(log, 'd');
  co_return first + co_await Inner(gate, log);
}

Task<> Outer(Gate& gate, std::string& log) {
  Witness a(log, 'a');
  co_await Middle(gate, log);
  Witness b(log, 'b');
  co_await gate;
}

// Cancelled at each point in turn: locals go from the innermost task out, the youngest first, the
// awaiter has withdrawn, and nothing runs on.
TEST(TaskTest, CancellationAtEachSuspensionPoint) {
  const char* const logs[] = {"aceECA", "acefFECA", "acefFEdeEDCA", "acefFEdefFEDCA",
                              "acefFEdefFEDCbBA"};
  for (int opened = 0; opened < 5; ++opened) {
    std::string log;
    Gate gate;
    {
      TaskGroup tasks;
      tasks.Spawn(Outer(gate, log));
      for (int i = 0; i < opened; ++i) gate.Open();
      EXPECT_TRUE(gate.has_waiter());
      EXPECT_EQ(tasks.size(), 1u);
      tasks.Cancel();
      EXPECT_EQ(tasks.size(), 0u);
      EXPECT_FALSE(gate.has_waiter());
    }
    EXPECT_EQ(log, logs[opened]) << "after " << opened;
  }
}

TEST(TaskTest, RunsToItsEndWhenNotCancelled) {
  std::string log;
  Gate gate;
  TaskGroup tasks;
  tasks.Spawn(Outer(gate, log));
  for (int i = 0; i < 5; ++i) gate.Open();
  EXPECT_EQ(tasks.size(), 0u);
  EXPECT_EQ(log, "acefFEdefFEDCbBA");
}

TEST(TaskTest, ATaskHeldByAnotherIsCancelledBeforeItStarts) {
  std::string log;
  Gate gate;
  const auto holder = [&](Task<int> never_awaited) -> Task<> {
    Witness x(log, 'x');
    co_await gate;
    co_await std::move(never_awaited);
  };
  {
    TaskGroup tasks;
    tasks.Spawn(holder(Inner(gate, log)));
  }
  EXPECT_EQ(log, "xX");
}

TEST(TaskTest, ManySynchronousStepsDoNotGrowTheStack) {
  TaskGroup tasks;
  int64_t sum = 0;
  const auto run = [](int64_t& sum) -> Task<> {
    for (int i = 0; i < 1'000'000; ++i) sum += co_await Seven();
  };
  tasks.Spawn(run(sum));
  EXPECT_EQ(sum, 7'000'000);
}

TEST(TaskTest, ManyResumedStepsDoNotGrowTheStack) {
  TaskGroup tasks;
  Gate gate;
  const auto step = [](Gate& gate) -> Task<int> {
    co_await gate;
    co_return 1;
  };
  int sum = 0;
  const auto run = [&]() -> Task<> {
    for (int i = 0; i < 100'000; ++i) sum += co_await step(gate);
  };
  tasks.Spawn(run());
  while (gate.has_waiter()) gate.Open();
  EXPECT_EQ(sum, 100'000);
}

TEST(TaskGroupTest, CancelsTheYoungestFirst) {
  std::string log;
  Gate gates[3];
  TaskGroup tasks;
  const auto run = [&](Gate& gate, char letter) -> Task<> {
    Witness witness(log, letter);
    co_await gate;
  };
  tasks.Spawn(run(gates[0], 'a'));
  tasks.Spawn(run(gates[1], 'b'));
  tasks.Spawn(run(gates[2], 'c'));
  gates[1].Open();
  EXPECT_EQ(tasks.size(), 2u);
  tasks.Cancel();
  EXPECT_EQ(log, "abcBCA");
}

TEST(TaskGroupTest, TasksMaySpawnTasks) {
  Gate gate;
  TaskGroup tasks;
  int ended = 0;
  const auto child = [&]() -> Task<> {
    co_await gate;
    ++ended;
  };
  const auto parent = [&]() -> Task<> {
    tasks.Spawn(child());
    ++ended;
    co_return;
  };
  tasks.Spawn(parent());
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(tasks.size(), 1u);
  gate.Open();
  EXPECT_EQ(ended, 2);
  EXPECT_EQ(tasks.size(), 0u);
}

TEST(TaskGroupTest, ATaskIsCancelledFromOutsideThroughPost) {
  ManualClock clock;
  Loop loop({}, clock);
  Gate gate;
  std::string log;
  TaskGroup tasks;
  const auto run = [&]() -> Task<> {
    Witness witness(log, 'a');
    loop.Post([&] { tasks.Cancel(); });
    co_await gate;
    log += "not reached";
  };
  tasks.Spawn(run());
  loop.RunOnce();
  EXPECT_EQ(log, "aA");
}

TEST(SleepTest, ResumesInTheRoundInWhichTheTimeHasCome) {
  ManualClock clock(1'000'000);
  Loop loop({}, clock);
  TaskGroup tasks;
  std::vector<int64_t> woke_ns;
  const auto nap = [&]() -> Task<> {
    co_await loop.Sleep(absl::Microseconds(50));
    woke_ns.push_back(loop.now_ns());
    co_await loop.Sleep(absl::ZeroDuration());
    woke_ns.push_back(loop.now_ns());
    co_await loop.Sleep(-absl::Seconds(1));
    woke_ns.push_back(loop.now_ns());
  };
  tasks.Spawn(nap());
  EXPECT_EQ(loop.RunOnce(), 0u);
  clock.Advance(50'000);
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(woke_ns, (std::vector<int64_t>{1'050'000, 1'050'000, 1'050'000}));
  EXPECT_EQ(tasks.size(), 0u);
}

TEST(SleepTest, CancellationDisarmsTheTimer) {
  ManualClock clock;
  Loop loop({}, clock);
  std::string log;
  {
    TaskGroup tasks;
    const auto nap = [&](absl::Duration duration) -> Task<> {
      Witness witness(log, 'a');
      co_await loop.Sleep(duration);
      log += "not reached";
    };
    tasks.Spawn(nap(absl::Seconds(1)));
    tasks.Spawn(nap(absl::InfiniteDuration()));
    EXPECT_EQ(loop.timers().size(), 2u);
  }
  EXPECT_EQ(loop.timers().size(), 0u);
  clock.Advance(int64_t{1} << 40);
  EXPECT_EQ(loop.RunOnce(), 0u);
  EXPECT_EQ(log, "aaAA");
}

TEST(SleepTest, ATaskMayCancelAnotherThatSleeps) {
  ManualClock clock;
  Loop loop({}, clock);
  auto victims = std::make_unique<TaskGroup>();
  std::string log;
  const auto sleep = [&](absl::Duration duration) -> Task<> {
    Witness witness(log, 'v');
    co_await loop.Sleep(duration);
    log += "not reached";
  };
  const auto kill = [&]() -> Task<> {
    co_await loop.Sleep(absl::Microseconds(10));
    victims.reset();
  };
  TaskGroup tasks;
  tasks.Spawn(kill());
  // Due at the same time, but behind the killer in the wheel.
  victims->Spawn(sleep(absl::Microseconds(10)));
  clock.Advance(10'000);
  EXPECT_EQ(loop.RunOnce(), 1u);
  EXPECT_EQ(log, "vV");
}

TEST(TaskTest, SteadyStateAllocatesNothing) {
  ManualClock clock;
  Loop loop({}, clock);
  TaskGroup tasks;
  const auto call = [](Loop& loop) -> Task<int> {
    co_await loop.Sleep(absl::Microseconds(1));
    co_return 1;
  };
  int calls = 0;
  const auto serve = [&]() -> Task<> {
    for (;;) calls += co_await call(loop);
  };
  for (int i = 0; i < 8; ++i) tasks.Spawn(serve());
  int64_t warm = 0;
  for (int i = 0; i < 1'100; ++i) {
    if (i == 100) warm = AllocationsOfThisThread();
    clock.Advance(2'000);
    loop.RunOnce();
    tasks.Spawn(Store(Twice(Seven()), calls));
  }
  EXPECT_EQ(AllocationsOfThisThread() - warm, 0);
}

// Frames that one thread made may be destroyed by another, once it is the only one to use them.
TEST(TaskTest, TasksMayBeHandedToAnotherThreadBeforeTheyStart) {
  int result = 0;
  Task<> task = Store(Twice(Seven()), result);
  std::thread([&] {
    TaskGroup tasks;
    tasks.Spawn(std::move(task));
  }).join();
  EXPECT_EQ(result, 14);
}

}  // namespace
}  // namespace weft
