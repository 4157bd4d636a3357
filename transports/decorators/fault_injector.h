// SPDX-License-Identifier: Apache-2.0
//
// What fault_port.h does to messages, datagrams and frames alike.
#ifndef WEFT_TRANSPORTS_DECORATORS_FAULT_INJECTOR_H_
#define WEFT_TRANSPORTS_DECORATORS_FAULT_INJECTOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/buffer.h"
#include "weft/core/clock.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/frame_port.h"

namespace weft {

// Messages that met each fault.
struct FaultStats {
  uint64_t lost = 0;
  uint64_t duplicated = 0;
  uint64_t reordered = 0;
  uint64_t corrupted = 0;
  uint64_t delayed = 0;     // held back, for whichever reason
  uint64_t overflowed = 0;  // held back, then lost: too many at once, or the port below was full
};

namespace internal {

// `Below` is DatagramPort or FramePort and `Message` what it sends.
template <typename Below, typename Message>
class FaultInjector {
 public:
  // `stats` are those of the port; see FaultDatagramPort for the rest.
  FaultInjector(Below& below, PortStats& stats, const config::Fault& faults, const Clock& clock,
                TimerWheel* timers);

  // As the Send() of a port, or its Forward(), if there are `sources`.
  size_t Send(absl::Span<Message> burst, absl::Span<const Peer> sources = {});
  // Sends what has been held back for long enough.
  void ReleaseDue();

  bool holding() const { return !held_.empty(); }
  const FaultStats& stats() const { return fault_stats_; }

 private:
  // What is to become of one message.
  struct Fate {
    bool lost;
    bool duplicated;
    bool reordered;
    bool corrupted;
    int64_t delay_ns;
    bool untouched() const { return !lost && !duplicated && !corrupted && delay_ns == 0; }
  };
  struct Held {
    int64_t due_ns;
    uint64_t number;  // those due at the same time leave in order
    Message message;
    std::optional<Peer> source;                // of one that is to be sent on
    bool operator<(const Held& other) const {  // by urgency, as the heap has the greatest on top
      return due_ns != other.due_ns ? due_ns > other.due_ns : number > other.number;
    }
  };

  Fate CastDice();
  size_t SendBelow(absl::Span<Message> burst, absl::Span<const Peer> sources);
  void Befall(const Fate& fate, Message message, const std::optional<Peer>& source);
  Buffer Copy(const Buffer& original);
  bool FlipOneBit(Buffer& buffer);
  void Duplicate(const Message& message, const std::optional<Peer>& source, int64_t due_ns);
  void Hold(Message message, const std::optional<Peer>& source, int64_t due_ns);
  void CountOverflow(size_t messages);
  void SetTimer();

  Below& below_;
  PortStats& port_stats_;
  const config::Fault faults_;
  const Clock& clock_;
  Prng prng_;
  FaultStats fault_stats_;

  // The dice are cast once for each message, however often its sender has to try: so many of those
  // that come next go untouched, and this befalls the one behind them.
  size_t untouched_ = 0;
  std::optional<Fate> next_fate_;

  const size_t held_max_;
  std::vector<Held> held_;  // a heap
  uint64_t last_number_ = 0;
  TimerWheel* const timers_;  // null in real time
  Timer timer_;
};

extern template class FaultInjector<DatagramPort, Datagram>;
extern template class FaultInjector<FramePort, Buffer>;

}  // namespace internal
}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_FAULT_INJECTOR_H_
