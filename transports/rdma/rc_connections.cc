// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/rc_connections.h"

#include <algorithm>
#include <array>
#include <bit>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::rdma {
namespace {

constexpr uint64_t kSilent = UINT64_MAX;
constexpr size_t kPostBurst = 16;
constexpr size_t kPollBurst = 32;
constexpr size_t kMaxPolled = 256;  // completions of one round
constexpr int64_t kLookNs = 1'000'000'000;
constexpr int kMostLooks = 1000;  // for what a device does by itself

using Role = RcConnections::Role;

// Of an Offer: the attempt, and what its sender is to be.
uint32_t PeerNumber(uint32_t attempt, Role role) {
  return attempt << 1 | (role == Role::kUser ? 1 : 0);
}
Role RoleIn(uint32_t peer_number) { return (peer_number & 1) != 0 ? Role::kUser : Role::kOwner; }
Role Opposite(Role role) { return role == Role::kUser ? Role::kOwner : Role::kUser; }

// Attempts are counted modulo 2^31.
bool IsBefore(uint32_t a, uint32_t b) { return static_cast<int32_t>((a - b) << 1) < 0; }

}  // namespace

RcConnections::RcConnections(CompletionQueue* queue, Rendezvous* rendezvous, const Options& options,
                             Handler* handler)
    : queue_(queue), rendezvous_(rendezvous), options_(options), handler_(handler) {
  rendezvous_->Serve(options_.service, this);
}

RcConnections::~RcConnections() {
  rendezvous_->Serve(options_.service, nullptr);
  for (Connection& connection : connections_) {
    if (connection.used) Forget(connection);
  }
}

// Of its question.
uint64_t RcConnections::ContextOf(const Connection& connection) const {
  return uint64_t{IdOf(connection).index} << 32 | connection.attempt;
}

RcConnections::Connection* RcConnections::Find(ConnectionId id) {
  if (id.index >= connections_.size()) return nullptr;
  Connection& connection = connections_[id.index];
  return connection.used && connection.generation == id.generation ? &connection : nullptr;
}

RcConnections::State RcConnections::state(ConnectionId id) const {
  const Connection* connection = Find(id);
  return connection == nullptr ? State::kNone : connection->state;
}

uint32_t RcConnections::owner_qpn(ConnectionId id) const {
  const Connection& connection = connections_[id.index];
  if (connection.role == Role::kUser) return connection.peer_queue.qpn;
  return connection.queue == nullptr ? 0 : connection.queue->address().qpn;
}

size_t RcConnections::held() const {
  return std::count_if(connections_.begin(), connections_.end(),
                       [](const Connection& c) { return c.used && c.holds > 0; });
}

std::vector<Address> RcConnections::Peers() const {
  std::vector<Address> peers;
  for (const auto& [key, index] : by_peer_) {
    if (connections_[index].peer_incarnation != 0) peers.push_back(key.peer.address);
  }
  return peers;
}

absl::StatusOr<RcConnections::Connection*> RcConnections::FindOrAdd(const RcPeer& peer, Role role,
                                                                    int64_t now_ns) {
  if (const auto found = by_peer_.find({peer, role}); found != by_peer_.end()) {
    return &connections_[found->second];
  }
  const size_t most = std::min(options_.max_connections, kMaxConnections);
  if (by_peer_.size() >= most && !EndIdle(/*unused_since_ns=*/now_ns)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", most, " reliable connections are in use"));
  }
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(connections_.size()));
    connections_.emplace_back();
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  by_peer_[{peer, role}] = index;
  Connection& connection = connections_[index];
  connection.index = index;
  connection.peer = peer;
  connection.role = role;
  connection.used = true;
  connection.used_ns = now_ns;
  return &connection;
}

