// SPDX-License-Identifier: Apache-2.0
//
// Engine: TCP (RFC 9293) without sockets, threads, system calls or a clock. Segments and the time
// go in; segments and events come out. The same code runs on the wire and in simulations.
//
//   absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options, {.timers = &wheel,
//       .pool = &pool, .secret = random, .mtu = 1500});
//   engine->Listen(ip, 80, /*backlog=*/128);
//   for (;;) {
//     engine->Receive(absl::MakeSpan(burst), now_ns);   // what arrived
//     wheel.Advance(now_ns);                            // what is due
//     while ((n = engine->TakeEvents(absl::MakeSpan(events))) > 0) ...Consume(), Commit()...
//     engine->Flush(now_ns);                            // acknowledges, sends what was committed
//     engine->Sent(stack.SendSegments(engine->pending()), now_ns);
//   }
//
// Everything that strangers can make it hold has a limit of Options, and TcpStats counts what is
// dropped at it. tcp/tcp_port.h makes a StreamPort of it.
#ifndef WEFT_TCP_ENGINE_H_
#define WEFT_TCP_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/timer_wheel.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/segment_handler.h"
#include "weft/tcp/flow.h"
#include "weft/tcp/options.h"
#include "weft/tcp/tcp_stats.h"
#include "weft/transports/stream_options.h"
#include "weft/transports/stream_port.h"

namespace weft::tcp {

class EngineCore;

// What an engine stands in. Pointers outlive it.
struct World {
  TimerWheel* timers = nullptr;
  // Where what is sent is written; received buffers may come from elsewhere. Buffers have headroom
  // for all headers: 60 bytes of TCP's and `headroom` of the layers below.
  BufferPool* pool = nullptr;
  size_t headroom = 64;
  // Random; in a simulation fixed. The workers of a program share one (tcp/secret.h).
  uint64_t secret = 0;
  // Of the interface, for IP packets: at least 576.
  size_t mtu = 1500;
  // Ports for connections that do not ask for one. Of several workers, each takes those for which
  // (port - port_min) % workers == worker, so that replies find their way by the port alone.
  uint16_t port_min = 49152;
  uint16_t port_max = 65535;
  uint16_t worker = 0;
  uint16_t workers = 1;
  // TTL or hop limit, unless a stream has one of its own; 0: the stack's.
  uint8_t ttl = 0;
  // Segments that wait to be taken by pending(); when there are more, connections wait instead, and
  // go on in their order.
  size_t outbox_segments = 512;
  // Bytes of payload that one segment may have which the device, or the stack, cuts into those that
  // the path takes (TSO); 0: there is nothing that does. At most 65435, so that it fits an IP
  // packet with its headers, and only as far as the buffers of `pool` are that large.
  size_t cut_bytes_max = 0;
  // How long IP packets to there may be at present; asked once a connection. Null: `mtu`.
  std::function<size_t(const netstack::IpAddress& remote)> path_mtu;
  // A peer has acknowledged something new (RFC 4861, 7.3.1); said once a second and connection at
  // most. Null: nobody wants to know.
  std::function<void(const netstack::IpAddress& remote)> confirm_reachable;
  // Whether another worker listens at that port, so that no connection may begin at it. Null: there
  // is none.
  std::function<bool(uint16_t port)> is_listened_at;
  // Where it counts, as the only engine at the time; its gauges are 0 when the engine has gone.
  // Null: at a place of its own.
  TcpStats* stats = nullptr;
};

// Who listens, and how much waits there.
struct ListenerInfo {
  netstack::IpAddress local;
  uint16_t port = 0;
  uint32_t backlog = 0;
  uint32_t waiting = 0;    // established, and kAccepted not taken
  uint32_t half_open = 0;  // handshakes under way
};

// One thread, that of the timer wheel. A StreamId that is unknown or gone is harmless: views are
// empty, calls do nothing or return NotFound.
class Engine {
 public:
  // InvalidArgument: a congestion control that does not exist, a world that is not complete.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const Options& options, const World& world);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // --- The network.

  // Takes in segments whose checksums are right. Buffers that belong to a connection, to a listener
  // or to TIME-WAIT, or are malformed, are moved out; what is left non-null is nobody's here.
  void Receive(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns);
  // Answers segments that are nobody's anywhere by resets (RFC 9293, 3.10.7.1), at a limited rate.
  void Reject(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns);
  // An ICMP error about a segment of ours. False if it is not about a connection with that sequence
  // number in flight: it may be forged, and nothing happens (RFC 5927, 4).
  bool OnIcmpError(const netstack::IcmpErrorReport& report, int64_t now_ns);
  // The path to `remote` takes IP packets of `mtu` bytes from now on (RFC 1191, RFC 8201).
  void OnPathMtu(const netstack::IpAddress& remote, size_t mtu, int64_t now_ns);

