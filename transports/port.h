// SPDX-License-Identifier: Apache-2.0
//
// What the ports of all contracts have in common. A port is one thread's door to a transport.
#ifndef WEFT_TRANSPORTS_PORT_H_
#define WEFT_TRANSPORTS_PORT_H_

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/metrics.h"
#include "weft/transports/address.h"
#include "weft/transports/capabilities.h"

namespace weft {

// Whom a datagram goes to or comes from, as the port that issued it knows it: an address in binary,
// an index, a queue pair. Opaque, small, copied freely, comparable and hashable; it needs no
// release. The all-zero value is nobody. Meaningless to any other port.
struct Peer {
  uint64_t words[3] = {};

  explicit operator bool() const { return (words[0] | words[1] | words[2]) != 0; }
  friend bool operator==(const Peer&, const Peer&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Peer& p) {
    return H::combine(std::move(h), p.words[0], p.words[1], p.words[2]);
  }
};

struct PortEvent {
  enum class Kind : uint8_t {
    kPeerUnreachable,  // what was sent to `peer` did not arrive: refused, no route, process gone
    kPeerClosed,       // `peer` has left in good order
    kLinkDown,         // frames cannot get through any more; `peer` is nobody
    kLinkUp,           // frames can get through again
  };
  Kind kind;
  Peer peer;
  int error = 0;  // an errno that says more, or 0
};

// Counted since the port was opened. Any thread may read.
struct PortStats {
  Counter sent;
  Counter sent_bytes;
  Counter received;
  Counter received_bytes;
  Counter send_blocked;       // sends that accepted less than they were given
  Counter send_failed;        // messages taken, then lost here: refused, too long, no such peer
  Counter receive_dropped;    // messages dropped by this side: no buffer, truncated
  Counter receive_malformed;  // bytes that no honest peer sends: checked, counted, dropped
  // Payloads copied between two buffers of this process, or into and out of memory shared with
  // another.
  Counter copied_buffers;
  Counter copied_bytes;
};

// Threads: a port is used, and destroyed, by the thread that opened it, or by the one that called
// BindToThisThread() since; debug builds assert it.
class Port {
 public:
  virtual ~Port() = default;

  // Where others reach this port. Complete: a port number of 0 has been replaced by the one that
  // was chosen.
  virtual Address local_address() const = 0;

  const Capabilities& capabilities() const { return capabilities_; }

  // Buffers with the headroom this port wants. Sending one from another pool is allowed.
  BufferPool& pool() { return pool_; }

  // Ok, or why the port is dead: it then accepts and delivers nothing more. Latched.
  const absl::Status& status() const { return status_; }

  // Waiting; see Pollable in core/loop.h for the meaning of each.
  virtual int wait_fd() const { return -1; }
  virtual bool Arm() { return true; }
  virtual void Disarm() {}

  // Takes the oldest pending events, up to as many as fit, and returns their number. Events are few
  // and bounded: one that comes again before it is taken, of the same kind about the same peer, is
  // told once, last and with its newest error; the oldest goes when there are too many.
  bool has_events() const { return has_events_; }
  size_t TakeEvents(absl::Span<PortEvent> events) { return has_events_ ? DoTakeEvents(events) : 0; }

  const PortStats& stats() const { return stats_; }

  virtual void BindToThisThread() {
    pool_.BindToThisThread();
    owner_ = internal::ThreadToken();
  }

 private:
  // What a port and the decorators around it have in common.
  struct Shared {
    Shared() {}  // not "= default", which Clang takes for unusable within the enclosing class
    explicit Shared(BufferPool buffers) : pool(std::move(buffers)) {}
    std::optional<BufferPool> pool;  // none where the buffers are those of the layer below
    absl::Status status;
    PortStats stats;
    bool has_events = false;
  };
  std::optional<Shared> own_;
  const void* owner_ = internal::ThreadToken();

 protected:
  // A port to a device.
  Port(const Capabilities& capabilities, const BufferPoolOptions& buffers)
      : Port(capabilities, BufferPool(buffers)) {}
  Port(const Capabilities& capabilities, BufferPool buffers)
      : own_(std::in_place, std::move(buffers)),
        capabilities_(capabilities),
        pool_(*own_->pool),
        status_(own_->status),
        stats_(own_->stats),
        has_events_(own_->has_events) {}

  // A port that speaks a protocol over another: its buffers are those of `pool`, which outlives it.
  Port(const Capabilities& capabilities, BufferPool* pool)
      : own_(std::in_place),
        capabilities_(capabilities),
        pool_(*pool),
        status_(own_->status),
        stats_(own_->stats),
        has_events_(own_->has_events) {}

  // A decorator: it owns `inner` and shows inner's pool, status, statistics and events as its own.
  Port(const Capabilities& capabilities, Port& inner)
      : capabilities_(capabilities),
        pool_(inner.pool_),
        status_(inner.status_),
        stats_(inner.stats_),
        has_events_(inner.has_events_) {}

  virtual size_t DoTakeEvents(absl::Span<PortEvent> events) = 0;
  void AssertOwner() const { assert(owner_ == internal::ThreadToken()); }

  Capabilities capabilities_;
  BufferPool& pool_;
  absl::Status& status_;
  PortStats& stats_;
  bool& has_events_;  // DoTakeEvents() has something to give
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_PORT_H_
