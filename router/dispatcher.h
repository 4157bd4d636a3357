// SPDX-License-Identifier: Apache-2.0
//
// The router's decisions: which server takes which request, who waits, who is refused. It does no
// I/O and reads no clock, so that a simulation of thousands of servers runs the very code that a
// router runs.
//
//   auto dispatcher = Dispatcher::Create({.policy = "jbsq"});
//   const ServerIndex s = (*dispatcher)->AddServer(ClientIdOf(address), /*slots=*/2, /*weight=*/1);
//   Arrival burst[1] = {{.key = RequestKey(client, 0, rid)}};
//   Decision decisions[1];
//   (*dispatcher)->Arrive(burst, now_ns, decisions);        // kForward: send it to .server
//   ...                                                     // kQueue: keep it under .ticket
//   (*dispatcher)->Done(s, burst[0].key, now_ns);           // FEEDBACK
//   const size_t n = (*dispatcher)->TakeReady(now_ns, ready);  // tickets whose turn it is
//
// Each request that goes to a server takes one of its slots, until FEEDBACK or until the lease of
// the slot ends: a FEEDBACK that is lost costs a slot for no longer than that. All leases are
// equally long, so that they end in the order in which they began.
//
// In the extended format a request is executed at most once, and one that was refused not at all:
// what became of the last request of each slot of a client is remembered, as long as there is room.
// Of a request that was sent before and is not known, `Arrival::age_ns` tells whether it would be
// known if it had ever come here; if not, it is refused rather than executed for the second time.
//
// Everything is bounded, and allocated when it is made. One thread.
#ifndef WEFT_ROUTER_DISPATCHER_H_
#define WEFT_ROUTER_DISPATCHER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/histogram.h"
#include "weft/core/metrics.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/r2p2/server_set.h"
#include "weft/router/fair_queue.h"
#include "weft/router/index_list.h"
#include "weft/router/placement_table.h"

namespace weft::router {

using r2p2::kNoServerIndex;
using r2p2::ServerIndex;

struct DispatcherOptions {
  std::string policy = "jbsq";
  size_t servers_max = 1024;
  size_t queue_max = 4096;  // requests that wait
  // Requests that are known, at least 2: those that wait or are at servers, and those that are
  // remembered, for which an eighth is kept. One more than the others may be is refused.
  size_t placements_max = size_t{1} << 17;
  int64_t lease_ns = 1'000'000'000;
  // Of each tenant: Arrival::tenant is an index of it. At least one.
  std::vector<uint32_t> tenant_weights = {1};
  uint64_t seed = 1;   // of the policy's choices and of the table; a secret, but in simulations
  int64_t now_ns = 0;  // when it is made: of requests before, nothing is known
};

// A request that has come.
struct Arrival {
  static constexpr int64_t kSentOnce = -1;

