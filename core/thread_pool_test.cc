// SPDX-License-Identifier: Apache-2.0
#include "weft/core/thread_pool.h"

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"

namespace weft {
namespace {

// Keeps functions of the pool from returning until the test opens it.
class Gate {
 public:
  void Open() { opened_.set_value(); }
  // For a function to capture.
  std::function<void()> Pass() {
    return [future = future_] { future.wait(); };
  }

 private:
  std::promise<void> opened_;
  std::shared_future<void> future_ = opened_.get_future().share();
};

class ThreadPoolTest : public testing::Test {
 protected:
  // Runs the loop until `done` holds, which others than the loop may bring about.
  void RunUntil(const std::function<bool()>& done) {
    while (!done()) {
      loop_->RunOnce();
      std::this_thread::yield();
    }
  }
  void RunUntilTasksEnd() {
    RunUntil([&] { return tasks_.size() == 0; });
  }

  // Hands `function` to `pool`; "ok" or the error's name is added to outcomes_ when it is back.
  template <typename F>
  void Spawn(ThreadPool& pool, F function) {
    tasks_.Spawn(Await(pool, *loop_, std::move(function), outcomes_));
  }
  template <typename F>
  static Task<> Await(ThreadPool& pool, Loop& loop, F function,
                      std::vector<absl::StatusCode>& outcomes) {
    auto call = pool.Run(loop, std::move(function));
    const absl::Status status = co_await call;
    outcomes.push_back(status.code());
  }

  // Occupies a thread of `pool` until `gate` opens; returns when it does.
  void Occupy(ThreadPool& pool, Gate& gate) {
    const uint64_t before = pool.stats().run;
    Spawn(pool, gate.Pass());
    RunUntil([&] { return pool.stats().run > before; });
  }

