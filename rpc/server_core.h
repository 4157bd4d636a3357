// SPDX-License-Identifier: Apache-2.0
//
// What the parts of a server share. Not for users.
#ifndef WEFT_RPC_SERVER_CORE_H_
#define WEFT_RPC_SERVER_CORE_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/loop.h"
#include "weft/rpc/bulk_way.h"
#include "weft/rpc/gatherer.h"
#include "weft/rpc/handler_tasks.h"
#include "weft/rpc/options.h"
#include "weft/rpc/packet_queue.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/router_links.h"
#include "weft/rpc/security/authorisation.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/server_stats.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

class ExtendedServer;
class OriginalServer;

struct ServerCore {
  // Starts the handler; if it is a coroutine that has not ended, that.
  using Handler = absl::AnyInvocable<HandlerTasks::Running*(ServerCall)>;
  using Admission = absl::AnyInvocable<bool(Peer client, absl::Span<const uint8_t> first_payload)>;

  ServerCore(Loop& loop, std::unique_ptr<DatagramPort> port, const ServerOptions& options);

  // Starts the handler with a new call. Its ids get what routers are told later.
  HandlerTasks::Running* Run(ServerCall::Ids ids, const Peer& client, int64_t deadline_ns,
                             BufferChain request) {
    ++stats.requests;
    stats.executing.Add(1);
    if (routers != nullptr) {
      ids.router = arriving_router;
      ids.arrived_ns = loop.now_ns();
    }
    return handler(ServerCall(this, ids, client, deadline_ns, std::move(request)));
  }
  // Every request that was handed to the handler ends here, once.
  void Done(const Peer& client, const ServerCall::Ids& ids, bool parked) {
    (parked ? stats.parked : stats.executing).Add(-1);
    // Those that came in a session came to this server and no other.
    if (routers == nullptr || (ids.session != 0 && ids.pool_number == 0)) [[likely]]
      return;
    const int64_t service_ns = std::min<int64_t>(loop.now_ns() - ids.arrived_ns, UINT32_MAX);
    routers->Done(client, ids.pool_number, static_cast<uint16_t>(ids.request_id), ids.router,
                  static_cast<uint32_t>(service_ns));
  }
  // One in the original format that no handler has seen ends.
  void DoneUnheard(const Peer& client, uint16_t rid) { DoneRouted(client, /*number=*/0, rid); }
  // A router may wait for the end of a request: of the client's session or pool `number`, 0 in the
  // original format. If it does not, it is told in vain.
  void DoneRouted(const Peer& client, uint32_t number, uint16_t rid, uint32_t service_ns = 0) {
    if (routers != nullptr) routers->Done(client, number, rid, arriving_router, service_ns);
  }

  // Whether one request more would be too many: for the handlers, or for the buffers, some of which
  // must stay for what ends the requests that are here.
  bool Overloaded() const { return TooManyExecute() || buffers_low; }
  bool TooManyExecute() const {
    return static_cast<size_t>(stats.executing.value()) >= options.executing_max;
  }
  // In how many microseconds half of what executes will have ended, at the present rate.
  uint32_t RetryAfterUs();

  // Whether the client may make requests at all.
  bool Authorises(const Peer& client) {
    return authorisation == nullptr || authorisation->Allows(*port, client, /*method=*/0);
  }

  // Once a receive burst.
  void BeginBurst() {
    const size_t available = port->pool().available();
    buffers_low = available < buffers_ / 16;
    credits = available < buffers_ / 4 ? 1 : credits_most_;
  }
  // Whose router arriving_router is from now on: a datagram of the burst; null: of none.
  void Arrives(const Datagram* datagram) {
    if (routers == nullptr) return;
    arriving_router = datagram != nullptr
                          ? burst_routers[static_cast<size_t>(datagram - burst.data())]
                          : RouterLinks::kAnyRouter;
  }

  absl::Status NoRoom(size_t packets);

  Loop& loop;
  const std::unique_ptr<DatagramPort> port;
  const ServerOptions options;
  ServerStats stats;
  BulkWay bulk;
  PacketQueue sending;
  Admission admission;
  std::unique_ptr<Authorisation> authorisation;  // null: everybody, or the handler knows
  Gatherers gatherers;
  bool draining = false;
  bool buffers_low = false;  // as the burst began
  uint16_t credits = 1;      // that each session has, by the buffers as the burst began

  std::unique_ptr<RouterLinks> routers;  // null: the server has to do with none
  std::array<Datagram, kMaxBurst> burst;
  std::array<uint8_t, kMaxBurst> burst_routers;  // that the burst's datagrams came through
  uint8_t arriving_router = RouterLinks::kAnyRouter;

  // The two formats; they outlive all calls.
  OriginalServer* original = nullptr;
  ExtendedServer* extended = nullptr;

  Handler handler;     // may hold calls, which use what is above
  HandlerTasks tasks;  // last: tasks use the handler too

 private:
  const size_t buffers_;         // of the port
  const uint16_t credits_most_;  // of a session

  // The service rate is taken over periods of some milliseconds.
  int64_t period_began_ns_;
  uint64_t period_began_at_ = 0;  // calls ended by then
  double ns_per_call_ = 0;        // 0: not known
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_CORE_H_
