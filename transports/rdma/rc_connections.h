// SPDX-License-Identifier: Apache-2.0
//
// The reliable connections of a port: made when they are first wanted, made again when they have
// broken, ended when nobody uses them.
//
//   RcConnections connections(completion_queue, rendezvous, {.service = service}, handler);
//   ConnectionId id = *connections.Get(peer, RcConnections::Role::kUser);
//   if (connections.state(id) == RcConnections::State::kUp) connections.Post(id, requests);
//   ... each round: connections.Poll(now_ns);              // OnDone(), OnUp(), OnDown()
//
// A connection has a direction: its user reads, writes and does atomics in memory of its owner, who
// binds and invalidates windows on it and no more. Two who use each other's memory have two. So a
// window never waits to be bound behind operations, whoever is denied breaks only what he uses
// himself, and an owner's queue pair can be connected anew, to a user who comes back, without a
// change of the keys that he was given.
//
// Either side may ask for a connection, by a numbered attempt; each knows the other's by its port's
// address and the direction. Both at once is no conflict, since what is asked with is what is
// answered with: whoever is asked connects the queue pair that he has, and his own question falls
// away. A later attempt of the same peer replaces what there was; an earlier one is out of date.
//
// One-sided operations do not tell an owner that a user is dead, whose windows would stay bound for
// ever. So users who have some are asked now and then, by the rendezvous, whether they are there.
//
// After kDenied a user asks again by itself, the first time at once. After a loss, somebody has to
// want the connection. There is a time between, which doubles with every failure that no success
// came between.
//
// Threads: one, the port's.
#ifndef WEFT_TRANSPORTS_RDMA_RC_CONNECTIONS_H_
#define WEFT_TRANSPORTS_RDMA_RC_CONNECTIONS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/address.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/rendezvous.h"

namespace weft::rdma {

// A port of one of the workers that may share an address.
struct RcPeer {
  Address address;
  uint8_t worker = 0;
  friend bool operator==(const RcPeer&, const RcPeer&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const RcPeer& peer) {
    return H::combine(std::move(h), peer.address, peer.worker);
  }
};

// Names a connection until it is forgotten. The default value names none.
struct ConnectionId {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
  friend bool operator==(const ConnectionId&, const ConnectionId&) = default;
};

class RcConnections final : private Rendezvous::Handler {
 public:
  static constexpr size_t kMaxConnections = 65'535;
  static constexpr int64_t kFirstBackoffNs = 1'000'000;
  static constexpr int64_t kLastBackoffNs = 1'000'000'000;
  static constexpr int64_t kDeniedBackoffNs = 8'000'000;  // at most, after being denied
  static constexpr int64_t kNever = INT64_MAX;
  // Questions whether he is there that a user may leave unanswered, in a row.
  static constexpr uint32_t kUnansweredMax = 3;

  enum class Role : uint8_t { kOwner, kUser };
  enum class State : uint8_t {
    kNone,  // broken, waits or is not wanted
    kConnecting,
    kUp,
  };
  enum class Loss : uint8_t {
    kDenied,       // a request of this side was refused
    kBroken,       // the queue pair has failed, or the peer makes a new one
    kPeerLost,     // retries ran out
    kUnreachable,  // asked, without success
    // The peer has closed its port, or is another one now at this address; DeadlineExceeded: it has
    // windows and does not answer any more.
    kGone,
  };

  class Handler {
   public:
    virtual ~Handler() = default;
    // A signalled request has been executed.
    virtual void OnDone(ConnectionId id, uint32_t context) = 0;
    virtual void OnUp(ConnectionId id) = 0;
    // Whatever was posted and not done is over, in the order in which it was posted: the first
    // failed by `loss`, others were behind it. After kGone, windows must not stay bound.
    virtual void OnDown(ConnectionId id, Loss loss, const absl::Status& why) = 0;
  };

  struct Options {
    Offer::Service service = Offer::Service::kBulk;
    size_t max_connections = 2048;
    uint32_t slots = 128;              // of a send queue
    int64_t idle_ns = 60'000'000'000;  // unused so long, one ends
    // Between two questions whether a user with windows is there; kNever: he is not asked.
    int64_t keepalive_ns = kNever;
  };

  struct Stats {
    uint64_t asked = 0, made = 0, refused = 0;
    uint64_t asked_after = 0;  // users whether they are there
    uint64_t denied = 0, broken = 0, peer_lost = 0, unreachable = 0, peer_gone = 0;
    uint64_t idle_ended = 0;
    uint64_t stale_completions = 0;  // of what a connection was before
  };

  // All of which outlive it.
  RcConnections(CompletionQueue* queue, Rendezvous* rendezvous, const Options& options,
                Handler* handler);
  ~RcConnections() override;

  // The connection; if there is none it is asked for, as soon as that may be tried again.
  // ResourceExhausted beyond max_connections when all are in use; another status when it cannot be
  // asked for, as on a device that is gone.
  absl::StatusOr<ConnectionId> Get(const RcPeer& peer, Role role, int64_t now_ns);
  // kNone for one that has been forgotten.
  State state(ConnectionId id) const;
  // Of one that is there; else nothing is known of it.
  bool exists(ConnectionId id) const { return Find(id) != nullptr; }
  const RcPeer& peer(ConnectionId id) const { return connections_[id.index].peer; }
  Role role(ConnectionId id) const { return connections_[id.index].role; }
  uint64_t peer_incarnation(ConnectionId id) const {
    return connections_[id.index].peer_incarnation;
  }
  // Numbers of the owner's queue pair, whichever side that is: what its keys are good for.
  uint32_t owner_qpn(ConnectionId id) const;
  // Why it is down.
  const absl::Status& why(ConnectionId id) const { return connections_[id.index].why; }

