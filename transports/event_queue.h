// SPDX-License-Identifier: Apache-2.0
//
// What a port has to tell its user by Port::TakeEvents(): one rule for all ports that have peers.
#ifndef WEFT_TRANSPORTS_EVENT_QUEUE_H_
#define WEFT_TRANSPORTS_EVENT_QUEUE_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/transports/port.h"

namespace weft {

// The events of one port, from when they happen until they are taken. What happens again before it
// is taken, of the same kind about the same peer, is told once: it moves to the end and takes its
// newest error. So the last event of a peer, or of the link, is the state that it is in, and a peer
// that fails time and again takes nobody else's place. At most kMax wait; the oldest goes for the
// next.
//
//   PortEventQueue events_{&has_events_};                 // a member of the port
//   events_.Add({PortEvent::Kind::kPeerClosed, peer});    // wherever that is found out
//   return events_.Take(events);                          // DoTakeEvents()
//   if (events_.KeepsAwake()) return false;               // in Arm(), before the device is armed
//
// Allocates only as events are added. Used by the port's thread alone.
class PortEventQueue {
 public:
  static constexpr size_t kMax = 256;

  // Keeps `*has_events` true while there are events: the port's has_events_, which outlives this.
  explicit PortEventQueue(bool* has_events) : has_events_(*has_events) {}

  void Add(const PortEvent& event);

  // The oldest first, as many as fit in `events`; returns their number.
  size_t Take(absl::Span<PortEvent> events);

  // True once after events were added, or left by Take(): a loop then polls its ports once more
  // before it sleeps. But only once, so that a user who takes no events can sleep all the same.
  bool KeepsAwake() { return std::exchange(has_news_, false); }

 private:
  bool& has_events_;
  bool has_news_ = false;
  std::vector<PortEvent> events_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_EVENT_QUEUE_H_
