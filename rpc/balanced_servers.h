// SPDX-License-Identifier: Apache-2.0
//
// The servers of a balancer, and how each of them is: which are picked, which are left alone for a
// while, and when those are tried again. Not for users: `Balancer` (balancer.h) is.
//
//   up ──failures_max failures in a row, or unavailable──► ejected ──ejection time──► probed
//   probed ──answers the HELLO of a session──► on trial ──its next call ends well──► up
//   probed, on trial ──no answer, a failure──► ejected, for twice as long
//   up ──refuses, and says when to come back──► paused, until then
//
// A server of the original format has no sessions: it is on trial as soon as its ejection is over.
#ifndef WEFT_RPC_BALANCED_SERVERS_H_
#define WEFT_RPC_BALANCED_SERVERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/r2p2/server_set.h"
#include "weft/rpc/call.h"
#include "weft/rpc/client.h"
#include "weft/transports/address.h"

namespace weft::rpc {

struct BalancerStats {
  Counter calls;      // begun, and those that could not begin
  Counter replies;    // calls that ended well
  Counter failures;   // calls that ended otherwise; cancelled ones do not count
  Counter queued;     // calls that had to wait for a slot
  Counter refused;    // of the failures: no server, or too many were waiting
  Counter ejections;  // of servers
  Counter probes;     // of servers that had been ejected
  Counter trials;     // calls to servers that had answered a probe
  Counter recoveries;
  Gauge servers;
  Gauge available;  // of those, that may be picked
  Gauge waiting;    // calls
};

// One of them, as Describe() shows it.
struct BalancedServer {
  enum class State : uint8_t { kUp, kPaused, kEjected, kProbed, kTrial, kDraining };

  Address address;
  Peer peer;
  r2p2::ServerIndex index = r2p2::kNoServerIndex;
  State state = State::kUp;
  uint32_t failures = 0;   // in a row
  uint32_t ejections = 0;  // since a call last ended well
  uint64_t calls = 0;
  uint64_t failed = 0;   // of those, that say something against the server
  int64_t until_ns = 0;  // kPaused, kEjected, kProbed: when that ends
};

// "up", "ejected" and the like.
const char* NameOf(BalancedServer::State state);

// A server that was picked, until the call has ended.
struct Picked {
  r2p2::ServerIndex server = r2p2::kNoServerIndex;
  uint32_t generation = 0;  // of who has the index
  bool trial = false;
  explicit operator bool() const { return server != r2p2::kNoServerIndex; }
};

class BalancedServers {
 public:
  struct Options {
    size_t servers_max;
    uint32_t slots;
    uint32_t failures_max;
    int64_t ejection_ns;
  };
  // `on_room` is called when a server may have room that had none, but for the end of a call.
  BalancedServers(Client& client, const Options& options, BalancerStats& stats,
                  absl::AnyInvocable<void()> on_room);
  ~BalancedServers();
  BalancedServers(const BalancedServers&) = delete;
  BalancedServers& operator=(const BalancedServers&) = delete;

  // See Balancer.
  absl::Status Add(const Address& address, uint32_t weight);
  absl::Status Remove(const Address& address);
  absl::Status Drain(const Address& address);
  absl::Status SetWeight(const Address& address, uint32_t weight);

  r2p2::ServerSet& set() { return set_; }
  const r2p2::ServerSet& set() const { return set_; }
  const BalancedServer& at(r2p2::ServerIndex server) const { return *servers_[server]; }
  bool contains(const Picked& picked) const {
    return set_.contains(picked.server) && servers_[picked.server]->generation == picked.generation;
  }

  // A policy has picked and taken `server`.
  Picked OnPicked(r2p2::ServerIndex server) {
    Server& s = *servers_[server];
    ++s.calls;
    Picked picked{.server = server, .generation = s.generation};
    if (s.state == BalancedServer::State::kTrial) [[unlikely]] {
      picked.trial = true;
      BeginTrial(s);
    }
    return picked;
  }
  // Its call has ended, and says something of it.
  void OnEnd(const Picked& picked, const absl::Status& status) {
    if (!contains(picked)) [[unlikely]]
      return;
    Server& server = *servers_[picked.server];
    set_.Return(picked.server);
    if (!status.ok() || picked.trial || server.failures > 0 ||
        server.state == BalancedServer::State::kDraining) [[unlikely]] {
      Judge(server, picked, status);
    }
  }
  // Its call was cancelled, which says nothing.
  void OnCancelled(const Picked& picked);

  // Why nothing can be picked though nothing is full: an error, NotExecuted(). Servers are probed
  // soon if they have not been for long.
  absl::Status WhyNone();

 private:
  struct Server : BalancedServer {
    explicit Server(BalancedServers* owner)
        : owner(owner), timer(&BalancedServers::OnTimer, this) {}
    BalancedServers* const owner;
    uint32_t generation = 0;
    SessionId probe;
    Timer timer;
  };

  Loop& loop() { return client_.loop(); }
  Server* Find(const Address& address);
  void SetAvailable(Server& server, bool available);
  void BeginTrial(Server& server);
  void Judge(Server& server, const Picked& picked, const absl::Status& status);
  void Eject(Server& server);
  void Pause(Server& server, int64_t for_ns);
  void Probe(Server& server, int64_t now_ns);
  void EndProbe(Server& server);
  void AllowTrial(Server& server);
  void Recover(Server& server);
  void Release(Server& server);
  bool SpeaksOriginal(const Server& server) const;
  // Whether it is a router, and heard of: what fails behind it says nothing against it.
  bool IsRouterInTouch(const Server& server) const;
  void WakeAt(Server& server, int64_t when_ns);
  static void OnTimer(void* server, int64_t now_ns);
  void OnTimer(Server& server, int64_t now_ns);

  Client& client_;
  const Options options_;
  BalancerStats& stats_;
  absl::AnyInvocable<void()> on_room_;
  r2p2::ServerSet set_;
  std::vector<std::unique_ptr<Server>> servers_;  // by index
  int64_t hurried_ns_ = INT64_MIN / 2;            // when WhyNone() last asked for probes
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_BALANCED_SERVERS_H_
