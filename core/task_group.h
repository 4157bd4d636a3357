// SPDX-License-Identifier: Apache-2.0
//
// Runs tasks that nobody awaits and ends those that are left when it is destroyed.
//
//   TaskGroup tasks;
//   tasks.Spawn(Serve(connection));  // runs to its first suspension, then whenever it is resumed
//   tasks.Cancel();                  // destroys every task that has not ended
//
// Threads: all tasks of a group run on, and the group is used by, one thread. Cancel() and the
// destructor must not be called by code that runs inside a task of the group; `Loop::Post` is the
// way out of it.
#ifndef WEFT_CORE_TASK_GROUP_H_
#define WEFT_CORE_TASK_GROUP_H_

#include <coroutine>
#include <cstddef>
#include <exception>

#include "weft/core/frame_allocator.h"
#include "weft/core/task.h"

namespace weft {

class TaskGroup {
 public:
  TaskGroup() = default;
  ~TaskGroup() { Cancel(); }
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void Spawn(Task<void> task) { Run(*this, std::move(task)); }

  // Destroys the tasks that have not ended, the youngest first.
  void Cancel() {
    while (head_ != nullptr) head_->frame.destroy();
  }

  // Tasks that have not ended.
  size_t size() const { return size_; }

 private:
  // The place of one running task in the group's list; lives in the frame that runs it.
  struct Link {
    Link(TaskGroup& group, std::coroutine_handle<> frame)
        : group(group), frame(frame), next(group.head_) {
      if (next != nullptr) next->previous = this;
      group.head_ = this;
      ++group.size_;
    }
    ~Link() {
      (previous != nullptr ? previous->next : group.head_) = next;
      if (next != nullptr) next->previous = previous;
      --group.size_;
    }
    TaskGroup& group;
    std::coroutine_handle<> frame;
    Link* previous = nullptr;
    Link* next;
  };

  // A coroutine that starts at once and frees itself when it ends.
  struct Detached {
    struct promise_type {
      promise_type(TaskGroup& group, Task<void>&)
          : link(group, std::coroutine_handle<promise_type>::from_promise(*this)) {}
      static void* operator new(size_t size) { return internal::AllocateFrame(size); }
      static void operator delete(void* frame, size_t size) { internal::FreeFrame(frame, size); }
      Detached get_return_object() { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
      void unhandled_exception() { std::terminate(); }
      Link link;
    };
  };

  static Detached Run(TaskGroup&, Task<void> task) { co_await std::move(task); }

  Link* head_ = nullptr;
  size_t size_ = 0;
};

}  // namespace weft

#endif  // WEFT_CORE_TASK_GROUP_H_
