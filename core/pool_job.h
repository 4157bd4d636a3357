// SPDX-License-Identifier: Apache-2.0
//
// What a ThreadPool and the coroutine that waits share: a function, its result, and whom to resume.
// Held by both, and by the message to the loop in between; see thread_pool.h.
#ifndef WEFT_CORE_POOL_JOB_H_
#define WEFT_CORE_POOL_JOB_H_

#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/utility/utility.h"
#include "weft/core/mailbox.h"

namespace weft::internal {

// One at a time owns the function and the result: the call until it hands over, then the pool
// until it posts, then the loop. `awaiting` is the loop's throughout.
class PoolJob {
 public:
  explicit PoolJob(std::shared_ptr<Mailbox> mailbox) : mailbox_(std::move(mailbox)) {}
  virtual ~PoolJob() = default;
  PoolJob(const PoolJob&) = delete;
  PoolJob& operator=(const PoolJob&) = delete;

  // Calls the function, keeps its result, and destroys it.
  virtual void Run() = 0;
  // Destroys the function; `error` becomes the result.
  virtual void Refuse(absl::Status error) = 0;

  // Has the loop resume the coroutine, if both are still there.
  static void Finish(std::shared_ptr<PoolJob> job) {
    // The job may be gone, and the loop too, before Post() returns.
    const std::shared_ptr<Mailbox> mailbox = job->mailbox_;
    mailbox->Post([job = std::move(job)] {
      if (job->awaiting_) std::exchange(job->awaiting_, nullptr).resume();
    });
  }

  std::coroutine_handle<> awaiting() const { return awaiting_; }
  void set_awaiting(std::coroutine_handle<> awaiting) { awaiting_ = awaiting; }

  // The pool's queue, and guarded by its lock.
  bool queued = false;
  PoolJob* previous = nullptr;
  std::shared_ptr<PoolJob> next;

 private:
  const std::shared_ptr<Mailbox> mailbox_;
  std::coroutine_handle<> awaiting_;  // while it waits
};

template <typename T>
struct PoolResult {
  static_assert(!std::is_reference_v<T>, "return a pointer, if what it points to lives on");
  using Type = absl::StatusOr<std::remove_cv_t<T>>;
};
template <>
struct PoolResult<void> {
  using Type = absl::Status;
};
template <>
struct PoolResult<absl::Status> {
  using Type = absl::Status;
};
template <typename T>
struct PoolResult<absl::StatusOr<T>> {
  using Type = absl::StatusOr<T>;
};

template <typename F>
class PoolFunction : public PoolJob {
 public:
  using Returned = std::invoke_result_t<F>;
  using Result = typename PoolResult<Returned>::Type;

  template <typename G>
  PoolFunction(std::shared_ptr<Mailbox> mailbox, G&& function)
      : PoolJob(std::move(mailbox)), function_(std::in_place, std::forward<G>(function)) {}

  void Run() override {
    if constexpr (std::is_void_v<Returned>) {
      std::invoke(*std::move(function_));
      result_.emplace();
    } else if constexpr (std::is_same_v<Returned, Result>) {
      result_.emplace(std::invoke(*std::move(function_)));
    } else {
      result_.emplace(absl::in_place, std::invoke(*std::move(function_)));
    }
    function_.reset();
  }

  void Refuse(absl::Status error) override {
    function_.reset();
    result_.emplace(std::move(error));
  }

  // The job has ended, so there is a result.
  Result TakeResult() { return *std::move(result_); }  // NOLINT(bugprone-unchecked-optional-access)

 private:
  std::optional<F> function_;
  std::optional<Result> result_;
};

}  // namespace weft::internal

#endif  // WEFT_CORE_POOL_JOB_H_
