// SPDX-License-Identifier: Apache-2.0
//
// The event loop of one thread: polls ports, fires timers, runs what other threads posted, and
// sleeps when it may.
//
//   Loop loop({.mode = LoopMode::kAdaptive}, RealClock());
//   loop.Add(&server);            // anything Pollable
//   loop.Run();                   // until Stop()
//
// Modes:
//   kBusy      never sleeps: lowest latency, one core always in use.
//   kAdaptive  spins for `spin` after the last piece of work, then sleeps: the default.
//   kSleep     sleeps whenever nothing is pending: lowest use of the CPU.
// A loop can sleep only if every Pollable has a wait_fd(); otherwise it spins in every mode.
//
// Threads: a loop belongs to the thread that runs it. Post() and Stop() may be called from
// anywhere; Stop() from a signal handler too.
#ifndef WEFT_CORE_LOOP_H_
#define WEFT_CORE_LOOP_H_

#include <algorithm>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "weft/core/clock.h"
#include "weft/core/mailbox.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"

struct epoll_event;

namespace weft {

// Something a loop polls. Not owned by the loop; it must be removed before it is destroyed.
class Pollable {
 public:
  virtual ~Pollable() = default;

  // Does the work that is there without waiting and returns how much it was: 0 means idle.
  virtual size_t Poll() = 0;

  // A descriptor that is readable while there is work to poll, once Arm() has returned true; -1 if
  // there is no such thing. Constant for the life of the object.
  virtual int wait_fd() const { return -1; }

  // Called before the loop sleeps. False: there is work already, do not sleep.
  virtual bool Arm() { return true; }

  // Called after the loop has slept, or was kept from it, if Arm() returned true.
  virtual void Disarm() {}
};

enum class LoopMode { kBusy, kAdaptive, kSleep };

struct LoopOptions {
  LoopMode mode = LoopMode::kAdaptive;
  absl::Duration spin = absl::Microseconds(50);  // kAdaptive only
};

struct LoopStats {
  Counter iterations;
  Counter idle_iterations;  // that found no work
  Counter sleeps;
  // Spent by Run() in rounds that found work: how loaded a loop is that never sleeps.
  Counter busy_ns;
};

class Loop {
 public:
  // `clock` must outlive the loop.
  Loop(const LoopOptions& options, const Clock& clock);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Owner thread, also from within Poll(), timers and posted functions.
  void Add(Pollable* pollable);
  void Remove(Pollable* pollable);

  // Until Stop(). A stop asked for before Run() ends it at once.
  void Run();

  // One round without sleeping: polls, due timers, posted functions. Returns the amount of work.
  // Not from within a round.
  size_t RunOnce();

  void Stop();
  bool stopped() const { return stop_.load(std::memory_order_relaxed); }

  // Runs `function` on the loop's thread, soon. Functions that were posted but not run are
  // destroyed with the loop.
  void Post(absl::AnyInvocable<void()> function) { mailbox_->Post(std::move(function)); }

  // For threads that may still post when the loop is gone.
  std::shared_ptr<Mailbox> mailbox() const { return mailbox_; }

  // What timers are set against: within a round, the time at which it, or one a few idle rounds
  // ago, began; outside of one, the clock's.
  int64_t now_ns() const { return in_round_ ? now_ns_ : clock_.NowNs(); }
  const Clock& clock() const { return clock_; }
  TimerWheel& timers() { return timers_; }
  int64_t NextTimerNs() const { return timers_.NextDeadlineNs(); }
  const LoopStats& stats() const { return stats_; }

  // `co_await loop.Sleep(d)` resumes the coroutine on this loop once `duration` has passed; zero or
  // less lets everything else have a turn first.
  auto Sleep(absl::Duration duration) {
    return SleepAwaiter(*this, absl::ToInt64Nanoseconds(duration));
  }

 private:
  class SleepAwaiter {
   public:
    SleepAwaiter(Loop& loop, int64_t duration_ns)
        : loop_(loop), duration_ns_(duration_ns), timer_(&SleepAwaiter::Fire, this) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) {
      awaiting_ = awaiting;
      const int64_t now_ns = loop_.clock_.NowNs();
      loop_.timers_.Schedule(timer_, now_ns + std::min(duration_ns_, INT64_MAX - now_ns));
    }
    void await_resume() const {}

   private:
    static void Fire(void* self, int64_t) { static_cast<SleepAwaiter*>(self)->awaiting_.resume(); }
    Loop& loop_;
    int64_t duration_ns_;
    Timer timer_;
    std::coroutine_handle<> awaiting_;
  };

  struct Entry {
    Pollable* pollable;  // null where one was removed during a round
    bool waits;          // its wait_fd() is in epoll_fd_
  };

  size_t Round();
  void ReadClock();
  // Sleeps until something is readable, a timer is due or somebody posts, unless there is work.
  void MaybeSleep();
  bool ArmAll();
  void DisarmFirst(size_t count);
  void WaitForEvents();
  int WaitCoarsely(epoll_event* event, int64_t wait_ns);

  const LoopOptions options_;
  const Clock& clock_;
  int64_t now_ns_;
  bool in_round_ = false;
  bool worked_ = false;  // in a round since the clock was read
  int64_t last_work_ns_;
  TimerWheel timers_;
  std::vector<Entry> pollables_;
  bool compact_ = false;   // pollables_ has nulls
  size_t without_fd_ = 0;  // of pollables_, those that do not wait
  int epoll_fd_;
  bool has_pwait2_ = true;  // until the kernel says otherwise
  LoopStats stats_;

  std::atomic<bool> stop_{false};
  const std::shared_ptr<Mailbox> mailbox_;
};

}  // namespace weft

#endif  // WEFT_CORE_LOOP_H_
