// SPDX-License-Identifier: Apache-2.0
//
// The server side of R2P2: receives requests, runs the handler, sends replies.
//
//   // Echo, without a copy:
//   auto server = rpc::Server::Create(loop, std::move(port), options, [](rpc::ServerCall call) {
//     call.Reply(std::move(call.request()));
//   });
//
//   // A coroutine as the handler:
//   Task<void> Handle(rpc::ServerCall call) {
//     co_await call.loop().Sleep(absl::Microseconds(10));
//     call.Reply(Compute(call.request()));
//   }
//   auto server = rpc::Server::Create(loop, std::move(port), options, &Handle);
//
// Each client is answered in the format in which it asks. In the extended format, in which clients
// open a session first, a request is executed at most once however often its packets come, and its
// reply is kept for a while in case that it is lost. The original format has no request ids wide
// enough to recognise an old one, so a request that the network duplicates in one packet is
// executed twice.
//
// A session belongs to the address that it was opened from, once its client has shown that it
// receives there; before, it counts for nothing, and is the first to go when there are too many.
//
// What arrives and makes no sense is counted and dropped (ServerStats). A request that came in part
// and does not go on expires. A request for replicated execution is refused: this server is not a
// replica. So are requests beyond executing_max and those that would take the last buffers.
//
// To end in good order:
//
//   server->Drain([&] { server.reset(); });  // posted to the loop: the server may be destroyed
//
// Threads: a server belongs to its loop's thread, as do its calls; several workers each have one
// over their own port. The handler and its coroutines must not destroy the server.
#ifndef WEFT_RPC_SERVER_H_
#define WEFT_RPC_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/gatherer.h"
#include "weft/rpc/handler_tasks.h"
#include "weft/rpc/options.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/port_protection.h"
#include "weft/rpc/router_link.h"
#include "weft/rpc/security/authorisation.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/server_core.h"
#include "weft/rpc/server_stats.h"
#include "weft/rpc/session_event.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// What a server knows of one of its sessions.
struct SessionInfo {
  uint32_t session = 0;  // the server's number
  Peer peer;
  int64_t age_ns = 0;
  int64_t silent_ns = 0;  // since it was last heard of; to the millisecond
  uint64_t requests = 0;
  size_t executing = 0;
  size_t kept_replies = 0;
  size_t slots = 0;              // as agreed
  size_t packet_bytes = 0;       // as agreed
  size_t credits = 0;            // that it would be given now
  uint64_t retransmissions = 0;  // packets of replies that were sent again
  uint64_t refused = 0;          // requests
  // Learnt from replies of several packets, while there are such; else 0. The window is 0 without
  // congestion control, too.
  int64_t srtt_ns = 0;
  int64_t rttvar_ns = 0;
  double window_packets = 0;
};

class Server : public Pollable {
 public:
  // Decides on a request by its sender and first packet's payload before it is accepted; false
  // refuses it with a DROP. This is the application's flow control.
  using Admission = ServerCore::Admission;

  // Adds itself to `loop`, which must outlive it, and runs over `port`, all of whose messages are
  // its own and go through it as options.security says. `handler` is called with a ServerCall and
  // returns void or Task<void>; or with the server's HandlerTasks and a ServerCall, and returns
  // HandlerTasks::Start() or null. Errors: of the options, of resolving routers, of
  // Security::Protect(); FailedPrecondition for a port that can be reached from beyond this machine
  // without options.security.
  template <typename F>
  static absl::StatusOr<std::unique_ptr<Server>> Create(Loop& loop,
                                                        std::unique_ptr<DatagramPort> port,
                                                        const ServerOptions& options, F handler) {
    auto protected_port = Protect(loop, std::move(port), options.security.get(), Role::kServer);
    if (!protected_port.ok()) return protected_port.status();
    std::unique_ptr<Server> server(new Server(loop, *std::move(protected_port), options));
    if constexpr (std::is_invocable_v<F&, HandlerTasks&, ServerCall>) {
      server->core_.handler = [&tasks = server->core_.tasks,
                               handler = std::move(handler)](ServerCall&& call) mutable {
        return handler(tasks, std::move(call));
      };
    } else if constexpr (std::is_void_v<std::invoke_result_t<F&, ServerCall>>) {
      server->core_.handler =
          [handler = std::move(handler)](ServerCall&& call) mutable -> HandlerTasks::Running* {
        handler(std::move(call));
        return nullptr;
      };
    } else {
      server->core_.handler = [&tasks = server->core_.tasks,
                               handler = std::move(handler)](ServerCall&& call) mutable {
        return tasks.Spawn(handler(std::move(call)));
      };
    }
    if (absl::Status status = server->Init(); !status.ok()) return status;
    return server;
  }
  // Destroys the coroutines of the handler that have not ended, tells clients with sessions, and
  // sends what the port still takes.
  ~Server() override;