  std::optional<Loop> loop_{std::in_place, LoopOptions{.mode = LoopMode::kSleep}, RealClock()};
  std::vector<absl::StatusCode> outcomes_;
  TaskGroup tasks_;
};

TEST_F(ThreadPoolTest, RunsElsewhereAndResumesHere) {
  ThreadPool pool;
  const auto here = std::this_thread::get_id();
  bool resumed = false;
  const auto run = [&]() -> Task<> {
    const absl::StatusOr<std::thread::id> there =
        co_await pool.Run(*loop_, [] { return std::this_thread::get_id(); });
    EXPECT_TRUE(there.ok());
    EXPECT_NE(*there, here);
    EXPECT_EQ(std::this_thread::get_id(), here);
    resumed = true;
    loop_->Stop();
  };
  tasks_.Spawn(run());
  EXPECT_FALSE(resumed);
  loop_->Run();
  EXPECT_TRUE(resumed);
}

TEST_F(ThreadPoolTest, ResultsOfEachKind) {
  ThreadPool pool;
  struct Fixed {  // can be moved, but not assigned
    const std::string text;
  };
  const auto run = [&]() -> Task<> {
    const absl::StatusOr<int> value = co_await pool.Run(*loop_, [] { return 7; });
    EXPECT_EQ(*value, 7);
    absl::StatusOr<std::unique_ptr<int>> move_only =
        co_await pool.Run(*loop_, [] { return std::make_unique<int>(8); });
    EXPECT_EQ(**move_only, 8);
    const absl::StatusOr<Fixed> fixed = co_await pool.Run(*loop_, [] { return Fixed{"nine"}; });
    EXPECT_EQ(fixed->text, "nine");
    const absl::Status nothing = co_await pool.Run(*loop_, [] {});
    EXPECT_EQ(nothing, absl::OkStatus());
    const absl::Status status =
        co_await pool.Run(*loop_, [] { return absl::NotFoundError("gone"); });
    EXPECT_EQ(status, absl::NotFoundError("gone"));
    const absl::StatusOr<int> good =
        co_await pool.Run(*loop_, [] { return absl::StatusOr<int>(10); });
    EXPECT_EQ(*good, 10);
    const absl::StatusOr<int> bad = co_await pool.Run(
        *loop_, []() -> absl::StatusOr<int> { return absl::DataLossError("torn"); });
    EXPECT_EQ(bad.status(), absl::DataLossError("torn"));
  };
  tasks_.Spawn(run());
  RunUntilTasksEnd();
  EXPECT_EQ(pool.stats().run, 7u);
}

TEST_F(ThreadPoolTest, FunctionsOfEachKind) {
  ThreadPool pool;
  const auto run = [&]() -> Task<> {
    auto add_one = pool.Run(
        *loop_, [value = std::make_unique<int>(3)]() mutable { return *std::move(value) + 1; });
    const absl::StatusOr<int> moved = co_await add_one;
    EXPECT_EQ(*moved, 4);
    const auto size = [text = std::string(100, 'x')] { return text.size(); };
    for (int i = 0; i < 2; ++i) {
      auto copy = pool.Run(*loop_, size);
      const absl::StatusOr<size_t> result = co_await copy;
      EXPECT_EQ(*result, 100u);
    }
    const int a = 1;
    const int& b = a;
    EXPECT_EQ(*co_await pool.Run(*loop_, [a, &b] { return a + b; }), 2);
    EXPECT_EQ(*co_await pool.Run(
                  *loop_, +[] { return 5; }),
              5);
  };
  tasks_.Spawn(run());
  RunUntilTasksEnd();
}

TEST_F(ThreadPoolTest, WhatWasCapturedIsGoneWhenTheCoroutineGoesOn) {
  ThreadPool pool;
  const auto run = [&]() -> Task<> {
    auto captured = std::make_shared<int>(1);
    const std::weak_ptr<int> watch = captured;
    auto call = pool.Run(*loop_, [captured = std::move(captured)] { return *captured; });
    const absl::StatusOr<int> value = co_await call;
    EXPECT_EQ(*value, 1);
    EXPECT_TRUE(watch.expired());
  };
  tasks_.Spawn(run());
  RunUntilTasksEnd();
}

TEST_F(ThreadPoolTest, FunctionsBeginInOrder) {
  ThreadPool pool({.threads = 1});
  Gate gate;
  Occupy(pool, gate);
  std::string begun;
  for (const char name : {'a', 'b', 'c', 'd'}) Spawn(pool, [&begun, name] { begun += name; });
  EXPECT_EQ(pool.stats().waiting.value(), 4);
  gate.Open();
  RunUntilTasksEnd();
  EXPECT_EQ(begun, "abcd");
  EXPECT_EQ(pool.stats().waiting.value(), 0);
  EXPECT_EQ(pool.stats().running.value(), 0);
}

TEST_F(ThreadPoolTest, RefusesAtOnceWhenTheQueueIsFull) {
  ThreadPool pool({.threads = 1, .queue_max = 2});
  Gate gate;
  Occupy(pool, gate);
  for (int i = 0; i < 4; ++i) Spawn(pool, [] {});
  EXPECT_EQ(outcomes_, (std::vector<absl::StatusCode>(2, absl::StatusCode::kResourceExhausted)));
  EXPECT_EQ(tasks_.size(), 3u);
  EXPECT_EQ(pool.stats().refused, 2u);
  gate.Open();
  RunUntilTasksEnd();
  EXPECT_EQ(pool.stats().run, 3u);
  Spawn(pool, [] {});
  RunUntilTasksEnd();
  EXPECT_EQ(outcomes_.back(), absl::StatusCode::kOk);
}

// Whether the threads have woken up yet does not matter.
TEST_F(ThreadPoolTest, WithoutAQueueEachThreadHasOneFunction) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool({.threads = 2, .queue_max = 0});
    Gate gate;
    for (int j = 0; j < 3; ++j) Spawn(pool, gate.Pass());
    EXPECT_EQ(pool.stats().refused, 1u);
    gate.Open();
    RunUntilTasksEnd();
  }
}

TEST_F(ThreadPoolTest, AThreadIsFreeForTheNextWhenACoroutineGoesOn) {
  ThreadPool pool({.threads = 1, .queue_max = 0});
  const auto run = [&]() -> Task<> {
    for (int i = 0; i < 200; ++i) EXPECT_TRUE((co_await pool.Run(*loop_, [] {})).ok());
  };
  tasks_.Spawn(run());
  RunUntilTasksEnd();
}

TEST_F(ThreadPoolTest, WithoutThreadsFunctionsRunHere) {
  ThreadPool pool({.threads = 0});
  std::optional<std::thread::id> there;
  Spawn(pool, [&] { there = std::this_thread::get_id(); });
  EXPECT_EQ(there, std::this_thread::get_id());
  EXPECT_EQ(outcomes_, (std::vector{absl::StatusCode::kOk}));
  EXPECT_EQ(pool.stats().run, 1u);
}