  uint64_t key = 0;            // r2p2::RequestKey()
  uint64_t request_id = 0;     // with its sequence; 0: original format
  uint64_t client = 0;         // its incarnation: another one's request is a new one
  uint64_t affinity = 0;       // requests with the same one to the same server; 0: to any
  int64_t age_ns = kSentOnce;  // of one that was sent before: since it first was
  uint16_t tenant = 0;
  bool fixed = false;  // FIXED_ROUTE: to the first server, whatever it has to do
};

enum class Fate : uint8_t {
  kForward,       // to `server`, one of whose slots it takes
  kRepeat,        // to `server` again, without a slot: it is known
  kQueue,         // waits: keep it under `ticket`
  kQueueInstead,  // likewise, and forget the one kept there: its client has given it up
  kQueueEvict,    // likewise, and refuse the one kept there: another tenant's, for fairness
  kIgnore,        // it waits already, or its client knows better: drop it without a word
  // Refused: tell the client.
  kNoServer,    // none is available
  kQueueFull,   // as many wait as may
  kTableFull,   // as many are at servers as can be known
  kServerLost,  // sent again, and the server that had it has gone
  kReplyGone,   // sent again, and nobody knows what became of it
  kCancelled,   // its client has cancelled it while it waited
};
inline constexpr bool IsRefused(Fate fate) { return fate >= Fate::kNoServer; }

struct Decision {
  Fate fate = Fate::kIgnore;
  ServerIndex server = kNoServerIndex;
  uint32_t ticket = 0;  // below queue_max
};

// One that has waited. kNoServerIndex: there is no server left; refuse it.
struct Ready {
  uint32_t ticket = 0;
  ServerIndex server = kNoServerIndex;
  int64_t waited_ns = 0;
};

// What becomes of a request that its client has cancelled.
struct Cancellation {
  enum class Where : uint8_t {
    kUnknown,   // it has not come, or others have since
    kWaited,    // under `ticket`: it does no more, forget it
    kAtServer,  // tell `server`, which has it, or is done with it
    kEnded,     // it was refused, or is lost with its server
  };
  Where where = Where::kUnknown;
  uint32_t ticket = 0;
  ServerIndex server = kNoServerIndex;
};

enum class DoneResult : uint8_t {
  kDone,
  kUnknown,      // no such request is at any server: late, repeated or forged
  kOtherServer,  // it is at another one
};

// Any thread may read.
struct DispatcherStats {
  Counter forwarded;  // that took a slot, those that had waited included
  Counter repeated;   // sent to their server again
  Counter queued;
  Counter superseded;  // waited, and gave way to a newer one of the same slot of the client
  Counter cancelled;   // waited, until their clients cancelled them
  Counter ignored;     // waited already, or were older than what is known
  Counter done;        // FEEDBACK that returned a slot
  Counter overtaken;   // slots that came back before, as the client went on to its next request
  Counter leases_expired;
  Counter placements_lost;  // slots that came back because their server went
  Counter forgotten;        // remembered requests that gave way to new ones
  Counter refused_no_server;
  Counter refused_queue_full;
  Counter refused_tenant;  // of those, that had waited already: their tenant had too many
  Counter refused_table_full;
  Counter refused_server_lost;
  Counter refused_reply_gone;
  Gauge queue_length;
  Gauge outstanding;  // requests at servers
  Gauge remembered;
  Histogram waits_ns;  // of those that waited and went to a server
};

class Dispatcher {
 public:
  static constexpr size_t kBurstMax = 64;
  // Packets do not live longer in a network.
  static constexpr int64_t kPacketLifeNs = 100'000'000;

  // InvalidArgument for a policy that there is not (it lists all), or for tenants without weight.
  static absl::StatusOr<std::unique_ptr<Dispatcher>> Create(const DispatcherOptions& options);
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // What to do with each request of `burst`, at most kBurstMax, in order: handle the decisions in
  // that order, as a ticket may be given out twice.
  void Arrive(absl::Span<const Arrival> burst, int64_t now_ns, absl::Span<Decision> decisions);

  // `server` is done with a request.
  DoneResult Done(ServerIndex server, uint64_t key, int64_t now_ns);

  // Its client has given a request up (extended format only). Copies of one that waited are
  // refused.
  Cancellation Cancel(uint64_t key, uint64_t request_id);

  // Where a request is; kNoServerIndex: at no server that is still there.
  ServerIndex ServerOf(uint64_t key) {
    const Placement* const placement = table_.Find(key);
    const bool placed = placement != nullptr && placement->state == Placement::State::kPlaced;
    return placed && !IsLost(*placement) ? placement->server : kNoServerIndex;
  }

  // Takes requests out of the queue for which there is room now, in their order, and returns how
  // many. To be called after Done(), Expire() and whatever changes servers, until it returns less
  // than `ready` has room for.
  size_t TakeReady(int64_t now_ns, absl::Span<Ready> ready);

  // Takes back the slots whose leases have ended. Returns how many.
  size_t Expire(int64_t now_ns);
  // When there may be something to expire; INT64_MAX: nothing.
  int64_t NextDeadlineNs() const;

