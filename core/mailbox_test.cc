// SPDX-License-Identifier: Apache-2.0
#include "weft/core/mailbox.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"

namespace weft {
namespace {

// Runs a function when it is destroyed, unless it was moved from.
class AtEnd {
 public:
  explicit AtEnd(absl::AnyInvocable<void()> function) : function_(std::move(function)) {}
  AtEnd(AtEnd&& other) noexcept : function_(std::exchange(other.function_, nullptr)) {}
  ~AtEnd() {
    if (function_) function_();
  }

 private:
  absl::AnyInvocable<void()> function_;
};

TEST(MailboxTest, PostsToItsLoop) {
  Loop loop({}, RealClock());
  std::string log;
  loop.mailbox()->Post([&] { log += 'a'; });
  loop.Post([&] { log += 'b'; });
  EXPECT_EQ(log, "");
  loop.RunOnce();
  EXPECT_EQ(log, "ab");
}

TEST(MailboxTest, WhatIsPostedToALoopThatHasGoneIsDestroyedAtOnce) {
  auto loop = std::make_unique<Loop>(LoopOptions{}, RealClock());
  const std::shared_ptr<Mailbox> mailbox = loop->mailbox();
  loop.reset();
  bool ran = false;
  bool destroyed = false;
  mailbox->Post([&ran, end = AtEnd([&] { destroyed = true; })] { ran = true; });
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(ran);
}

TEST(MailboxTest, WhatIsDestroyedWithTheLoopMayPost) {
  auto loop = std::make_unique<Loop>(LoopOptions{}, RealClock());
  const std::shared_ptr<Mailbox> mailbox = loop->mailbox();
  std::string log;
  const auto post_again = [&] {
    log += 'a';
    mailbox->Post([end = AtEnd([&] { log += 'b'; })] {});
  };
  mailbox->Post([end = AtEnd(post_again)] {});
  loop.reset();
  EXPECT_EQ(log, "ab");
}

// Loops come and go, asleep or awake, while another thread posts to all of them.
TEST(MailboxTest, LoopsMayEndWhileOthersPost) {
  std::atomic<int> posted{0};
  std::atomic<int> destroyed{0};
  for (int i = 0; i < 200; ++i) {
    auto loop = std::make_unique<Loop>(LoopOptions{.mode = LoopMode::kSleep}, RealClock());
    std::thread poster([&, mailbox = loop->mailbox(), last = loop.get()] {
      mailbox->Post([last] { last->Stop(); });
      for (int j = 0; j < 20; ++j) {
        ++posted;
        mailbox->Post([end = AtEnd([&] { ++destroyed; })] {});
      }
    });
    loop->Run();
    loop.reset();
    poster.join();
  }
  EXPECT_EQ(destroyed, posted);
}

}  // namespace
}  // namespace weft
