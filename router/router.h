// SPDX-License-Identifier: Apache-2.0
//
// A router of R2P2: clients send requests to it, it picks a server for each, and servers answer the
// clients directly (docs/protocols/router.md).
//
//   auto options = RouterOptions::From(config);
//   auto router = Router::Create(loop, std::move(listen), std::move(control), *options);
//   (*router)->Add({.address = *Address::Parse("10.0.0.4:8000")});
//   (*router)->Drain(*Address::Parse("10.0.0.2:8000"));
//   (*router)->Apply(*RouterOptions::From(changed_config));   // loses no request
//
// A request leaves as it came, in the same buffer. Where the port can, it arrives at the server
// under the client's own address (KEEP_SOURCE); else the client's address travels in front of it
// (ADDRESS_IN_HEADER), which servers of weft understand.
//
// Requests that have to wait are kept, up to `queue_max` and half of the port's buffers; beyond,
// and when no server is up, the client gets a DROP at once. What arrives and makes no sense is
// counted and dropped (RouterStats): whatever comes, a router neither ends nor grows nor loses a
// slot.
//
// Several workers share an address: each has a router of its own, with slots and a queue of its
// own, made with the same RouterGroup (router_group.h). The first one judges who is up.
//
// Threads: a router belongs to its loop's thread.
#ifndef WEFT_ROUTER_ROUTER_H_
#define WEFT_ROUTER_ROUTER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/json_writer.h"
#include "weft/core/loop.h"
#include "weft/core/metric_group.h"
#include "weft/core/timer_wheel.h"
#include "weft/router/dispatcher.h"
#include "weft/router/members.h"
#include "weft/router/options.h"
#include "weft/router/router_group.h"
#include "weft/router/router_stats.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

class ControlPath;
class RequestPath;
struct ControlRequest;
struct ControlSettings;

class Router {
 public:
  // Adds itself to `loop`, which must outlive it. `control`, null where it is `listen`, takes
  // FEEDBACK, JOIN and LEAVE; workers but the first need none. `group`, of several workers, is the
  // same for all of them, `worker` counts them from 0. Errors: of the options; Unimplemented where
  // the port cannot forward as they say; of resolving servers.
  static absl::StatusOr<std::unique_ptr<Router>> Create(
      Loop& loop, std::unique_ptr<DatagramPort> listen, std::unique_ptr<DatagramPort> control,
      const RouterOptions& options, std::shared_ptr<RouterGroup> group = nullptr,
      size_t worker = 0);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // What follows changes all workers, and is for the first one's thread.

  // Goes on with other settings. Servers that are new are added, those that are gone are drained,
  // and nothing that waits is lost. FailedPrecondition, and nothing has changed, for settings that
  // take effect at the start only: listen, control, servers_max, forwarding; of resolving servers.
  // ResourceExhausted for servers that were left out because others had joined; the rest holds.
  absl::Status Apply(const RouterOptions& options);
  // ResourceExhausted at servers_max; AlreadyExists.
  absl::Status Add(const RouterOptions::Server& server);
  // Gets no more requests, and goes when it has none any more. NotFound.
  absl::Status Drain(const Address& address);
  // Goes at once; the slots that it has come back. NotFound.
  absl::Status Remove(const Address& address);

  // Of this worker alone, before it ends: requests that wait, and those that come yet, are refused
  // (DROP) rather than forgotten. Those that are at servers are answered all the same.
  void RefuseAll();

  // Members (`servers_max` of them), queue, counters, as JSON (an object).
  void Describe(JsonWriter& json, size_t servers_max = SIZE_MAX) const;
  // The same as a function of that limit. The router must outlive it.
  std::function<void(size_t, JsonWriter&)> Description() const;
  void ForEachMember(absl::FunctionRef<void(const Member&)> f) const;

  const RouterStats& stats() const { return stats_; }
  const Dispatcher& dispatcher() const { return *dispatcher_; }
  const RouterOptions& options() const { return options_; }
  bool keeps_source() const;
  DatagramPort& port() { return *listen_; }
  // Ok, or why a port is dead, and with it the router.
  const absl::Status& status() const;

  // What follows is called by the routers of other workers, on this one's thread.
  void TakePassedOn();
  void OnChangeElsewhere(const MemberChange& change);
  void OnUnreachableElsewhere(const Address& server);
  void OnMembershipElsewhere(const ControlRequest& request);
  void ApplyElsewhere(const RouterOptions& options) { static_cast<void>(ApplyHere(options)); }
  void OnAllMembers(absl::Span<const MemberChange> members);
  // Of requests at a server that leaves: asked of a worker, and its answer to the first one.
  void TellOutstanding(const Address& server);
  void OnOutstandingElsewhere(const Address& server, size_t worker, uint32_t outstanding);
  void SendAllMembers(size_t worker);

 private:
  // A port as the loop sees it.
  class Poller;

  Router(Loop& loop, std::unique_ptr<DatagramPort> listen, std::unique_ptr<DatagramPort> control,
         const RouterOptions& options, std::shared_ptr<RouterGroup> group, size_t worker);
  absl::Status Init();
  size_t PollRequests();
  size_t PollControl();
  void OnEvents(DatagramPort& port);
  void OnLeaseTimer(int64_t now_ns);
  void OnTick(int64_t now_ns);
  void ScheduleLease();
  // Tells the other workers.
  void Publish(const MemberChange& change);
  absl::Status ApplyHere(const RouterOptions& options);
  absl::Status ApplyServers(const RouterOptions& options);
  ControlSettings SettingsOfControl() const;
  // After something has changed: sends what can go now.
  void Continue();

  Loop& loop_;
  const std::unique_ptr<DatagramPort> listen_;
  const std::unique_ptr<DatagramPort> control_;  // null: it is listen_
  RouterOptions options_;
  const std::shared_ptr<RouterGroup> group_;  // null: there is one worker
  const size_t worker_;
  const uint64_t incarnation_;
  std::vector<bool> missed_;  // workers that have missed a change
  RouterStats stats_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Members> members_;
  std::unique_ptr<RequestPath> requests_;
  std::unique_ptr<ControlPath> control_path_;
  std::unique_ptr<Poller> listen_poller_;
  std::unique_ptr<Poller> control_poller_;
  Timer lease_timer_;
  Timer tick_;
};

// Shows what a router counts to Prometheus, as weft_router_*. The group must be destroyed before
// the router.
MetricGroup RegisterMetrics(MetricRegistry& registry, const Router& router,
                            MetricGroup::Labels labels);

}  // namespace weft::router

#endif  // WEFT_ROUTER_ROUTER_H_