  // What is to be sent, in order. Sent() says how many of the first of them were moved out; the
  // rest stays. Connections that waited for room go on by it.
  absl::Span<netstack::OutgoingSegment> pending();
  void Sent(size_t n, int64_t now_ns);
  // Sends what was committed and the acknowledgements that reading has made due, as far as the
  // outbox has room.
  void Flush(int64_t now_ns);
  // Flush() or pending() may have something.
  bool has_output() const;
  // Flush() has more to do, though nothing may come of it: it looks through many connections.
  bool is_searching() const;

  // --- Streams, as transports/stream_port.h says.

  // Several ports of a thread may share an engine: each is a user with streams, listeners and
  // events of its own. 0 is always there. ResourceExhausted: there are 65,000 already.
  absl::StatusOr<uint16_t> AddUser();
  // Ends what the user has: its listeners; its streams by a reset, but for those that it has
  // closed, which go on by themselves until everything is acknowledged.
  void RemoveUser(uint16_t user, int64_t now_ns);
  // All streams of all users end by `error`, silently: the network is gone for good.
  void EndAll(int error, int64_t now_ns);

  // Accepts connections to `local`, unspecified for all addresses of its family, "::" for all of
  // both, and `port`, 0 for one that is chosen. `backlog`: how many may wait in kAccepted events
  // that were not taken, at least 1. Returns the port. AlreadyExists: somebody listens there.
  absl::StatusOr<uint16_t> Listen(const netstack::IpAddress& local, uint16_t port, int backlog,
                                  uint16_t user = 0);
  // Connections of the listener that are established stay; half-open ones are given up.
  absl::Status StopListening(const netstack::IpAddress& local, uint16_t port);

  // `flow.local_port` 0: one is chosen (RFC 6056). AlreadyExists: that flow is in use.
  // ResourceExhausted: connections_max, or no port is free for this destination.
  absl::StatusOr<StreamId> Connect(const Flow& flow, int64_t now_ns, uint16_t user = 0);

  absl::Span<const uint8_t> ReadView(StreamId stream) const;
  void Consume(StreamId stream, size_t n, int64_t now_ns);

  // May be shorter than `wanted`, or empty: when the send buffer is full, buffers are short, or the
  // stream does not take any. kWritable follows.
  absl::Span<uint8_t> Reserve(StreamId stream, size_t wanted);
  void Commit(StreamId stream, size_t n, int64_t now_ns);
  // Takes `*buffer`, which must have headroom as those of World::pool and is not copied where it
  // fits a segment; false, and nothing happened, when there is no room, and kWritable follows, or
  // when the stream is not open for writing.
  bool SendBuffer(StreamId stream, Buffer* buffer, int64_t now_ns);

  void CloseWrite(StreamId stream, int64_t now_ns);
  // kClosed comes when the peer has acknowledged everything, the end included, or is given up: from
  // here on also for keeping its window closed.
  void Close(StreamId stream, int64_t now_ns);
  void Abort(StreamId stream, int64_t now_ns);

  absl::Status SetOptions(StreamId stream, const StreamOptions& options, int64_t now_ns);
  absl::StatusOr<StreamInfo> Info(StreamId stream, int64_t now_ns) const;
  absl::StatusOr<Flow> FlowOf(StreamId stream) const;

  // The oldest events, as many as fit. A stream's kClosed is its last; it is gone when that was
  // taken.
  size_t TakeEvents(absl::Span<StreamEvent> events, uint16_t user = 0);
  bool has_events(uint16_t user = 0) const;

  // --- Looking at it.

  const TcpStats& stats() const;
  const Options& options() const;
  // How far a look at all connections has come.
  struct Scan {
    uint32_t place = 0;
    bool resting = false;  // it has come to those in TIME-WAIT
  };
  // Looks at all connections, and then at those in TIME-WAIT, which have the zero StreamId: at
  // `places` of memory, taken or free, from where `scan` is, so that a million of them do not keep
  // the thread from its work. Asks `wanted` of each, and has those shown that are. False: that was
  // all. Those that come, go or close between two calls may be missed or seen twice.
  bool Look(Scan* scan, size_t places, int64_t now_ns,
            absl::FunctionRef<bool(const Flow&, StreamInfo::State)> wanted,
            absl::FunctionRef<void(StreamId, const Flow&, const StreamInfo&)> show) const;
  // The same for all at once.
  void ForEach(int64_t now_ns,
               absl::FunctionRef<void(StreamId, const Flow&, const StreamInfo&)> show) const;
  void ForEachListener(absl::FunctionRef<void(const ListenerInfo&)> show) const;
  // Bytes that an established connection takes while nothing is under way, less those of the hash
  // table.
  static size_t BytesOfIdleConnection();

 private:
  explicit Engine(std::unique_ptr<EngineCore> core);
  const std::unique_ptr<EngineCore> core_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ENGINE_H_
