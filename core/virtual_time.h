// SPDX-License-Identifier: Apache-2.0
//
// Time that passes only when everything has been done: the clock of a simulation.
#ifndef WEFT_CORE_VIRTUAL_TIME_H_
#define WEFT_CORE_VIRTUAL_TIME_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"

namespace weft {

// A clock whose owner (a simulated network) has events of its own. One thread.
class VirtualTime : public Clock {
 public:
  // When the owner's next event is due; INT64_MAX when it has none.
  virtual int64_t NextEventNs() const = 0;

  // Moves the clock to `time_ns`, which is neither before NowNs() nor after NextEventNs(), and
  // performs the events due then.
  virtual void AdvanceTo(int64_t time_ns) = 0;

  // Timers of things that belong to no loop, such as a port that holds packets back. They fire
  // after the owner's events of the same instant.
  TimerWheel& timers() { return timers_; }
  const TimerWheel& timers() const { return timers_; }

 private:
  TimerWheel timers_{0};
};

// Runs `loops`, which were made over `time`, on the calling thread: each in turn until none has
// work, then time jumps to the next event or timer, and so on. The order is fixed, so a run is as
// reproducible as its inputs. Returns true when `done` holds, which is asked before each jump, and
// false when nothing is left to happen or `end_ns` is reached first.
bool RunVirtual(VirtualTime& time, absl::Span<Loop* const> loops, absl::FunctionRef<bool()> done,
                int64_t end_ns = INT64_MAX);

}  // namespace weft

#endif  // WEFT_CORE_VIRTUAL_TIME_H_
