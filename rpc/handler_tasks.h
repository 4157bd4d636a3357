// SPDX-License-Identifier: Apache-2.0
//
// Runs the coroutines of a server's handler, each of which can be cancelled on its own. Not for
// users.
//
//   HandlerTasks::Running* task = tasks.Spawn(handler(std::move(call)));  // null: it has ended
//   if (task != nullptr) task->Watch(&call_record.task);  // set to null when it ends
//   ...
//   if (call_record.task != nullptr) call_record.task->Cancel();
//
// A coroutine that would do nothing but await another one can be a Detached itself, which saves a
// frame:
//
//   HandlerTasks::Detached Handle(HandlerTasks& tasks, ServerCall call) { ... co_await ...; }
//   HandlerTasks::Running* task = tasks.Start([&] { Handle(tasks, std::move(call)); });
//
// Cancellation is destruction (docs/adr/0003): never from within the coroutine. One thread.
#ifndef WEFT_RPC_HANDLER_TASKS_H_
#define WEFT_RPC_HANDLER_TASKS_H_

#include <coroutine>
#include <exception>
#include <utility>

#include "weft/core/frame_allocator.h"
#include "weft/core/task.h"

namespace weft::rpc {

class HandlerTasks {
 public:
  // A task that has not ended; lives in the frame that runs it.
  class Running {
   public:
    Running(HandlerTasks& tasks, std::coroutine_handle<> frame)
        : tasks_(tasks), frame_(frame), next_(tasks.head_) {
      if (next_ != nullptr) next_->previous_ = this;
      tasks_.head_ = this;
      tasks_.youngest_ = this;
    }
    ~Running() {
      (previous_ != nullptr ? previous_->next_ : tasks_.head_) = next_;
      if (next_ != nullptr) next_->previous_ = previous_;
      if (tasks_.youngest_ == this) tasks_.youngest_ = nullptr;
      if (watcher_ != nullptr) *watcher_ = nullptr;
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    // `*watcher` points here until the task ends or Unwatch().
    void Watch(Running** watcher) {
      watcher_ = watcher;
      *watcher = this;
    }
    void Unwatch() {
      if (watcher_ != nullptr) *std::exchange(watcher_, nullptr) = nullptr;
    }

    // Destroys the task, and this object.
    void Cancel() { frame_.destroy(); }

   private:
    HandlerTasks& tasks_;
    const std::coroutine_handle<> frame_;
    Running** watcher_ = nullptr;
    Running* previous_ = nullptr;
    Running* next_;
  };

  HandlerTasks() = default;
  ~HandlerTasks() { CancelAll(); }
  HandlerTasks(const HandlerTasks&) = delete;
  HandlerTasks& operator=(const HandlerTasks&) = delete;

  // A coroutine that starts at once and frees itself when it ends. Its first parameter is the
  // HandlerTasks that it belongs to.
  struct Detached {
    struct promise_type {
      template <typename... Args>
      explicit promise_type(HandlerTasks& tasks, Args&&...)
          : running(tasks, std::coroutine_handle<promise_type>::from_promise(*this)) {}
      static void* operator new(size_t size) { return ::weft::internal::AllocateFrame(size); }
      static void operator delete(void* frame, size_t size) {
        ::weft::internal::FreeFrame(frame, size);
      }
      Detached get_return_object() { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
      void unhandled_exception() { std::terminate(); }
      Running running;
    };
  };

  // Runs `task` until its first suspension. Null if it has ended.
  Running* Spawn(Task<void> task) {
    return Start([&] { Run(*this, std::move(task)); });
  }

  // Calls `start`, which calls one coroutine that is Detached. Null if that has ended.
  template <typename F>
  Running* Start(F start) {
    youngest_ = nullptr;
    start();
    return std::exchange(youngest_, nullptr);
  }

  // Destroys all, the youngest first.
  void CancelAll() {
    while (head_ != nullptr) head_->Cancel();
  }

 private:
  static Detached Run(HandlerTasks&, Task<void> task) { co_await std::move(task); }

  Running* head_ = nullptr;
  Running* youngest_ = nullptr;  // of the Spawn() that runs
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_HANDLER_TASKS_H_