// Forgets the one that has not been used for longest, if that is long enough. Not one that is to be
// asked for again: somebody waits for it.
bool RcConnections::EndIdle(int64_t unused_since_ns) {
  Connection* idlest = nullptr;
  for (Connection& connection : connections_) {
    const bool idle = connection.used && connection.holds == 0 && !connection.asks_later &&
                      connection.state != State::kConnecting &&
                      connection.head == connection.tail && connection.used_ns < unused_since_ns;
    if (idle && (idlest == nullptr || connection.used_ns < idlest->used_ns)) idlest = &connection;
  }
  if (idlest == nullptr) return false;
  ++stats_.idle_ended;
  Forget(*idlest);
  return true;
}

void RcConnections::Forget(Connection& connection) {
  CancelAsk(connection);
  by_peer_.erase({connection.peer, connection.role});
  const uint32_t index = connection.index;
  if (connection.asks_later) std::erase(again_, index);
  const uint32_t generation = connection.generation + 1;
  const auto epoch = static_cast<uint16_t>(connection.epoch + 1);
  connection = Connection();
  connection.generation = generation;
  connection.epoch = epoch;
  free_.push_back(index);
}

absl::StatusOr<ConnectionId> RcConnections::Get(const RcPeer& peer, Role role, int64_t now_ns) {
  absl::StatusOr<Connection*> connection = FindOrAdd(peer, role, now_ns);
  if (!connection.ok()) return connection.status();
  (*connection)->used_ns = now_ns;
  if ((*connection)->state == State::kNone) {
    if (now_ns >= (*connection)->retry_ns) {
      now_ns_ = now_ns;
      Begin(**connection, now_ns);
      if ((*connection)->state == State::kNone) return (*connection)->why;
    } else {
      AskLater(**connection);
    }
  }
  return IdOf(**connection);
}