TEST_F(ThreadPoolTest, CancelledWhileItWaits) {
  ThreadPool pool({.threads = 1, .queue_max = 3});
  Gate gate;
  Occupy(pool, gate);
  std::string ran;
  auto captured = std::make_shared<int>();
  TaskGroup victims[3];
  for (int i = 0; i < 3; ++i) {
    victims[i].Spawn(Await(
        pool, *loop_, [&ran, i, captured] { ran += std::to_string(i); }, outcomes_));
  }
  // From the middle, the end, and the front of the queue.
  int left = 3;
  for (const int i : {1, 2, 0}) {
    victims[i].Cancel();
    --left;
    EXPECT_EQ(pool.stats().waiting.value(), left);
    EXPECT_EQ(captured.use_count(), left + 1);
  }
  for (int i = 0; i < 3; ++i) Spawn(pool, [&ran] { ran += 'x'; });  // there is room again
  EXPECT_EQ(pool.stats().cancelled, 3u);
  EXPECT_EQ(pool.stats().refused, 0u);
  gate.Open();
  RunUntilTasksEnd();
  EXPECT_EQ(ran, "xxx");
}

TEST_F(ThreadPoolTest, CancelledWhileItRuns) {
  std::weak_ptr<int> result;
  bool loop_had_work = false;
  {
    ThreadPool pool({.threads = 1});
    Gate gate;
    const auto run = [&]() -> Task<> {
      auto call = pool.Run(*loop_, [pass = gate.Pass(), &result] {
        pass();
        auto made = std::make_shared<int>(1);
        result = made;
        return made;
      });
      (void)co_await call;
      ADD_FAILURE() << "resumed";
    };
    tasks_.Spawn(run());
    RunUntil([&] { return pool.stats().running.value() == 1; });
    tasks_.Cancel();
    EXPECT_EQ(pool.stats().cancelled, 0u);
    gate.Open();
  }
  loop_had_work = loop_->RunOnce() > 0;
  EXPECT_TRUE(loop_had_work);
  EXPECT_TRUE(result.expired());
}

TEST_F(ThreadPoolTest, CancelledWhenTheResultIsPosted) {
  std::optional<ThreadPool> pool(std::in_place);
  std::weak_ptr<int> result;
  const auto run = [&]() -> Task<> {
    (void)co_await pool->Run(*loop_, [&result] {
      auto made = std::make_shared<int>(1);
      result = made;
      return made;
    });
    ADD_FAILURE() << "resumed";
  };
  tasks_.Spawn(run());
  while (pool->stats().run == 0) std::this_thread::yield();
  pool.reset();  // returns when it has posted
  EXPECT_FALSE(result.expired());
  tasks_.Cancel();
  EXPECT_EQ(loop_->RunOnce(), 1u);
  EXPECT_TRUE(result.expired());
}

TEST_F(ThreadPoolTest, TheLoopMayGoFirst) {
  Gate gate;
  std::weak_ptr<int> result;
  std::optional<ThreadPool> pool(std::in_place, ThreadPoolOptions{.threads = 1});
  const auto run = [&]() -> Task<> {
    auto call = pool->Run(*loop_, [pass = gate.Pass(), &result] {
      pass();
      auto made = std::make_shared<int>(1);
      result = made;
      return made;
    });
    (void)co_await call;
    ADD_FAILURE() << "resumed";
  };
  tasks_.Spawn(run());
  Spawn(*pool, [] {});  // waits
  RunUntil([&] { return pool->stats().running.value() == 1; });
  loop_.reset();
  gate.Open();
  pool.reset();
  tasks_.Cancel();
  EXPECT_TRUE(result.expired());
  EXPECT_TRUE(outcomes_.empty());
}

