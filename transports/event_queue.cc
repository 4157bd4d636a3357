// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/event_queue.h"

#include <algorithm>

namespace weft {

void PortEventQueue::Add(const PortEvent& event) {
  std::erase_if(events_, [&](const PortEvent& queued) {
    return queued.kind == event.kind && queued.peer == event.peer;
  });
  if (events_.size() == kMax) events_.erase(events_.begin());
  events_.push_back(event);
  has_events_ = has_news_ = true;
}

size_t PortEventQueue::Take(absl::Span<PortEvent> events) {
  const size_t n = std::min(events.size(), events_.size());
  std::copy_n(events_.begin(), n, events.begin());
  events_.erase(events_.begin(), events_.begin() + static_cast<ptrdiff_t>(n));
  has_events_ = has_news_ = !events_.empty();
  return n;
}

}  // namespace weft
