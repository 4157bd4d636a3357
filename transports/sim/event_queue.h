// SPDX-License-Identifier: Apache-2.0
//
// What is going to happen in a simulation, in order: by time, and at one time in the order in which
// it was scheduled.
#ifndef WEFT_TRANSPORTS_SIM_EVENT_QUEUE_H_
#define WEFT_TRANSPORTS_SIM_EVENT_QUEUE_H_

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"

namespace weft::sim {

// One thread.
class EventQueue {
 public:
  using Action = absl::AnyInvocable<void()>;
  // Names an event until it has happened. The default value names none.
  using Id = std::pair<int64_t, uint64_t>;

  int64_t now_ns() const { return now_ns_; }

  // `action` happens at `time_ns`, or as soon as possible if that has passed. It may schedule and
  // cancel events.
  Id At(int64_t time_ns, Action action) {
    const Id id{std::max(time_ns, now_ns_), ++last_sequence_};
    events_.emplace(id, std::move(action));
    return id;
  }

  // Does nothing if the event has happened or was canceled.
  void Cancel(const Id& id) { events_.erase(id); }

  // When the next event is due; INT64_MAX when there is none.
  int64_t NextNs() const { return events_.empty() ? INT64_MAX : events_.begin()->first.first; }

  // Moves time to `time_ns`, unless it is past that, and on the way lets everything happen that is
  // due, including what is scheduled meanwhile for a time up to `time_ns`.
  void AdvanceTo(int64_t time_ns) {
    while (NextNs() <= time_ns) {
      const auto next = events_.begin();
      now_ns_ = next->first.first;
      Action action = std::move(next->second);
      events_.erase(next);
      action();
    }
    now_ns_ = std::max(now_ns_, time_ns);
  }

 private:
  int64_t now_ns_ = 0;
  uint64_t last_sequence_ = 0;
  absl::btree_map<Id, Action> events_;
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_EVENT_QUEUE_H_