TEST_F(ThreadPoolTest, ThePoolMayGoFirst) {
  std::optional<ThreadPool> pool(std::in_place, ThreadPoolOptions{.threads = 1});
  Gate gate;
  bool ran = false;
  auto captured = std::make_shared<int>();
  Occupy(*pool, gate);
  for (int i = 0; i < 3; ++i) Spawn(*pool, [&ran, captured] { ran = true; });
  TaskGroup victim;
  victim.Spawn(Await(
      *pool, *loop_, [&ran] { ran = true; }, outcomes_));
  const ThreadPoolStats& stats = pool->stats();  // valid while somebody waits
  std::thread destroyer([&] { pool.reset(); });
  while (stats.cancelled < 4) std::this_thread::yield();
  victim.Cancel();
  RunUntil([&] { return outcomes_.size() == 3; });  // they do not wait for the function that runs
  EXPECT_EQ(outcomes_, (std::vector<absl::StatusCode>(3, absl::StatusCode::kCancelled)));
  EXPECT_EQ(captured.use_count(), 1);
  gate.Open();
  destroyer.join();
  RunUntilTasksEnd();
  EXPECT_EQ(outcomes_.back(), absl::StatusCode::kOk);
  EXPECT_FALSE(ran);
}

TEST_F(ThreadPoolTest, ATaskMayDestroyThePoolWhenItGoesOn) {
  auto pool = std::make_unique<ThreadPool>(ThreadPoolOptions{.threads = 1});
  const auto run = [&]() -> Task<> {
    (void)co_await pool->Run(*loop_, [] {});
    pool.reset();
  };
  tasks_.Spawn(run());
  RunUntilTasksEnd();
}

// One loop of several, each with its thread; its coroutines give up at all moments.
void HandOverAndCancel(ThreadPool& pool, int seed, int* ended, int* given_up) {
  Loop loop({.mode = LoopMode::kAdaptive}, RealClock());
  const auto task = [](ThreadPool& pool, Loop& loop, int& ended) -> Task<> {
    for (int i = 0; i < 3; ++i) {
      auto call = pool.Run(
          loop, [number = std::make_unique<int>(i)]() mutable { return std::move(number); });
      const absl::StatusOr<std::unique_ptr<int>> value = co_await call;
      if (value.ok()) {
        EXPECT_EQ(**value, i);
      } else {
        EXPECT_TRUE(absl::IsResourceExhausted(value.status())) << value.status();
      }
    }
    ++ended;
  };
  for (int i = 0; i < 200; ++i) {
    TaskGroup tasks;
    for (int j = 0; j < 6; ++j) tasks.Spawn(task(pool, loop, *ended));
    for (int j = 0; j < (i * 7 + seed) % 12; ++j) {
      loop.RunOnce();
      std::this_thread::yield();
    }
    *given_up += static_cast<int>(tasks.size());
  }
}

TEST(ThreadPoolStressTest, ManyLoopsThatGiveUp) {
  constexpr int kLoops = 6;
  int ended[kLoops] = {};
  int given_up[kLoops] = {};
  {
    ThreadPool pool({.threads = 3, .queue_max = 20});
    std::vector<std::thread> threads;
    for (int i = 0; i < kLoops; ++i) {
      threads.emplace_back([&, i] { HandOverAndCancel(pool, i, &ended[i], &given_up[i]); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(pool.stats().waiting.value(), 0);
  }
  for (int i = 0; i < kLoops; ++i) EXPECT_EQ(ended[i] + given_up[i], 200 * 6);
}

// Pools end while loops, running on their own threads, wait for them.
TEST(ThreadPoolStressTest, PoolsThatEndUnderLoad) {
  for (int i = 0; i < 50; ++i) {
    std::optional<ThreadPool> pool(std::in_place, ThreadPoolOptions{.threads = 2});
    std::vector<std::thread> threads;
    std::atomic<int> waiting{0};
    std::atomic<int> outcomes{0};
    for (int j = 0; j < 3; ++j) {
      threads.emplace_back([&] {
        Loop loop({.mode = LoopMode::kSleep}, RealClock());
        TaskGroup tasks;
        const auto task = [&]() -> Task<> {
          const absl::Status status = co_await pool->Run(loop, [] { std::this_thread::yield(); });
          EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
          ++outcomes;
          loop.Post([&] {
            if (tasks.size() == 0) loop.Stop();
          });
        };
        for (int k = 0; k < 20; ++k) tasks.Spawn(task());
        ++waiting;
        loop.Run();
      });
    }
    while (waiting < 3) std::this_thread::yield();
    pool.reset();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(outcomes, 60);
  }
}

}  // namespace
}  // namespace weft
