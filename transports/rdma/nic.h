// SPDX-License-Identifier: Apache-2.0
//
// A verbs device as this plugin uses it: queue pairs, registered memory and memory windows, and no
// more. verbs_nic.h is the real one, over libibverbs; sim_nic.h a model in virtual time, in which
// everything above this line runs under loss, reordering and restarts that a seed fixes.
//
//   std::unique_ptr<Registration> memory = *nic->Register(pool.region(), /*windows=*/false);
//   std::unique_ptr<CompletionQueue> queue = *nic->OpenCompletionQueue();
//   std::unique_ptr<UdQueue> ud = *queue->OpenUdQueue({.send_slots = 512, .receive_slots = 2048});
//   ud->PostReceives(absl::MakeSpan(buffers));
//   ud->Send(sends);                                // one doorbell
//   n = ud->Receive(absl::MakeSpan(received));
//
// One virtual call a burst. Threads: a Nic may be shared; whatever it opens belongs to one thread.
// A Nic outlives all that it opened.
#ifndef WEFT_TRANSPORTS_RDMA_NIC_H_
#define WEFT_TRANSPORTS_RDMA_NIC_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"

namespace weft::rdma {

struct Gid {
  std::array<uint8_t, 16> bytes = {};
  friend bool operator==(const Gid&, const Gid&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Gid& gid) {
    return H::combine(std::move(h), gid.bytes);
  }
};

// Where a queue pair is: what others must know to send to it.
struct QueueAddress {
  Gid gid;
  uint16_t lid = 0;   // of InfiniBand; 0 over RoCE
  uint32_t qpn = 0;   // 24 bits
  uint32_t qkey = 0;  // of datagrams
  uint32_t psn = 0;   // of connections: the first packet's, 24 bits
  // Of connections: the longest packet's payload that its end takes; both use the lesser. 0: not
  // known, which counts as that of this end.
  uint16_t path_mtu_bytes = 0;
  // Of connections: reads and atomics that its end answers at once, which are as many as the other
  // may begin. 0: as above.
  uint8_t reads_in_flight = 0;
  friend bool operator==(const QueueAddress&, const QueueAddress&) = default;
};

struct NicLimits {
  size_t path_mtu_bytes = 1024;  // longest payload of a UD message: 256 to 4096
  size_t inline_bytes = 0;       // sends up to this long are copied into the work request
  size_t reads_in_flight = 1;    // of a connection, in each direction: reads and atomics
  size_t max_message_bytes = 0;  // of a connection
  bool memory_windows = false;   // of type 2: keys that work for one connection only
  bool atomic_with_processor = false;
  bool is_software = false;  // Soft-RoCE, siw: thresholds differ
};

// Memory that the device may reach; ends with this object, which the memory outlives.
class Registration {
 public:
  virtual ~Registration() = default;
  virtual absl::Span<uint8_t> memory() const = 0;
  virtual uint32_t local_key() const = 0;
};

// As ibv_sge.
struct Piece {
  uint64_t address = 0;
  uint32_t bytes = 0;
  uint32_t local_key = 0;
};

// How to reach a GID: an address handle, made once and kept. 0: none.
using Path = uint32_t;

struct UdSend {
  Piece pieces[2];
  uint8_t count = 1;       // of pieces in use
  bool signalled = false;  // tells, when it is complete, of itself and all before it
  Path path = 0;
  uint32_t qpn = 0;
  uint32_t qkey = 0;
};

struct UdReceived {
  Buffer buffer;     // its data: what was sent, without the GRH, which lies in front of it
  uint32_t qpn = 0;  // who sent it, as the device saw it
  bool has_gid = false;
  Gid gid;  // likewise; always there over RoCE
};

// Unreliable datagrams, with queues of both directions.
class UdQueue {
 public:
  virtual ~UdQueue() = default;
  virtual QueueAddress address() const = 0;

  // Address handles. ResourceExhausted when the device has no more.
  virtual absl::StatusOr<Path> OpenPath(const QueueAddress& to) = 0;
  virtual void ClosePath(Path path) = 0;

  // Posts a prefix and returns its length; 0 when `send_slots` are in use. Memory of pieces longer
  // than inline_bytes must stay until the send is complete.
  virtual size_t Send(absl::Span<const UdSend> sends) = 0;
  // How many sends have been completed since this was last called, in the order of Send().
  virtual size_t TakeSent() = 0;

  // Gives a prefix of empty `buffers`, registered, with at least 40 bytes of headroom for the GRH
  // and room for path_mtu_bytes, to the device; taken are null. Less than all: `receive_slots` are
  // in use.
  virtual size_t PostReceives(absl::Span<Buffer> buffers) = 0;
  virtual size_t Receive(absl::Span<UdReceived> received) = 0;

