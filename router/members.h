// SPDX-License-Identifier: Apache-2.0
//
// The servers of one worker of a router: by address, by the peers that they are, by their index in
// the dispatcher, which learns from here what they may be given. Not for users, but for Member.
#ifndef WEFT_ROUTER_MEMBERS_H_
#define WEFT_ROUTER_MEMBERS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/router/dispatcher.h"
#include "weft/router/feedback.h"
#include "weft/router/health.h"
#include "weft/router/options.h"
#include "weft/router/router_stats.h"
#include "weft/router/server_rates.h"
#include "weft/transports/datagram_port.h"

namespace weft::router {

// A server.
struct Member {
  enum class State : uint8_t {
    kUp,
    kDraining,  // gets no more requests; with its last one it goes
    kDown,      // not heard of
    kLeft,      // has said LEAVE, is configured, and so may come back
  };
  // Peers of one server: its address, as both ports know it, and others that its JOIN came from:
  // where JOIN is protected, each of its workers has a port of its own.
  static constexpr size_t kPeersMax = 2 + FeedbackSources::kSourcesMax;
  struct Known {
    Peer peer;
    bool control = false;  // of the port for control
  };

  RouterOptions::Server server;  // `slots` as it or the configuration wishes: 0: as the router says
  uint64_t name = 0;             // r2p2::ClientIdOf(server.address)
  ServerIndex index = kNoServerIndex;
  State state = State::kUp;
  bool configured = false;  // by the configuration or by hand; else it has joined
  bool leaving = false;     // kDraining: it has asked for that itself
  bool removing = false;    // kDraining: it goes with its last request, though it may JOIN
  bool on_trial = false;    // up for one request only
  uint64_t trial_forwarded = 0;
  Life life;
  // r2p2::ServerOf() what it has said; 0: nothing yet.
  uint64_t incarnation = 0;
  uint64_t former_incarnation = 0;  // whose words are late ones
  uint64_t left_incarnation = 0;    // that has said LEAVE
  int64_t told_ns = 0;              // when the first worker was last told of a sign of life
  uint64_t forwarded = 0;           // requests, repeated ones included
  uint64_t feedbacks = 0;           // that returned a slot
  ServerRates rates;
  FeedbackSources feedback;
  std::vector<Known> peers;
  // Since it said LEAVE: the requests of each other worker at it, as that one told last.
  std::vector<uint32_t> elsewhere;
};
const char* NameOf(Member::State state);

// Which life of a server a sign of life is of.
struct WhichLife {
  uint64_t incarnation = 0;  // 0: it does not say
  bool proved = false;       // it is the answer to a question that nobody else can give
};

// What a worker tells the others.
struct MemberChange {
  enum class Kind : uint8_t {
    kAdd,     // or other slots and weight
    kState,   // `state`
    kLose,    // what it had is lost
    kRemove,  // it is gone
    kHeard,   // to the first worker: a sign of life
  };
  Kind kind = Kind::kAdd;
  RouterOptions::Server server;
  Member::State state = Member::State::kUp;
  WhichLife life = {};  // kHeard
};

class Members {
 public:
  // `control` is null where it is `listen`. All outlive it. `slots`: of servers that do not say.
  Members(Dispatcher& dispatcher, DatagramPort& listen, DatagramPort* control, RouterStats& stats);
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  // Is told of each change here, unless Apply() made it. Null: nobody is.
  void set_listener(std::function<void(const MemberChange&)> listener) {
    listener_ = std::move(listener);
  }
  void set_slots(uint32_t slots);
  void set_keepalive(int64_t keepalive_ns) { keepalive_ns_ = keepalive_ns; }

  // Up at once. AlreadyExists; ResourceExhausted at servers_max; of resolving the address.
  absl::StatusOr<Member*> Add(const RouterOptions::Server& server, bool configured, int64_t now_ns);
  // With other slots and weight.
  void Update(Member& member, const RouterOptions::Server& server);
  void SetState(Member& member, Member::State state);
  // What it had is lost; it may go on with new requests.
  void Lose(Member& member);
  void Remove(Member& member);
  // Lets one request go to a server that seems down, and looks whether one has gone.
  void Try(Member& member);
  void EndTrials();
  // `peer` is it, too.
  void AddPeer(Member& member, const Peer& peer, bool control);
  // Looks which peers it is: where addresses are names, one that has begun anew is another peer.
  void Resolve(Member& member);
  // What another worker has done; and all that it has.
  void Apply(const MemberChange& change, int64_t now_ns);
  void ApplyAll(absl::Span<const MemberChange> members, int64_t now_ns);
  std::vector<MemberChange> All() const;

  // Null: there is none.
  Member* Find(const Address& address);
  Member* FindName(uint64_t name);
  Member* FindPeer(const Peer& peer, bool control) {
    const auto& by_peer = control && control_ != nullptr ? by_control_peer_ : by_peer_;
    const auto found = by_peer.find(peer);
    return found == by_peer.end() ? nullptr : members_[found->second].get();
  }
  // Of a server that there is.
  Member& at(ServerIndex server) { return *members_[server]; }
  // Where requests for it go.
  const Peer& PeerOf(ServerIndex server) const { return peers_[server]; }

  size_t size() const { return by_name_.size(); }
  // In the order of their indices. `f` may remove the member that it is given.
  void ForEach(absl::FunctionRef<void(Member&)> f);
  void ForEach(absl::FunctionRef<void(const Member&)> f) const;
  // The longest datagram that reaches each of them; SIZE_MAX: there is none.
  size_t payload_max() const { return payload_max_; }

 private:
  uint32_t SlotsOf(const RouterOptions::Server& server) const {
    return server.slots != 0 ? server.slots : slots_;
  }
  void ResolveOn(bool control, Member& member);
  void Tell(MemberChange::Kind kind, const Member& member);
  void Count();

  Dispatcher& dispatcher_;
  DatagramPort& listen_;
  DatagramPort* const control_;
  RouterStats& stats_;
  std::function<void(const MemberChange&)> listener_;
  uint32_t slots_ = 2;
  int64_t keepalive_ns_ = 100'000'000;
  std::vector<std::unique_ptr<Member>> members_;  // by index; null where there is none
  std::vector<Peer> peers_;
  absl::flat_hash_map<Peer, ServerIndex> by_peer_;
  absl::flat_hash_map<Peer, ServerIndex> by_control_peer_;
  absl::flat_hash_map<uint64_t, ServerIndex> by_name_;
  size_t trials_ = 0;
  size_t payload_max_ = SIZE_MAX;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_MEMBERS_H_
