// SPDX-License-Identifier: Apache-2.0
//
// Threads for work that blocks: reads of files, DNS, libraries that wait or compute for long.
// A coroutine hands a function over, and goes on, on its own loop, when the function has returned.
//
//   ThreadPool pool({.threads = 4, .queue_max = 1024});
//   auto read = pool.Run(loop, [path] { return ReadFile(path); });
//   absl::StatusOr<std::string> text = co_await read;
//
// In one line it works for lambdas that capture only references, pointers and numbers; GCC 12 would
// destroy others twice, so they are refused when compiled.
//
// What `co_await` gives depends on what the function returns:
//   absl::Status, absl::StatusOr<T>   the same
//   T, which must be movable          absl::StatusOr<T>
//   void                              absl::Status
// and, when the function was not run,
//   ResourceExhausted   all threads are busy and `queue_max` functions wait: at once, the coroutine
//                       is not suspended
//   Cancelled           the pool was destroyed before a thread took the function
// Functions begin in the order in which they were handed over. They must not throw.
//
// Cancellation is destruction (task.h). When a coroutine that waits is destroyed, a function that
// has not begun is destroyed there and then and its place in the queue is free; one that has begun
// cannot be stopped, runs to its end, and its result is destroyed unseen, on the pool's thread or
// the loop's. So a function may refer only to what outlives the pool; the rest it captures by
// value, or by std::shared_ptr. What it captured is destroyed on the pool's thread before the
// coroutine goes on.
//
// Threads: Run() may be called, and the pool be used, by any number of loops' threads; each
// coroutine awaits on the thread of the `loop` that it names. A loop may go before the functions
// end: nothing is resumed then. The functions themselves run on the pool's threads, where of a loop
// only Post() and Stop() may be used, and the pool not at all. The pool must outlive calls of
// Run(), but not the coroutines that wait; its destructor may run on any thread that is not its
// own.
//
// The threads are named "weft-pool-N" and inherit the cores of the thread that makes the pool: make
// it before the workers, not on one that is pinned. In a simulation, where threads would make runs
// differ, use a pool without threads.
#ifndef WEFT_CORE_THREAD_POOL_H_
#define WEFT_CORE_THREAD_POOL_H_

#include <coroutine>
#include <cstddef>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/core/pool_job.h"

namespace weft {

struct ThreadPoolOptions {
  // 0: functions run in Run()'s caller, which is not suspended.
  size_t threads = 4;
  // Functions that may wait while all threads are busy; 0: none.
  size_t queue_max = 1024;
};

// Changed under the pool's lock, so that there is one writer at a time; any thread reads.
struct ThreadPoolStats {
  Counter run;        // functions begun
  Counter refused;    // for want of room
  Counter cancelled;  // destroyed before they began, by their coroutine or the pool
  Gauge waiting;
  Gauge running;
};

class ThreadPool {
 public:
  template <typename F>
  class Call;

  explicit ThreadPool(const ThreadPoolOptions& options = {});
  // Destroys the functions that wait, whose coroutines go on with Cancelled, and waits for those
  // that run.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // `function` is handed over when the result is awaited: once, or never.
  template <typename F>
  Call<std::decay_t<F>> Run(Loop& loop, F&& function) {
    return Call<std::decay_t<F>>(queue_, loop, std::forward<F>(function));
  }

  const ThreadPoolStats& stats() const;

 private:
  class Queue;

  // Takes `job`, or ends it without having run it. False: it has ended, do not suspend.
  static bool Submit(Queue& queue, const std::shared_ptr<internal::PoolJob>& job);
  // The coroutine of `job` is being destroyed.
  static void Withdraw(Queue& queue, internal::PoolJob& job);

  // Shared with the calls, which may outlive the pool.
  const std::shared_ptr<Queue> queue_;
  std::vector<std::thread> threads_;
};

// One function on its way: what Run() gives. Lives in the coroutine that awaits it.
template <typename F>
class [[nodiscard]] ThreadPool::Call {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    if (job_->awaiting()) Withdraw(*queue_, *job_);
  }

  // Awaited by name, or where it is made.
  auto operator co_await() & { return Awaiter{*this}; }
  auto operator co_await() && {
    static_assert(kLambdasInAwaitWork || std::is_trivially_copyable_v<F>,
                  "this compiler destroys what lambdas own twice if they are written inside of "
                  "co_await: write `auto call = pool.Run(...);` and `co_await call`");
    return Awaiter{*this};
  }

 private:
  friend class ThreadPool;
  // Not in GCC before 13: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=99576
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
  static constexpr bool kLambdasInAwaitWork = false;
#else
  static constexpr bool kLambdasInAwaitWork = true;
#endif

  struct Awaiter {
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> awaiting) {
      call.job_->set_awaiting(awaiting);
      return Submit(*call.queue_, call.job_);
    }
    auto await_resume() { return call.job_->TakeResult(); }
    Call& call;
  };

  template <typename G>
  Call(const std::shared_ptr<Queue>& queue, Loop& loop, G&& function)
      : queue_(queue),
        job_(std::make_shared<internal::PoolFunction<F>>(loop.mailbox(),
                                                         std::forward<G>(function))) {}

  const std::shared_ptr<Queue> queue_;
  const std::shared_ptr<internal::PoolFunction<F>> job_;
};

}  // namespace weft

#endif  // WEFT_CORE_THREAD_POOL_H_
