// SPDX-License-Identifier: Apache-2.0
//
// The client side of weft's RPC: sends requests, matches replies, and sends again what is lost. One
// client talks to any number of servers.
//
//   auto client = rpc::Client::Create(loop, std::move(port), options);   // absl::StatusOr
//   absl::StatusOr<Peer> server = (*client)->Resolve(address);
//
//   // In a coroutine:
//   absl::StatusOr<BufferChain> reply = co_await (*client)->Call(*server, request);
//   // With a callback:
//   (*client)->Call(*server, request, [](absl::StatusOr<BufferChain> reply) { ... });
//
// To a server that speaks the extended format (docs/protocols/r2p2_extended.md) a call goes through
// a session, which is opened with the first call and reopened when it was lost. Requests and
// replies that get lost are sent again, a request is executed once at most, and both may be long
// (`message_bytes_max`). To a server that speaks the original R2P2 format only, nothing is sent
// again, and a message has at most `message_packets_max` packets. ClientOptions::wire chooses.
//
// Over a port with a way for long messages (DatagramPort::bulk()), the two sides fetch them from
// each other's memory. Such a reply comes in one buffer, of which the port has few: whoever keeps
// it for long keeps other messages from that way, and copies it instead.
//
// A call ends once, with the reply or with an error:
//   DeadlineExceeded    no complete reply within the timeout or before the deadline
//   ResourceExhausted   refused: by the server, which may say when to try again (RetryAfter()), or
//                       on this side: too many calls outstanding, no buffers left, packets waiting
//                       to be sent
//   InvalidArgument     the request is longer than this side or the server allows
//   OutOfRange          the reply is
//   Unavailable         the server cannot be reached, is not heard of, has restarted, or is
//                       shutting down
//   DataLoss            executed, but the server did not keep the reply long enough
//   Aborted             the server's handler ended without a reply
//   Unimplemented       replicated execution of a server that is no replica
//   NotFound            the session that it was to go through has been disconnected
//   Cancelled           that session was disconnected meanwhile
//   the port's status() when that is dead
// WasNotExecuted() (call_status.h) tells whether the request certainly was not executed; else it
// may have been, so that trying again is safe for requests that may run twice: see retry.h.
//
// In the original format the reply may come from another address than the one asked, as it does
// behind a router.
//
// Threads: a client belongs to its loop's thread. Callbacks run on it, from the loop; they may make
// calls, and may not destroy the client.
#ifndef WEFT_RPC_CLIENT_H_
#define WEFT_RPC_CLIENT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/loop.h"
#include "weft/rpc/call.h"
#include "weft/rpc/call_awaiter.h"
#include "weft/rpc/client_base.h"
#include "weft/rpc/client_sessions.h"
#include "weft/rpc/gatherer.h"
#include "weft/rpc/options.h"
#include "weft/rpc/original_calls.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/session_event.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class Client : public Pollable {
 public:
  using Callback = rpc::Callback;
  using CallAwaiter = rpc::CallAwaiter<Client, Target>;

  // Adds itself to `loop`, which must outlive it, and runs over `port`, all of whose messages are
  // its own and go through it as options.security says. InvalidArgument if the options do not fit
  // together or the port; else the errors of Security::Protect().
  static absl::StatusOr<std::unique_ptr<Client>> Create(Loop& loop,
                                                        std::unique_ptr<DatagramPort> port,
                                                        const ClientOptions& options);
  // Ends what is outstanding without running callbacks, and its sessions; coroutines that wait for
  // a call must be gone already.
  ~Client() override;

  // FailedPrecondition for an address beyond this machine without options().security; else the
  // errors of DatagramPort::Resolve().
  absl::StatusOr<Peer> Resolve(const Address& address);

  // A buffer that a request of one packet can be written into; null when the pool is empty.
  Buffer Allocate() { return base_.port->pool().Allocate(); }
  // A buffer that a request of `bytes` can be written into. Over a port that has a way for them, a
  // long one is then fetched by the server from where it is, and neither cut nor copied. Null when
  // there is none so long, or none left: a Payload of anything else goes in packets. Whoever keeps
  // a Share() of it writes into it again only once is_shared() is false: when a call ends before
  // its time, a device may read it for a moment longer.
  Buffer Allocate(size_t bytes);

  // Begins a call; an error means that it did not begin and `callback` is not going to run. Bytes
  // are copied; a Payload stays where it is until the server has it.
  absl::StatusOr<CallId> Call(const Target& target, absl::Span<const uint8_t> request,
                              Callback callback, const CallOptions& options = {});
  absl::StatusOr<CallId> Call(const Target& target, Payload&& request, Callback&& callback,
                              const CallOptions& options = {});
  absl::StatusOr<CallId> Call(const Target& target, Buffer request, Callback callback,
                              const CallOptions& options = {}) {
    return Call(target, Payload(std::move(request)), std::move(callback), options);
  }

  // Gives up a call without running its callback, and tells the server; nothing happens if it has
  // ended.
  void Cancel(CallId id);

  // As Cancel(), but the server is told only if its answer does not come soon: for a call that ends
  // there by itself, with another one.
  void Abandon(CallId id);

  // Counts in `*count` which of the call's packets are sent again from now on, until it has ended.
  // Not in the original format, in which none are.
  void CountResent(CallId id, uint32_t* count) { sessions_.CountResent(id, count); }

  // `co_await` gives absl::StatusOr<BufferChain>. The call begins when it is awaited; `request`
  // must live until it has ended, as its bytes are not copied, unless they are many and the server
  // can fetch them from a copy. A coroutine that is destroyed while
  // it waits cancels its call.
  CallAwaiter Call(const Target& target, absl::Span<const uint8_t> request,
                   const CallOptions& options = {});
  CallAwaiter Call(const Target& target, Payload&& request, const CallOptions& options = {});
  CallAwaiter Call(const Target& target, Buffer request, const CallOptions& options = {});

  // Opens a session of the application's own beside the one that calls to `server` use: calls of
  // different sessions have nothing in common. Returns at once; calls wait for it to be open.
  // ResourceExhausted at `sessions_max`. Only for servers of the extended format.
  absl::StatusOr<SessionId> Connect(const Peer& server) { return sessions_.Connect(server); }
  // Ends its calls with Cancelled, and then the session. `id` must not be used afterwards.
  void Disconnect(SessionId id) { sessions_.Disconnect(id); }

  // Whether `id` may be used: it has not been disconnected, nor ended by a server that drained.
  bool IsConnected(SessionId id) { return sessions_.IsConnected(id); }
  // What was agreed for a session of the application's own.
  SessionShape ShapeOf(SessionId id) { return sessions_.ShapeOf(id); }

  // Called with what happens to sessions, from the loop.
  void set_session_events(absl::AnyInvocable<void(const SessionEvent&)> events) {
    sessions_.set_events(std::move(events));
  }

  // `gatherer` is flushed whenever the client is about to send, until it is removed.
  void Add(Gatherer* gatherer) { base_.gatherers.Add(gatherer); }
  void Remove(Gatherer* gatherer) { base_.gatherers.Remove(gatherer); }

  // When a call with these options that begins at `now_ns`, in the loop's time, ends at the latest.
  int64_t DeadlineNs(const CallOptions& options, int64_t now_ns) const {
    const int64_t timeout_ns =
        options.timeout == absl::ZeroDuration() ? timeout_ns_ : TimeoutNs(options.timeout);
    return std::min(options.deadline_ns, now_ns + timeout_ns);
  }

  // Calls that have not ended.
  size_t outstanding() const;
  const ClientStats& stats() const { return base_.stats; }
  const ClientSessions& sessions() const { return sessions_; }
  const ClientOptions& options() const { return base_.options; }
  DatagramPort& port() { return *base_.port; }
  const DatagramPort& port() const { return *base_.port; }
  Loop& loop() { return base_.loop; }

  size_t Poll() override;
  int wait_fd() const override { return base_.port->wait_fd(); }
  bool Arm() override {
    return base_.sending.empty() && !base_.gatherers.wanted() && base_.port->Arm();
  }
  void Disarm() override { base_.port->Disarm(); }

 private:
  Client(Loop& loop, std::unique_ptr<DatagramPort> port, const ClientOptions& options,
         size_t packet_payload_bytes);

  // What all faces of Call() do. Its errors are NotExecuted().
  absl::StatusOr<CallId> Begin(const Target& target, Payload&& request, bool copy,
                               Callback&& callback, const CallOptions& options);
  absl::StatusOr<Payload> CopyOfRequest(absl::Span<const uint8_t> request);
  size_t OnEvents();
  // Long replies that have been fetched.
  size_t TakeFetched();

  ClientBase base_;
  const int64_t timeout_ns_;
  const size_t burst_;
  OriginalCalls original_;
  ClientSessions sessions_;
  std::array<Datagram, kMaxBurst> received_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CLIENT_H_