  // Not ok: the queue pair is in its error state, and nothing more comes of it. Where it can be
  // brought back under its number the queue does so by itself within Receive(): what was under way
  // is lost, and Send() takes nothing until then.
  virtual absl::Status status() const = 0;
  // Work requests, doorbells (calls that rang one) and completions so far.
  struct Counts {
    uint64_t send_posts = 0, send_doorbells = 0, receive_posts = 0, receive_doorbells = 0;
    uint64_t send_completions = 0, receive_completions = 0;
    uint64_t revivals = 0;  // of a queue pair that had failed
  };
  virtual Counts counts() const = 0;
};

// A key that lets the other end of one connection at a stretch of registered memory. Ends, and the
// key with it, when it is destroyed: nobody is let at the memory once that has returned. It ends
// before the connection that it is bound to.
class Window {
 public:
  virtual ~Window() = default;
  virtual uint32_t remote_key() const = 0;  // of the latest kBind; each bind has another one
};

struct RcRequest {
  enum class Kind : uint8_t { kRead, kWrite, kCompareSwap, kFetchAdd, kBind, kInvalidate };
  Kind kind = Kind::kRead;
  bool signalled = true;  // unsignalled ones are silent unless they fail
  bool fence = false;     // behind all reads and atomics before it
  uint64_t context = 0;
  // kRead into, kWrite from; of atomics 8 bytes for the old value; kBind: what the key is for.
  Piece local = {};
  uint64_t remote_address = 0;
  uint32_t remote_key = 0;
  uint64_t compare = 0;
  uint64_t operand = 0;  // to swap in, to add
  // kBind, kInvalidate:
  Window* window = nullptr;
  bool remote_read = false, remote_write = false, remote_atomic = false;
};

// A reliable connection.
class RcQueue {
 public:
  virtual ~RcQueue() = default;  // flushes: no completion of its comes any more
  virtual QueueAddress address() const = 0;
  // To ready-to-send, with the other end. Both ends do it, in any order, before either posts.
  // Again, in whatever state the queue is, with the same or another end: what is unfinished
  // vanishes without a completion (one that waits to be polled may still come), and windows bound
  // to this queue stay bound.
  virtual absl::Status Connect(const QueueAddress& to) = 0;
  // Whether it is in its error state, where mistakes of the other end bring it, too. May ask the
  // device: for when something is set up.
  virtual bool failed() const = 0;
  // A prefix; less when its slots are in use. One doorbell.
  virtual size_t Post(absl::Span<const RcRequest> requests) = 0;
};

struct RcCompletion {
  uint64_t context = 0;
  enum class Result : uint8_t {
    kOk,
    kDenied,    // key, range or access refused by the other end
    kFlushed,   // was behind one that failed
    kPeerLost,  // retries ran out
    kError,     // anything else: this side's fault
  } result = Result::kOk;
};

struct NicEvent {
  enum class Kind : uint8_t {
    kPortDown,
    kPortUp,
    kDeviceRemoved,  // or it has failed for good
    kQueueFailed,
  } kind;
  uint32_t qpn = 0;  // kQueueFailed: of the queue pair
};

// Where completions of connections arrive, and what wakes a sleeping loop. One for each port.
class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  struct RcOptions {
    uint32_t slots = 128;
  };
  virtual absl::StatusOr<std::unique_ptr<RcQueue>> OpenRcQueue(const RcOptions& options) = 0;
  struct UdOptions {
    uint32_t send_slots = 512;
    uint32_t receive_slots = 2048;
  };
  virtual absl::StatusOr<std::unique_ptr<UdQueue>> OpenUdQueue(const UdOptions& options) = 0;

  // Of RcQueues.
  virtual size_t Poll(absl::Span<RcCompletion> completions) = 0;
  // As Port's: readable when something has completed since Arm() returned true.
  virtual int wait_fd() const = 0;
  virtual bool Arm() = 0;
  virtual void Disarm() = 0;
};

class Nic {
 public:
  virtual ~Nic() = default;
  virtual const NicLimits& limits() const = 0;
  virtual absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenCompletionQueue() = 0;
  // `windows`: keys of it may be given to peers, by Windows. ResourceExhausted names the limit of
  // locked memory and how to raise it.
  virtual absl::StatusOr<std::unique_ptr<Registration>> Register(absl::Span<uint8_t> memory,
                                                                 bool windows) = 0;
  virtual absl::StatusOr<std::unique_ptr<Window>> OpenWindow() = 0;
  // Whatever happened to the device since a subscriber last asked. Any thread: each port subscribes
  // and sees all events.
  class Subscription {
   public:
    virtual ~Subscription() = default;
    virtual size_t Take(absl::Span<NicEvent> events) = 0;
    virtual int wait_fd() const = 0;
  };
  virtual std::unique_ptr<Subscription> Subscribe() = 0;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_NIC_H_