  // For a handler that knows methods: with rules in options.security, requests of clients that no
  // rule for "*" allows are refused before the handler sees them. From now on they are not; the
  // handler refuses what the result, null without rules, does not allow.
  std::unique_ptr<Authorisation> LeaveAuthorisationTo(std::vector<std::string> methods);

  void set_admission(Admission admission) { core_.admission = std::move(admission); }
  // Tells the application of each session that begins and ends (extended format). `events` may use
  // the server but not destroy it.
  void set_session_events(absl::AnyInvocable<void(const SessionEvent&)> events);

  // `gatherer` is flushed whenever the server is about to send, until it is removed.
  void Add(Gatherer* gatherer) { core_.gatherers.Add(gatherer); }
  void Remove(Gatherer* gatherer) { core_.gatherers.Remove(gatherer); }

  // Ends a call from outside: it is cancelled(), and the client is told that the server shuts down.
  // Nothing happens if it has been answered. Not from within its own handler.
  void Cancel(const ServerCall::Name& call);

  // Asks routers that it has joined for no more requests, and takes what they have sent already,
  // for half a second at most. From then on, at once without such, refuses new requests and
  // sessions, and asks clients to go elsewhere. Calls `done` from the loop when nothing executes
  // any more and clients have the replies; in that call, the server may be destroyed. Once a
  // server.
  void Drain(absl::AnyInvocable<void()> done);
  bool draining() const { return drained_ != nullptr || core_.draining; }

  // Ok, or why the port is dead, and with it the server.
  const absl::Status& status() const { return core_.port->status(); }
  const ServerStats& stats() const { return core_.stats; }
  // Requests of which only some packets are here.
  size_t incomplete() const;
  // Calls `f` with each session that is open. For people to look at: it takes its time.
  void ForEachSession(absl::FunctionRef<void(const SessionInfo&)> f) const;
  // The same with each router that the server has to do with.
  bool has_routers() const { return core_.routers != nullptr; }
  void ForEachRouter(absl::FunctionRef<void(const RouterInfo&)> f) const {
    if (core_.routers != nullptr) core_.routers->ForEach(f);
  }
  DatagramPort& port() { return *core_.port; }
  const DatagramPort& port() const { return *core_.port; }
  Loop& loop() { return core_.loop; }

  size_t Poll() override;
  int wait_fd() const override { return core_.port->wait_fd(); }
  bool Arm() override;
  void Disarm() override { core_.port->Disarm(); }

 private:
  Server(Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& options);
  absl::Status Init();
  std::unique_ptr<Authorisation> MakeAuthorisation(std::vector<std::string> methods) const;
  size_t OnEvents();
  // Of `n` datagrams of core_.burst.
  void OnBurst(size_t n);
  // Long requests that have been fetched.
  size_t TakeFetched();
  bool TakeRoute(size_t index);
  void BeginDrain();
  bool has_feedback() const { return core_.routers != nullptr && core_.routers->has_feedback(); }
  static void OnDrainTick(void* self, int64_t now_ns);

  ServerCore core_;
  std::unique_ptr<OriginalServer> original_;
  std::unique_ptr<ExtendedServer> extended_;
  const size_t burst_;
  Timer drain_tick_;
  absl::AnyInvocable<void()> drained_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_H_
