// SPDX-License-Identifier: Apache-2.0
#include "weft/core/virtual_time.h"

#include <algorithm>

namespace weft {

bool RunVirtual(VirtualTime& time, absl::Span<Loop* const> loops, absl::FunctionRef<bool()> done,
                int64_t end_ns) {
  while (true) {
    size_t work = 0;
    for (Loop* loop : loops) work += loop->RunOnce();
    if (done()) return true;
    if (work > 0) continue;
    int64_t next_ns = std::min(time.NextEventNs(), time.timers().NextDeadlineNs());
    for (Loop* loop : loops) next_ns = std::min(next_ns, loop->NextTimerNs());
    if (next_ns == INT64_MAX || next_ns > end_ns) return false;
    // A timer's bound may lie behind the clock; time stands still for one round then.
    time.AdvanceTo(std::max(next_ns, time.NowNs()));
    time.timers().Advance(time.NowNs());
  }
}

}  // namespace weft