  // Posts a prefix to one that is up. Contexts are of 32 bits; of unsignalled ones nothing is told.
  size_t Post(ConnectionId id, absl::Span<const RcRequest> requests);
  size_t free_slots(ConnectionId id) const;
  // Posts a request that needs nothing of the peer, as an owner's do, and waits until the device
  // has executed it: microseconds. False: it was not, or not yet, as on a device that is busy for
  // long, and the window of a kBind is not to be used. An owner's queue pair fails without a word
  // when its user is denied; it is then asked for anew.
  bool Execute(ConnectionId id, RcRequest request, int64_t now_ns);

  // Whoever holds one, because of windows that are bound to it, keeps it from ending unused.
  void Hold(ConnectionId id);
  void Release(ConnectionId id) { --connections_[id.index].holds; }

  // Completions, and what is due. Returns how much that was.
  size_t Poll(int64_t now_ns);
  // The device has said that this queue pair has failed, or, 0, that all have: it is gone.
  void OnQueueFailed(uint32_t qpn);
  // Peers that had a connection, for whoever says good-bye.
  std::vector<Address> Peers() const;

  // When Poll() has something to do even if nothing completes; INT64_MAX for never.
  int64_t NextNs() const;

  size_t size() const { return by_peer_.size(); }
  size_t held() const;
  const Stats& stats() const { return stats_; }

 private:
  struct Key {
    RcPeer peer;
    Role role;
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.peer, key.role);
    }
  };
  struct Connection {
    uint32_t index = 0;  // of this place
    RcPeer peer;
    Role role = Role::kOwner;
    State state = State::kNone;
    bool used = false;        // this place is
    bool asks_later = false;  // stands in again_
    bool asks_after = false;  // while it is up: a question is under way whether the user is there
    uint16_t epoch = 0;       // of queue pairs and connections of this place: told in completions
    uint32_t generation = 1;
    std::unique_ptr<RcQueue> queue;
    QueueAddress peer_queue;
    uint64_t peer_incarnation = 0;
    uint32_t attempt = 0;       // ours, of the latest question
    uint32_t peer_attempt = 0;  // theirs
    int64_t retry_ns = 0;
    int64_t backoff_ns = 0;
    int64_t used_ns = 0;
    uint32_t holds = 0;
    int64_t looked_after_ns = 0;  // when the user was last heard of by the rendezvous, or asked
    uint32_t unanswered = 0;
    // What is posted: contexts, by position modulo their number; kSilent where nothing is told.
    std::vector<uint64_t> posted;
    uint32_t head = 0, tail = 0;  // the oldest that is not done, the next
    uint32_t silent = 0;          // in a row
    absl::Status why;
  };

  Connection* Find(ConnectionId id);
  const Connection* Find(ConnectionId id) const {
    return const_cast<RcConnections*>(this)->Find(id);
  }
  static ConnectionId IdOf(const Connection& connection) {
    return {connection.index, connection.generation};
  }
  uint64_t ContextOf(const Connection& connection) const;
  Connection* Asking(uint64_t context);
  absl::StatusOr<Connection*> FindOrAdd(const RcPeer& peer, Role role, int64_t now_ns);
  bool EndIdle(int64_t unused_since_ns);
  void Forget(Connection& connection);

  absl::Status OpenQueue(Connection& connection);
  void Begin(Connection& connection, int64_t now_ns);
  void AskLater(Connection& connection);
  void CancelAsk(Connection& connection);
  absl::Status Join(Connection& connection, const Offer& offer);
  Offer OfferOf(const Connection& connection) const;
  bool IsCurrent(const Connection& connection, const Offer& offer) const;
  void BackOff(Connection& connection);
  void Break(Connection& connection, Loss loss, const absl::Status& why);
  // rc_keepalive.cc.
  int64_t LookAfterNs(const Connection& connection) const;
  void LookAfterUsers(int64_t now_ns);
  void OnThere(Connection& connection);
  void OnNoAnswer(Connection& connection, const absl::Status& status);
  void OnCompletion(const RcCompletion& completion);
  void TellDone(Connection& connection, uint32_t end);
  size_t PollCompletions();

  absl::StatusOr<Offer> OnAsk(const Address& from, const Offer& offer) override;
  void OnAnswer(uint64_t context, const Offer& answer) override;
  void OnFailed(uint64_t context, const absl::Status& status) override;
  void OnBye(const Address& from, uint64_t incarnation) override;

  CompletionQueue* const queue_;
  Rendezvous* const rendezvous_;
  const Options options_;
  Handler* const handler_;
  std::deque<Connection> connections_;
  std::vector<uint32_t> free_;
  absl::flat_hash_map<Key, uint32_t> by_peer_;
  std::vector<uint32_t> again_;  // broken, to be asked for as soon as they may
  uint32_t last_attempt_ = 0;
  int64_t now_ns_ = 0;
  int64_t next_look_ns_ = 0;             // for unused ones
  int64_t next_look_after_ns_ = kNever;  // for users who may have gone
  Stats stats_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RC_CONNECTIONS_H_