absl::Status RcConnections::OpenQueue(Connection& connection) {
  if (connection.queue != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<RcQueue>> queue = queue_->OpenRcQueue({.slots = options_.slots});
  if (!queue.ok()) return queue.status();
  connection.queue = *std::move(queue);
  connection.posted.assign(std::bit_ceil(options_.slots), kSilent);
  return absl::OkStatus();
}

Offer RcConnections::OfferOf(const Connection& connection) const {
  Offer offer;
  offer.service = options_.service;
  offer.queue = connection.queue->address();
  offer.peer_number = PeerNumber(connection.attempt, connection.role);
  return offer;
}

void RcConnections::CancelAsk(Connection& connection) {
  const bool connecting = connection.state == State::kConnecting;
  if (!std::exchange(connection.asks_after, false) && !connecting) return;
  if (connecting) connection.state = State::kNone;
  rendezvous_->Cancel(options_.service, ContextOf(connection));
}

void RcConnections::AskLater(Connection& connection) {
  if (std::exchange(connection.asks_later, true)) return;
  again_.push_back(IdOf(connection).index);
}

void RcConnections::Begin(Connection& connection, int64_t now_ns) {
  absl::Status status = OpenQueue(connection);
  if (status.ok()) {
    connection.attempt = ++last_attempt_ & 0x7fff'ffff;
    connection.state = State::kConnecting;
    ++stats_.asked;
    status = rendezvous_->Ask(connection.peer.address, OfferOf(connection), ContextOf(connection),
                              now_ns);
  }
  if (!status.ok()) Break(connection, Loss::kUnreachable, status);
}

bool RcConnections::IsCurrent(const Connection& connection, const Offer& offer) const {
  return connection.state == State::kUp && connection.peer_incarnation == offer.incarnation &&
         connection.peer_attempt == offer.peer_number >> 1 && connection.peer_queue == offer.queue;
}

// Connects the queue pair with what the peer has.
absl::Status RcConnections::Join(Connection& connection, const Offer& offer) {
  if (connection.peer_incarnation != 0 && connection.peer_incarnation != offer.incarnation) {
    Break(connection, Loss::kGone, absl::UnavailableError("the peer has started anew"));
  } else if (connection.state == State::kUp) {
    Break(connection, Loss::kBroken, absl::UnavailableError("the peer connects anew"));
  }
  CancelAsk(connection);  // its own, or one that the handler has begun just now
  absl::Status status = OpenQueue(connection);
  if (status.ok()) status = connection.queue->Connect(offer.queue);
  if (!status.ok()) {
    Break(connection, Loss::kUnreachable, status);
    return status;
  }
  connection.peer_queue = offer.queue;
  connection.peer_incarnation = offer.incarnation;
  connection.peer_attempt = offer.peer_number >> 1;
  connection.state = State::kUp;
  connection.why = absl::OkStatus();
  connection.head = connection.tail = connection.silent = 0;
  ++connection.epoch;
  if (connection.role == Role::kOwner) connection.backoff_ns = 0;
  ++stats_.made;
  OnThere(connection);
  handler_->OnUp(IdOf(connection));
  return absl::OkStatus();
}

absl::StatusOr<Offer> RcConnections::OnAsk(const Address& from, const Offer& offer) {
  now_ns_ = rendezvous_->now_ns();  // Poll() may not have been called for long
  absl::StatusOr<Connection*> found =
      FindOrAdd({from, offer.worker}, Opposite(RoleIn(offer.peer_number)), now_ns_);
  if (!found.ok()) {
    ++stats_.refused;
    return found.status();
  }
  Connection& connection = **found;
  if (IsCurrent(connection, offer)) {
    connection.used_ns = now_ns_;  // by who looks after it
    return OfferOf(connection);
  }
  if (connection.peer_incarnation == offer.incarnation &&
      IsBefore(offer.peer_number >> 1, connection.peer_attempt)) {
    ++stats_.refused;
    return absl::FailedPreconditionError("this question is out of date");
  }
  PollCompletions();  // what was done before the peer broke with it
  if (absl::Status status = Join(connection, offer); !status.ok()) {
    ++stats_.refused;
    return status;
  }
  return OfferOf(connection);
}

// The one that a question is about.
RcConnections::Connection* RcConnections::Asking(uint64_t context) {
  const auto index = static_cast<uint32_t>(context >> 32);
  if (index >= connections_.size()) return nullptr;
  Connection& connection = connections_[index];
  const bool asking = connection.state == State::kConnecting || connection.asks_after;
  const bool current = asking && connection.attempt == static_cast<uint32_t>(context);
  return current ? &connection : nullptr;
}

void RcConnections::OnAnswer(uint64_t context, const Offer& answer) {
  now_ns_ = rendezvous_->now_ns();
  Connection* found = Asking(context);
  if (found == nullptr) return;
  Connection& connection = *found;
  const bool asks_after = std::exchange(connection.asks_after, false);
  if (answer.worker != connection.peer.worker || RoleIn(answer.peer_number) == connection.role) {
    Break(connection, Loss::kUnreachable,
          absl::UnavailableError("somebody else answers at the peer's address"));
    return;
  }
  if (asks_after && answer.incarnation == connection.peer_incarnation &&
      answer.queue == connection.peer_queue) {
    return OnThere(connection);
  }
  static_cast<void>(Join(connection, answer));
}

void RcConnections::OnFailed(uint64_t context, const absl::Status& status) {
  now_ns_ = rendezvous_->now_ns();
  Connection* const connection = Asking(context);
  if (connection == nullptr) return;
  if (!std::exchange(connection->asks_after, false)) {
    Break(*connection, Loss::kUnreachable, status);
  }
  OnNoAnswer(*connection, status);
}

void RcConnections::OnBye(const Address& from, uint64_t incarnation) {
  for (size_t i = 0; i < connections_.size(); ++i) {  // a handler may add some
    Connection& connection = connections_[i];
    if (!connection.used || connection.peer_incarnation != incarnation ||
        connection.peer.address != from) {
      continue;
    }
    PollCompletions();
    Break(connection, Loss::kGone, absl::UnavailableError("the peer has left"));
    if (connection.holds == 0) Forget(connection);
  }
}

void RcConnections::BackOff(Connection& connection) {
  connection.backoff_ns = connection.backoff_ns == 0
                              ? kFirstBackoffNs
                              : std::min(2 * connection.backoff_ns, kLastBackoffNs);
}

void RcConnections::Break(Connection& connection, Loss loss, const absl::Status& why) {
  const ConnectionId id = IdOf(connection);
  CancelAsk(connection);
  connection.state = State::kNone;
  connection.why = why;
  connection.head = connection.tail = connection.silent = 0;
  ++connection.epoch;
  // An owner's stays, with the windows that are bound to it.
  if (connection.role == Role::kUser) connection.queue.reset();
  switch (loss) {
    case Loss::kDenied:
      // The first time at once: the owner's end waits for it.
      ++stats_.denied;
      connection.retry_ns = now_ns_ + std::min(connection.backoff_ns, kDeniedBackoffNs);
      BackOff(connection);
      AskLater(connection);
      break;
    case Loss::kBroken:
      ++stats_.broken;
      break;
    case Loss::kPeerLost:
    case Loss::kUnreachable:
      ++(loss == Loss::kPeerLost ? stats_.peer_lost : stats_.unreachable);
      BackOff(connection);
      connection.retry_ns = now_ns_ + connection.backoff_ns;
      break;
    case Loss::kGone:
      ++stats_.peer_gone;
      connection.peer_incarnation = 0;
      connection.backoff_ns = connection.retry_ns = 0;
      break;
  }
  handler_->OnDown(id, loss, why);
}

bool RcConnections::Execute(ConnectionId id, RcRequest request, int64_t now_ns) {
  request.signalled = true;
  if (Post(id, {&request, 1}) == 0) return false;
  Connection& connection = *Find(id);
  const uint32_t end = connection.tail;
  const uint16_t epoch = connection.epoch;
  for (int look = 0; look < kMostLooks; ++look) {
    PollCompletions();
    if (connection.epoch != epoch) {
      if (connection.state == State::kNone) Begin(connection, now_ns);
      return false;
    }
    if (static_cast<int32_t>(connection.head - end) >= 0) return true;
    std::this_thread::yield();  // a software device may need the processor
  }
  return false;
}

void RcConnections::OnQueueFailed(uint32_t qpn) {
  PollCompletions();
  for (size_t i = 0; i < connections_.size(); ++i) {  // a handler may add some
    Connection& connection = connections_[i];
    if (!connection.used || connection.state != State::kUp) continue;
    // The news may be of before it was connected anew.
    if (qpn == 0 || (connection.queue->address().qpn == qpn && connection.queue->failed())) {
      Break(connection, Loss::kBroken,
            absl::UnavailableError(qpn == 0 ? "the device is gone" : "the queue pair has failed"));
    }
  }
}

size_t RcConnections::free_slots(ConnectionId id) const {
  const Connection* connection = Find(id);
  if (connection == nullptr || connection->state != State::kUp) return 0;
  return options_.slots - (connection->tail - connection->head);
}

size_t RcConnections::Post(ConnectionId id, absl::Span<const RcRequest> requests) {
  Connection* connection = Find(id);
  if (connection == nullptr || connection->state != State::kUp) return 0;
  requests = requests.subspan(0, free_slots(id));
  connection->used_ns = now_ns_;
  const uint64_t base = uint64_t{id.index} << 48 | uint64_t{connection->epoch} << 32;
  const uint32_t mask = static_cast<uint32_t>(connection->posted.size()) - 1;
  size_t posted = 0;
  while (posted < requests.size()) {
    std::array<RcRequest, kPostBurst> burst;
    const size_t n = std::min(requests.size() - posted, kPostBurst);
    uint32_t silent = connection->silent;
    for (size_t i = 0; i < n; ++i) {
      burst[i] = requests[posted + i];
      const uint32_t position = connection->tail + static_cast<uint32_t>(i);
      connection->posted[position & mask] = burst[i].signalled ? burst[i].context : kSilent;
      // A slot is free again only once a signalled request behind it is done.
      if (burst[i].signalled || ++silent >= options_.slots / 4) burst[i].signalled = true;
      if (burst[i].signalled) silent = 0;
      burst[i].context = base | position;
    }
    const size_t taken = connection->queue->Post({burst.data(), n});
    connection->tail += static_cast<uint32_t>(taken);
    posted += taken;
    if (taken < n) break;
    connection->silent = silent;
  }
  return posted;
}

// All before position `end` has been executed.
void RcConnections::TellDone(Connection& connection, uint32_t end) {
  const ConnectionId id = IdOf(connection);
  const uint32_t mask = static_cast<uint32_t>(connection.posted.size()) - 1;
  const uint16_t epoch = connection.epoch;
  while (connection.head != end && connection.epoch == epoch) {
    const uint64_t context = connection.posted[connection.head++ & mask];
    if (context != kSilent) handler_->OnDone(id, static_cast<uint32_t>(context));
  }
}

void RcConnections::OnCompletion(const RcCompletion& completion) {
  const auto index = static_cast<uint32_t>(completion.context >> 48);
  const auto position = static_cast<uint32_t>(completion.context);
  Connection* connection = index < connections_.size() ? &connections_[index] : nullptr;
  if (connection == nullptr || connection->state != State::kUp ||
      connection->epoch != static_cast<uint16_t>(completion.context >> 32) ||
      position - connection->head >= connection->tail - connection->head) {
    ++stats_.stale_completions;
    return;
  }
  if (completion.result == RcCompletion::Result::kOk) {
    connection->backoff_ns = 0;
    TellDone(*connection, position + 1);
    return;
  }
  TellDone(*connection, position);
  if (connection->state != State::kUp) return;
  switch (completion.result) {
    case RcCompletion::Result::kDenied:
      Break(*connection, Loss::kDenied, absl::PermissionDeniedError("refused by the peer"));
      break;
    case RcCompletion::Result::kPeerLost:
      Break(*connection, Loss::kPeerLost, absl::UnavailableError("the peer does not acknowledge"));
      break;
    default:
      Break(*connection, Loss::kBroken, absl::UnavailableError("the queue pair has failed"));
  }
}

size_t RcConnections::PollCompletions() {
  std::array<RcCompletion, kPollBurst> completions;
  size_t total = 0;
  while (total < kMaxPolled) {
    const size_t n = queue_->Poll(absl::MakeSpan(completions));
    for (size_t i = 0; i < n; ++i) OnCompletion(completions[i]);
    total += n;
    if (n < completions.size()) break;
  }
  return total;
}

int64_t RcConnections::NextNs() const {
  int64_t next_ns = next_look_after_ns_;
  for (const uint32_t index : again_) {
    next_ns = std::min(next_ns, connections_[index].retry_ns);
  }
  return next_ns;
}

size_t RcConnections::Poll(int64_t now_ns) {
  now_ns_ = now_ns;
  size_t work = PollCompletions();
  for (size_t i = again_.size(); i-- > 0;) {
    Connection& connection = connections_[again_[i]];
    const bool wanted = connection.asks_later && connection.state == State::kNone;
    if (wanted && now_ns < connection.retry_ns) continue;
    again_[i] = again_.back();
    again_.pop_back();
    connection.asks_later = false;
    if (wanted) Begin(connection, now_ns);
    ++work;
  }
  if (now_ns >= next_look_after_ns_) LookAfterUsers(now_ns);
  if (now_ns >= next_look_ns_) {
    next_look_ns_ = now_ns + kLookNs;
    while (EndIdle(now_ns - options_.idle_ns)) {
    }
  }
  return work;
}

}  // namespace weft::rdma
