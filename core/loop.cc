// SPDX-License-Identifier: Apache-2.0
#include "weft/core/loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <utility>

namespace weft {
namespace {

constexpr uint32_t kIdleRoundsPerClock = 4;

// A process that cannot get these few descriptors cannot run a loop at all.
int OrDie(int fd, const char* call) {
  if (fd < 0) {
    std::perror(call);
    std::abort();
  }
  return fd;
}

}  // namespace

Loop::Loop(const LoopOptions& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      now_ns_(clock.NowNs()),
      last_work_ns_(now_ns_),
      timers_(now_ns_),
      epoll_fd_(OrDie(epoll_create1(EPOLL_CLOEXEC), "weft::Loop: epoll_create1")),
      mailbox_(new Mailbox) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = mailbox_->wake_fd()}};
  OrDie(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, mailbox_->wake_fd(), &event), "weft::Loop: epoll_ctl");
}

Loop::~Loop() {
  mailbox_->Close();
  close(epoll_fd_);
}

void Loop::Add(Pollable* pollable) {
  const int fd = pollable->wait_fd();
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  // A descriptor that somebody may sleep on costs the kernel some work for whatever arrives, even
  // while nobody sleeps. A loop that never does goes without.
  const bool waits = fd >= 0 && options_.mode != LoopMode::kBusy &&
                     epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0;
  if (!waits) ++without_fd_;
  pollables_.push_back({pollable, waits});
}

void Loop::Remove(Pollable* pollable) {
  auto it = std::find_if(pollables_.begin(), pollables_.end(),
                         [&](const Entry& entry) { return entry.pollable == pollable; });
  if (it == pollables_.end()) return;
  if (it->waits) {
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, pollable->wait_fd(), nullptr);
  } else {
    --without_fd_;
  }
  it->pollable = nullptr;
  compact_ = true;
}

void Loop::ReadClock() {
  const int64_t before_ns = std::exchange(now_ns_, clock_.NowNs());
  if (std::exchange(worked_, false)) stats_.busy_ns += static_cast<uint64_t>(now_ns_ - before_ns);
}

inline size_t Loop::Round() {
  size_t work = 0;
  in_round_ = true;
  // By index: a Pollable may add others while it is polled.
  for (size_t i = 0; i < pollables_.size(); ++i) {
    if (Pollable* pollable = pollables_[i].pollable) work += pollable->Poll();
  }
  if (compact_) [[unlikely]] {
    std::erase_if(pollables_, [](const Entry& entry) { return entry.pollable == nullptr; });
    compact_ = false;
  }
  work += timers_.Advance(now_ns_);
  if (mailbox_->has_posted()) [[unlikely]] {
    work += mailbox_->RunPosted();
  }
  in_round_ = false;
  ++stats_.iterations;
  if (work > 0) {
    last_work_ns_ = now_ns_;
    worked_ = true;
  } else {
    ++stats_.idle_iterations;
  }
  return work;
}

size_t Loop::RunOnce() {
  assert(!in_round_);
  now_ns_ = clock_.NowNs();
  const size_t work = Round();
  worked_ = false;  // what comes before the next round is not the loop's
  return work;
}

void Loop::Run() {
  last_work_ns_ = clock_.NowNs();
  const int64_t spin_ns = absl::ToInt64Nanoseconds(options_.spin);
  uint32_t idle = 0;
  while (!stopped()) {
    // Reading the clock is half of the cost of an idle round, and rounds that find nothing follow
    // one another within nanoseconds.
    if (idle % kIdleRoundsPerClock == 0) ReadClock();
    idle = Round() > 0 ? 0 : idle + 1;
    switch (options_.mode) {
      case LoopMode::kBusy:
        break;
      case LoopMode::kAdaptive:
        if (now_ns_ - last_work_ns_ > spin_ns) MaybeSleep();
        break;
      case LoopMode::kSleep:
        // Even after a round that did work: the wait returns at once if there is more, and asking
        // every port once again before it would cost a system call each.
        MaybeSleep();
        break;
    }
  }
}

void Loop::MaybeSleep() {
  if (without_fd_ > 0) return;
  if (worked_) ReadClock();
  if (mailbox_->AnnounceSleep() && !stopped() && ArmAll()) {
    WaitForEvents();
    DisarmFirst(pollables_.size());
    now_ns_ = clock_.NowNs();  // not for Run() to guess: it may have been a long sleep
    ++stats_.sleeps;
  }
  mailbox_->EndSleep();
}

bool Loop::ArmAll() {
  for (size_t i = 0; i < pollables_.size(); ++i) {
    Pollable* pollable = pollables_[i].pollable;
    if (pollable == nullptr || pollable->Arm()) continue;
    DisarmFirst(i);
    last_work_ns_ = now_ns_;  // there is work: spin on it before the next attempt to sleep
    return false;
  }
  return true;
}

void Loop::DisarmFirst(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (Pollable* pollable = pollables_[i].pollable) pollable->Disarm();
  }
}

void Loop::WaitForEvents() {
  const int64_t next_ns = NextTimerNs();
  const bool forever = next_ns == TimerWheel::kNever;
  const int64_t wait_ns = forever ? -1 : std::max<int64_t>(0, next_ns - clock_.NowNs());
  // Which descriptor it was does not matter, as the next round polls all; one event is enough.
  epoll_event event;
  int n = -1;
  if (has_pwait2_) [[likely]] {
    const timespec timeout = {.tv_sec = wait_ns / 1'000'000'000,
                              .tv_nsec = wait_ns % 1'000'000'000};
    n = epoll_pwait2(epoll_fd_, &event, 1, forever ? nullptr : &timeout, nullptr);
    // Linux before 5.11, or a sandbox that does not know the call.
    if (n < 0 && errno != EINTR) has_pwait2_ = false;
  }
  if (!has_pwait2_) n = WaitCoarsely(&event, wait_ns);
  if (n == 1 && event.data.fd == mailbox_->wake_fd()) mailbox_->DrainWake();
}

// In milliseconds, rounded up: a timer may be late, but the loop does not spin until it is due.
int Loop::WaitCoarsely(epoll_event* event, int64_t wait_ns) {
  const int64_t wait_ms =
      wait_ns < 0 ? -1 : wait_ns / 1'000'000 + (wait_ns % 1'000'000 > 0 ? 1 : 0);
  const int n =
      epoll_wait(epoll_fd_, event, 1, static_cast<int>(std::min<int64_t>(wait_ms, INT_MAX)));
  return n < 0 && errno == EINTR ? 0 : OrDie(n, "weft::Loop: epoll_wait");
}

void Loop::Stop() {
  stop_.store(true, std::memory_order_seq_cst);
  mailbox_->Wake();
}

}  // namespace weft
