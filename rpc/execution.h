// SPDX-License-Identifier: Apache-2.0
//
// A request whose handler has not answered it by the time that it returned or was suspended: how to
// end it from outside. Not for users.
#ifndef WEFT_RPC_EXECUTION_H_
#define WEFT_RPC_EXECUTION_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/handler_tasks.h"

namespace weft::rpc {

class ExtendedServer;

struct Execution {
  explicit Execution(Timer::Callback on_deadline) : deadline(on_deadline, this) {}

  ExtendedServer* server = nullptr;
  uint32_t session = 0;
  uint32_t key = 0;
  uint64_t request_id = 0;
  Timer deadline;
  absl::AnyInvocable<void()> on_cancel;
  HandlerTasks::Running* task = nullptr;  // the handler, if it is a coroutine and has not ended
};

// Executions to be used again, so that slow handlers allocate nothing either.
class ExecutionPool {
 public:
  ExecutionPool(TimerWheel& timers, Timer::Callback on_deadline)
      : timers_(timers), on_deadline_(on_deadline) {}

  Execution* Take() {
    if (unused_.empty()) return new Execution(on_deadline_);
    Execution* execution = unused_.back().release();
    unused_.pop_back();
    return execution;
  }
  void Return(Execution* execution) {
    if (execution->task != nullptr) execution->task->Unwatch();
    timers_.Cancel(execution->deadline);
    // What it holds may be a call, whose end may lead back here.
    const absl::AnyInvocable<void()> doomed = std::exchange(execution->on_cancel, nullptr);
    unused_.emplace_back(execution);
  }

 private:
  TimerWheel& timers_;
  const Timer::Callback on_deadline_;
  std::vector<std::unique_ptr<Execution>> unused_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_EXECUTION_H_
