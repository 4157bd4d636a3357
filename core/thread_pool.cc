// SPDX-License-Identifier: Apache-2.0
#include "weft/core/thread_pool.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/core/cpu.h"

namespace weft {

using internal::PoolJob;

// The functions that wait, first come first served: a doubly linked list, so that one can leave
// from the middle, in which each owns the next.
class ThreadPool::Queue {
 public:
  explicit Queue(const ThreadPoolOptions& options)
      : inline_(options.threads == 0),
        jobs_max_(options.threads + std::min(options.queue_max, SIZE_MAX - options.threads)),
        refusal_(absl::StrCat("thread pool: ", options.queue_max, " functions wait already")) {}

  bool Submit(const std::shared_ptr<PoolJob>& job);
  void Withdraw(PoolJob& job);
  // What a thread does until Close().
  void Work();
  // Ends the jobs that wait, and the threads once they have finished what they run.
  void Close();
  const ThreadPoolStats& stats() const { return stats_; }

 private:
  enum class Verdict { kTaken, kRunHere, kFull, kClosed };
  Verdict Admit(const std::shared_ptr<PoolJob>& job);
  // The lock is held.
  void Append(const std::shared_ptr<PoolJob>& job);
  std::shared_ptr<PoolJob> Unlink(PoolJob& job);

  const bool inline_;
  // Running and waiting. A thread that is about to wake for a function counts as free until it
  // has, so what is refused does not depend on how soon threads wake.
  const size_t jobs_max_;
  const std::string refusal_;

  std::mutex mutex_;  // guards everything below
  std::condition_variable work_;
  bool closed_ = false;
  std::shared_ptr<PoolJob> head_;
  PoolJob* tail_ = nullptr;
  ThreadPoolStats stats_;
};

bool ThreadPool::Queue::Submit(const std::shared_ptr<PoolJob>& job) {
  switch (Admit(job)) {
    case Verdict::kTaken:
      work_.notify_one();
      return true;
    case Verdict::kRunHere:
      job->Run();
      break;
    case Verdict::kFull:
      job->Refuse(absl::ResourceExhaustedError(refusal_));
      break;
    case Verdict::kClosed:
      job->Refuse(absl::CancelledError("the thread pool was destroyed"));
      break;
  }
  job->set_awaiting(nullptr);
  return false;
}

ThreadPool::Queue::Verdict ThreadPool::Queue::Admit(const std::shared_ptr<PoolJob>& job) {
  const std::lock_guard lock(mutex_);
  if (closed_) {
    ++stats_.cancelled;
    return Verdict::kClosed;
  }
  if (inline_) {
    ++stats_.run;
    return Verdict::kRunHere;
  }
  if (static_cast<size_t>(stats_.running.value() + stats_.waiting.value()) >= jobs_max_) {
    ++stats_.refused;
    return Verdict::kFull;
  }
  Append(job);
  return Verdict::kTaken;
}

void ThreadPool::Queue::Append(const std::shared_ptr<PoolJob>& job) {
  job->queued = true;
  job->previous = tail_;
  (tail_ != nullptr ? tail_->next : head_) = job;
  tail_ = job.get();
  stats_.waiting.Add(1);
}

std::shared_ptr<PoolJob> ThreadPool::Queue::Unlink(PoolJob& job) {
  std::shared_ptr<PoolJob>& owner = job.previous != nullptr ? job.previous->next : head_;
  std::shared_ptr<PoolJob> unlinked = std::move(owner);
  owner = std::move(job.next);
  (owner != nullptr ? owner->previous : tail_) = job.previous;
  job.previous = nullptr;
  job.queued = false;
  stats_.waiting.Add(-1);
  return unlinked;
}

void ThreadPool::Queue::Withdraw(PoolJob& job) {
  job.set_awaiting(nullptr);
  const std::lock_guard lock(mutex_);
  if (!job.queued) return;
  // The call holds the job too, so the function is not destroyed under the lock.
  Unlink(job);
  ++stats_.cancelled;
}

void ThreadPool::Queue::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [&] { return head_ != nullptr || closed_; });
    if (closed_) return;
    std::shared_ptr<PoolJob> job = Unlink(*head_);
    ++stats_.run;
    stats_.running.Add(1);
    lock.unlock();
    job->Run();
    // Before the coroutine learns of it: what it submits next finds this thread free.
    lock.lock();
    stats_.running.Add(-1);
    lock.unlock();
    PoolJob::Finish(std::move(job));
    lock.lock();
  }
}

void ThreadPool::Queue::Close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  work_.notify_all();
  while (head_ != nullptr) {
    std::shared_ptr<PoolJob> job = Unlink(*head_);
    ++stats_.cancelled;
    lock.unlock();
    job->Refuse(absl::CancelledError("the thread pool was destroyed"));
    PoolJob::Finish(std::move(job));
    lock.lock();
  }
}

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : queue_(std::make_shared<Queue>(options)) {
  for (size_t i = 0; i < options.threads; ++i) {
    threads_.emplace_back([queue = queue_.get(), i] {
      NameThisThread(absl::StrCat("weft-pool-", i));
      queue->Work();
    });
  }
}

ThreadPool::~ThreadPool() {
  queue_->Close();
  for (std::thread& thread : threads_) thread.join();
}

const ThreadPoolStats& ThreadPool::stats() const { return queue_->stats(); }

bool ThreadPool::Submit(Queue& queue, const std::shared_ptr<PoolJob>& job) {
  return queue.Submit(job);
}

void ThreadPool::Withdraw(Queue& queue, PoolJob& job) { queue.Withdraw(job); }

}  // namespace weft