  // kNoServerIndex when there are servers_max.
  ServerIndex AddServer(uint64_t name, uint32_t slots, uint32_t weight);
  // One that is not gets no new requests; what it has, it keeps.
  void SetAvailable(ServerIndex server, bool available);
  void SetSlots(ServerIndex server, uint32_t slots) {
    returned_ += slots;
    servers_.SetSlots(server, slots);
  }
  void SetWeight(ServerIndex server, uint32_t weight) { servers_.SetWeight(server, weight); }
  // The server has gone, or begun anew: what it had is lost and will not be asked of it again.
  void Lose(ServerIndex server);
  // The same, and the index may become another server's.
  void RemoveServer(ServerIndex server);
  const r2p2::ServerSet& servers() const { return servers_; }

  // Changes of a running router. What waits goes on waiting; of tenants that are no more, too.
  absl::Status SetPolicy(absl::string_view name);
  absl::string_view policy() const { return policy_->name(); }
  void SetLease(int64_t lease_ns) { lease_ns_ = lease_ns; }
  void SetQueueMax(size_t queue_max) { queue_.SetLimit(queue_max); }
  void SetTenantWeights(absl::Span<const uint32_t> weights) { queue_.SetWeights(weights); }

  size_t queue_length() const { return queue_.size(); }
  size_t queue_length(size_t tenant) const { return queue_.size(tenant); }
  size_t outstanding() const { return leases_.size(); }
  const DispatcherStats& stats() const { return stats_; }
  // Brings the gauges of stats() up to date.
  void UpdateGauges();

 private:
  Dispatcher(const DispatcherOptions& options, std::unique_ptr<r2p2::BalancingPolicy> policy);

  // Decides on a request with a known key; false: it is a new one, and the entry is free for it.
  bool OnKnown(const Arrival& arrival, Placement& known, Decision* decision);
  // An entry for a request that is not known; null: it is refused.
  Placement* Begin(const Arrival& arrival, int64_t now_ns, Decision* decision);
  // As many wait or are at servers as may.
  bool IsFull() const { return table_.size() - remembered_.size() > live_max_; }
  void PickServers(absl::Span<const Arrival> burst, int64_t now_ns, absl::Span<Decision> decisions);
  void Queue(const Arrival& arrival, Placement& placement, int64_t now_ns, Decision* decision);
  void Place(Placement& placement, ServerIndex server, int64_t now_ns);
  // A placed request has ended: it is remembered, or not.
  void End(Placement& placement);
  bool IsLost(const Placement& placement) const {
    return placement.epoch != epochs_[placement.server];
  }
  void Refuse(Fate fate, Decision* decision);
  // It was refused: its copies will be, too.
  void RememberRefused(Placement& placement, Fate fate);
  void ForgetOldest();
  size_t RefuseWaiting(absl::Span<Ready> ready);

  const uint64_t seed_;
  int64_t lease_ns_;
  r2p2::ServerSet servers_;
  std::unique_ptr<r2p2::BalancingPolicy> policy_;
  std::vector<uint32_t> epochs_;  // of servers: counts how often each was lost
  PlacementTable table_;
  const size_t live_max_;            // entries that are not only remembered
  IndexList<Placement> leases_;      // at servers: by since_ns
  IndexList<Placement> remembered_;  // done: by the time of their end
  FairQueue queue_;
  // Of all requests that began before, some may have been forgotten.
  int64_t forgotten_ns_;
  size_t returned_ = 1;  // slots that may have become free since the last TakeReady()
  DispatcherStats stats_;

  // Of a burst: those without a server yet.
  struct New {
    uint32_t arrival;
    uint32_t placement;
  };
  New new_[kBurstMax];
  size_t new_count_ = 0;
  uint64_t affinities_[kBurstMax];
  ServerIndex picked_[kBurstMax];
  uint32_t taken_[kBurstMax];
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_DISPATCHER_H_
