// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/fault_injector.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

namespace weft::internal {
namespace {

// Messages held back at once. At most half of the port's pool, or there would be no buffers left to
// receive into.
constexpr size_t kHeldMax = 1024;

// A message that is to be reordered waits for up to this time, while others overtake it.
constexpr int64_t kReorderNs = 100'000;

// Sent in one go.
constexpr size_t kReleaseBurst = 32;

Buffer& BufferOf(Datagram& datagram) { return datagram.buffer; }
const Buffer& BufferOf(const Datagram& datagram) { return datagram.buffer; }
Buffer& BufferOf(Buffer& frame) { return frame; }
const Buffer& BufferOf(const Buffer& frame) { return frame; }

Datagram WithBuffer(const Datagram& original, Buffer buffer) {
  return {original.peer, std::move(buffer)};
}
Buffer WithBuffer(const Buffer&, Buffer buffer) { return buffer; }

}  // namespace

template <typename Below, typename Message>
FaultInjector<Below, Message>::FaultInjector(Below& below, PortStats& stats,
                                             const config::Fault& faults, const Clock& clock,
                                             TimerWheel* timers)
    : below_(below),
      port_stats_(stats),
      faults_(faults),
      clock_(clock),
      prng_(faults.seed()),
      held_max_(std::min(kHeldMax, std::max<size_t>(1, below.pool().count() / 2))),
      timers_(timers),
      timer_([](void* self, int64_t) { static_cast<FaultInjector*>(self)->ReleaseDue(); }, this) {
  held_.reserve(held_max_);
}

template <typename Below, typename Message>
size_t FaultInjector<Below, Message>::SendBelow(absl::Span<Message> burst,
                                                absl::Span<const Peer> sources) {
  if constexpr (std::is_same_v<Below, DatagramPort>) {
    if (!sources.empty()) return below_.Forward(burst, sources);
  }
  return below_.Send(burst);
}

template <typename Below, typename Message>
size_t FaultInjector<Below, Message>::Send(absl::Span<Message> burst,
                                           absl::Span<const Peer> sources) {
  ReleaseDue();
  size_t done = 0;
  while (done < burst.size()) {
    while (!next_fate_ && untouched_ < burst.size() - done) {
      const Fate fate = CastDice();
      if (fate.untouched()) {
        ++untouched_;
      } else {
        next_fate_ = fate;
      }
    }
    const size_t run = std::min(untouched_, burst.size() - done);
    const auto sources_of = [&](size_t n) {
      return sources.empty() ? sources : sources.subspan(done, n);
    };
    const size_t sent = run > 0 ? SendBelow(burst.subspan(done, run), sources_of(run)) : 0;
    untouched_ -= sent;
    done += sent;
    if (sent < run || done == burst.size()) break;
    if (!BufferOf(burst[done])) {  // nothing to do harm to: the port below refuses it
      next_fate_.reset();
      ++untouched_;
      continue;
    }
    Befall(*std::exchange(next_fate_, std::nullopt),
           std::exchange(burst[done], WithBuffer(burst[done], Buffer())),
           sources.empty() ? std::nullopt : std::optional<Peer>(sources[done]));
    ++done;
  }
  return done;
}

// Always casts all of them, so that one probability does not change who meets the others.
template <typename Below, typename Message>
auto FaultInjector<Below, Message>::CastDice() -> Fate {
  Fate fate;
  fate.lost = prng_.Chance(faults_.loss());
  fate.duplicated = prng_.Chance(faults_.duplicate());
  fate.reordered = prng_.Chance(faults_.reorder());
  fate.corrupted = prng_.Chance(faults_.corrupt());
  const uint64_t jitter_ns = uint64_t{faults_.delay_jitter_us()} * 1000;
  fate.delay_ns =
      int64_t{faults_.delay_us()} * 1000 + static_cast<int64_t>(prng_.Below(jitter_ns + 1));
  const auto reorder_ns = static_cast<int64_t>(1 + prng_.Below(kReorderNs));
  if (fate.reordered) fate.delay_ns += reorder_ns;
  return fate;
}

template <typename Below, typename Message>
void FaultInjector<Below, Message>::Befall(const Fate& fate, Message message,
                                           const std::optional<Peer>& source) {
  if (fate.lost) {
    ++fault_stats_.lost;
    return;
  }
  if (fate.corrupted && !FlipOneBit(BufferOf(message))) return;
  if (fate.reordered) ++fault_stats_.reordered;
  if (fate.delay_ns > 0) ++fault_stats_.delayed;
  const int64_t due_ns = clock_.NowNs() + fate.delay_ns;
  if (fate.duplicated) Duplicate(message, source, due_ns);
  Hold(std::move(message), source, due_ns);
  if (fate.delay_ns == 0) ReleaseDue();
}

template <typename Below, typename Message>
Buffer FaultInjector<Below, Message>::Copy(const Buffer& original) {
  Buffer copy = CopyOf(below_.pool(), original);
  if (!copy) return copy;
  // What lies in front of the original does not lie in front of the copy.
  copy.offload().flags &= static_cast<uint16_t>(~FrameOffload::kHeadersInFront);
  ++port_stats_.copied_buffers;
  port_stats_.copied_bytes += original.size();
  return copy;
}

// False: the sender has kept the message, which is not to be changed, and there is no room for a
// copy: it is lost.
template <typename Below, typename Message>
bool FaultInjector<Below, Message>::FlipOneBit(Buffer& buffer) {
  if (buffer.empty()) return true;
  const uint64_t bit = prng_.Below(buffer.size() * 8);
  if (buffer.is_shared()) {
    buffer = Copy(buffer);
    if (!buffer) {
      CountOverflow(1);
      return false;
    }
  }
  buffer.data()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  // Of one that is sent on, the harm is to arrive, and not to be found out by its old checksum.
  buffer.offload().flags &= static_cast<uint16_t>(~FrameOffload::kHeadersInFront);
  ++fault_stats_.corrupted;
  return true;
}

template <typename Below, typename Message>
void FaultInjector<Below, Message>::Duplicate(const Message& message,
                                              const std::optional<Peer>& source, int64_t due_ns) {
  Buffer copy = Copy(BufferOf(message));
  // No room for the copy: there is none, as when a network drops it.
  if (!copy) return;
  ++fault_stats_.duplicated;
  Hold(WithBuffer(message, std::move(copy)), source, due_ns);
}

template <typename Below, typename Message>
void FaultInjector<Below, Message>::Hold(Message message, const std::optional<Peer>& source,
                                         int64_t due_ns) {
  if (held_.size() == held_max_) {
    CountOverflow(1);
    return;
  }
  held_.push_back({due_ns, ++last_number_, std::move(message), source});
  std::push_heap(held_.begin(), held_.end());
  SetTimer();
}

template <typename Below, typename Message>
void FaultInjector<Below, Message>::ReleaseDue() {
  if (held_.empty()) return;
  const int64_t now_ns = clock_.NowNs();
  std::array<Message, kReleaseBurst> burst;
  std::array<Peer, kReleaseBurst> sources;
  while (!held_.empty() && held_.front().due_ns <= now_ns) {
    // Either sent or sent on, all of them.
    const bool sent_on = held_.front().source.has_value();
    size_t n = 0;
    for (; n < burst.size() && !held_.empty() && held_.front().due_ns <= now_ns &&
           held_.front().source.has_value() == sent_on;
         ++n) {
      std::pop_heap(held_.begin(), held_.end());
      burst[n] = std::move(held_.back().message);
      sources[n] = held_.back().source.value_or(Peer());
      held_.pop_back();
    }
    // Nobody is left to be told of a port that is full: what it does not take is lost.
    CountOverflow(n - SendBelow(absl::MakeSpan(burst.data(), n),
                                absl::MakeConstSpan(sources.data(), sent_on ? n : 0)));
  }
  SetTimer();
}

template <typename Below, typename Message>
void FaultInjector<Below, Message>::CountOverflow(size_t messages) {
  fault_stats_.overflowed += messages;
  port_stats_.send_failed += messages;
}

template <typename Below, typename Message>
void FaultInjector<Below, Message>::SetTimer() {
  if (timers_ == nullptr) return;
  if (held_.empty()) {
    timers_->Cancel(timer_);
  } else if (!timer_.armed() || timer_.deadline_ns() != held_.front().due_ns) {
    timers_->Schedule(timer_, held_.front().due_ns);
  }
}

template class FaultInjector<DatagramPort, Datagram>;
template class FaultInjector<FramePort, Buffer>;

}  // namespace weft::internal
