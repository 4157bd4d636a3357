// SPDX-License-Identifier: Apache-2.0
//
// Task<T>: a coroutine that computes a T. It starts when it is first awaited, runs on the thread of
// whoever awaits it, and hands its result over without a queue in between.
//
//   Task<int> Twice(Task<int> inner) { co_return 2 * co_await std::move(inner); }
//
// Cancellation is destruction. A Task is the only owner of its coroutine: destroying it while it is
// suspended destroys the locals of the coroutine, innermost awaited task first, and with them the
// awaiters, each of which withdraws what it had asked for (a timer, an outstanding call). So an
// awaiter that registers itself anywhere must unregister in its destructor. A coroutine that holds
// something to be given back holds it in an object with a destructor, as it would for an early
// return. A task must not be destroyed by code that itself runs inside the task; `TaskGroup`
// (task_group.h) takes care of that for tasks nobody awaits.
//
// Frames come from free lists of the thread, so that a warmed-up program allocates nothing.
// Exceptions are not part of the style of this project: one that leaves a coroutine ends the
// program.
#ifndef WEFT_CORE_TASK_H_
#define WEFT_CORE_TASK_H_

#include <cassert>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "weft/core/frame_allocator.h"

namespace weft {

template <typename T = void>
class Task;

namespace internal {

class TaskPromiseBase {
 public:
  static void* operator new(size_t size) { return AllocateFrame(size); }
  static void operator delete(void* frame, size_t size) { FreeFrame(frame, size); }

  std::suspend_always initial_suspend() noexcept { return {}; }
  auto final_suspend() noexcept {
    struct ResumeAwaiter {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<>) noexcept { return next; }
      void await_resume() noexcept {}
      std::coroutine_handle<> next;
    };
    return ResumeAwaiter{starting_ ? std::noop_coroutine() : continuation_};
  }
  void unhandled_exception() { std::terminate(); }

  // Runs `frame`, whose promise this is, until its first suspension. False: it has ended and
  // `continuation` just goes on; true: it resumes `continuation` when it ends. Resuming it from
  // within in the first case too would be simpler, but grow the stack with each such call wherever
  // the compiler makes no tail calls: in debug and sanitizer builds.
  bool Start(std::coroutine_handle<> frame, std::coroutine_handle<> continuation) {
    continuation_ = continuation;
    starting_ = true;
    frame.resume();
    starting_ = false;
    return !frame.done();
  }

 private:
  std::coroutine_handle<> continuation_;
  bool starting_ = false;
};

template <typename T>
class TaskPromise : public TaskPromiseBase {
 public:
  Task<T> get_return_object();
  template <typename U = T>
    requires std::convertible_to<U, T>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  // The task has ended, so there is a value.
  T Take() { return *std::move(value_); }  // NOLINT(bugprone-unchecked-optional-access)

 private:
  std::optional<T> value_;
};

template <>
class TaskPromise<void> : public TaskPromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() {}
  void Take() {}
};

}  // namespace internal

template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::TaskPromise<T>;

  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      Destroy();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~Task() { Destroy(); }

  // Runs the task; its result is the value of the expression. A task is awaited at most once.
  auto operator co_await() && noexcept {
    struct Awaiter {
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> awaiting) noexcept {
        return frame.promise().Start(frame, awaiting);
      }
      T await_resume() { return frame.promise().Take(); }
      std::coroutine_handle<promise_type> frame;
    };
    assert(frame_ && !frame_.done());
    return Awaiter{frame_};
  }

 private:
  friend promise_type;
  explicit Task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
  void Destroy() {
    if (frame_) std::exchange(frame_, nullptr).destroy();
  }

  std::coroutine_handle<promise_type> frame_;
};

namespace internal {

template <typename T>
Task<T> TaskPromise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

inline Task<void> TaskPromise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

}  // namespace internal
}  // namespace weft

#endif  // WEFT_CORE_TASK_H_
