// SPDX-License-Identifier: Apache-2.0
//
// How hosts end: by signals, and with time for what is to be done before.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "weft/core/timer_wheel.h"
#include "weft/host/host.h"
#include "weft/host/host_test_util.h"

namespace weft {
namespace {

TEST(HostEndTest, ASignalIsACleanEnd) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto host = MustOpen("host { workers: 2 }");
    std::atomic<int> ended{0};
    const absl::Status status = host->Run([&](Worker& worker) -> Application {
      if (worker.index() == 1) worker.loop().Post([signal] { kill(getpid(), signal); });
      return std::make_shared<AtEnd>([&] { ++ended; });
    });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(ended, 2);
  }
}

TEST(HostEndTest, ASignalThatComesTwiceAtOnceIsACleanEnd) {
  const auto host = MustOpen("");
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    worker.loop().Post([] {
      raise(SIGINT);
      raise(SIGINT);
    });
    return nullptr;
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(HostEndTest, WithoutASignalNothingStaysOfTheHandler) {
  const auto host = MustOpen("");
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    worker.Stop();
    return nullptr;
  });
  EXPECT_TRUE(status.ok()) << status;
  struct sigaction action;
  sigaction(SIGTERM, nullptr, &action);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
}

// What has a while to end before the loop does: it takes until a timer fires.
class SlowEnd {
 public:
  explicit SlowEnd(Worker& worker) : worker_(worker), timer_(&SlowEnd::End, this) {
    worker.BeforeEnd([this](auto done) {
      thread_ = std::this_thread::get_id();
      done_ = std::move(done);
      worker_.loop().timers().Schedule(timer_, worker_.loop().now_ns() + 5'000'000);
    });
  }
  std::thread::id thread() const { return thread_; }
  bool ended() const { return ended_; }

 private:
  static void End(void* self, int64_t) {
    auto& slow = *static_cast<SlowEnd*>(self);
    slow.ended_ = true;
    slow.done_();
  }

  Worker& worker_;
  Timer timer_;
  absl::AnyInvocable<void()> done_;
  std::thread::id thread_;
  bool ended_ = false;
};

// Holds a SlowEnd until the worker's end and looks at it then.
Application WithSlowEnds(Worker& worker, int count, std::atomic<int>* ended) {
  auto ends = std::make_shared<std::vector<std::unique_ptr<SlowEnd>>>();
  for (int i = 0; i < count; ++i) ends->push_back(std::make_unique<SlowEnd>(worker));
  return std::make_shared<AtEnd>([ends, ended] {
    for (const auto& end : *ends) {
      if (!end->ended()) continue;
      EXPECT_EQ(end->thread(), std::this_thread::get_id());
      ++*ended;
    }
    ends->clear();
  });
}

TEST(HostEndTest, WhatIsToBeDoneBeforeTheEndIsDone) {
  const auto host = MustOpen("host { workers: 3 }");
  std::atomic<int> ended{0};
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    if (worker.index() == 2) worker.loop().Post([] { kill(getpid(), SIGTERM); });
    return WithSlowEnds(worker, worker.index(), &ended);
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(ended, 3);
}

TEST(HostEndTest, AnErrorLeavesNoTimeBeforeTheEnd) {
  const auto host = MustOpen("host { workers: 2 }");
  std::atomic<int> ended{0};
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    worker.loop().Post([&worker] { worker.Stop(absl::DataLossError("dead")); });
    return WithSlowEnds(worker, 1, &ended);
  });
  EXPECT_EQ(status, absl::DataLossError("dead"));
  EXPECT_EQ(ended, 0);
}

TEST(HostEndTest, WhatDoesNotEndDoesNotKeepTheOthers) {
  const auto host = MustOpen("host { workers: 2 }");
  std::atomic<int> ended{0};
  const absl::Status status = host->Run([&](Worker& worker) -> Application {
    if (worker.index() == 0) worker.BeforeEnd([](const auto&) {});
    if (worker.index() == 1) worker.loop().Post([] { kill(getpid(), SIGTERM); });
    return WithSlowEnds(worker, 1, &ended);
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(ended, 2);
}

// Sends it until the process ends.
[[noreturn]] void Insist(int signal) {
  while (true) {
    kill(getpid(), signal);
    absl::SleepFor(absl::Milliseconds(20));
  }
}

TEST(HostEndDeathTest, ALaterSignalEndsAStuckProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const auto host = MustOpen("");
        (void)host->Run([&](Worker& worker) -> Application {
          worker.loop().Post([] { kill(getpid(), SIGTERM); });
          return std::make_shared<AtEnd>([] { Insist(SIGTERM); });
        });
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST(HostEndDeathTest, AfterwardsSignalsDoWhatTheyDidBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        signal(SIGTERM, [](int) { _exit(7); });
        (void)MustOpen("")->Run([&](Worker& worker) -> Application {
          worker.loop().Post([] { kill(getpid(), SIGTERM); });
          return nullptr;
        });
        Insist(SIGTERM);
      },
      testing::ExitedWithCode(7), "");
}

TEST(HostEndTest, OnlyOneCatchesSignals) {
  const auto host = MustOpen("");
  const absl::Status status = host->Run([](Worker& worker) -> Application {
    const auto none = [](Worker& inner) -> Application {
      inner.Stop();
      return nullptr;
    };
    EXPECT_EQ(MustOpen("")->Run(none).code(), absl::StatusCode::kFailedPrecondition);
    const auto quiet = Host::Open({}, {.handle_signals = false});
    EXPECT_TRUE((*quiet)->Run(none).ok());
    worker.Stop();
    return nullptr;
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace weft
