// SPDX-License-Identifier: Apache-2.0
//
// Peers of the port: how connections to them are made, looked after and lost.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/rdma_datagram_port.h"

namespace weft::rdma {
namespace {

using State = PeerEntry::State;

constexpr Offer::Service kService = Offer::Service::kDatagrams;
constexpr size_t kMinPayload = 64;

// Of two numbers that a peer calls us by, whether the first was made earlier.
bool IsEarlier(uint32_t a, uint32_t b) {
  constexpr uint32_t kIndex = PeerTable::kMaxPeers - 1;
  return (a & kIndex) == (b & kIndex) && static_cast<int32_t>((a & ~kIndex) - (b & ~kIndex)) < 0;
}

int ErrnoOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return ECONNREFUSED;
    case absl::StatusCode::kDeadlineExceeded:
      return ETIMEDOUT;
    case absl::StatusCode::kResourceExhausted:
      return ENOBUFS;
    default:
      return EHOSTUNREACH;
  }
}

}  // namespace

absl::StatusOr<Peer> RdmaDatagramPort::Resolve(const Address& address) {
  AssertOwner();
  if (absl::Status status = rendezvous_.Check(address); !status.ok()) return status;
  PeerEntry* entry = peers_.At(address);
  if (entry == nullptr) entry = AddPeer(address);
  if (entry == nullptr) {
    CallTheRoll(RollCall::kForPlaces);
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", peers_.size(), " places for peers are in use (rdma.max_peers, ",
                     "rdma.receive_slots)"));
  }
  peers_.Touch(*entry);
  return peers_.PeerOf(*entry);
}

absl::StatusOr<Address> RdmaDatagramPort::AddressOf(const Peer& peer) const {
  const PeerEntry* const entry = peers_.Find(peer);
  if (entry == nullptr) return absl::NotFoundError("the peer is not one of this port's");
  return entry->address;
}

size_t RdmaDatagramPort::MaxPayloadTo(const Peer& peer) const {
  const PeerEntry* const entry = peers_.Find(peer);
  return entry == nullptr ? capabilities_.max_payload_bytes : entry->max_payload;
}

absl::Status RdmaDatagramPort::WhyUnreachable(const Peer& peer) const {
  const PeerEntry* const entry = peers_.Find(peer);
  return entry == nullptr ? absl::OkStatus() : entry->why;
}

PeerEntry* RdmaDatagramPort::AddPeer(const Address& address) {
  PeerEntry* const entry = peers_.Add(address);
  if (entry != nullptr) entry->max_payload = static_cast<uint16_t>(capabilities_.max_payload_bytes);
  return entry;
}

std::optional<RcPeer> RdmaDatagramPort::RcPeerOf(const Peer& peer) const {
  const PeerEntry* const entry = peers_.Find(peer);
  if (entry == nullptr || entry->worker < 0) return std::nullopt;
  return RcPeer{entry->address, static_cast<uint8_t>(entry->worker)};
}

// The one of that worker, or one of whom it is not known yet whose he is.
PeerEntry* RdmaDatagramPort::FindWorker(const Address& address, uint8_t worker) const {
  PeerEntry* unknown = nullptr;
  for (PeerEntry* at = peers_.At(address); at != nullptr; at = peers_.NextAtAddress(*at)) {
    if (at->worker == worker) return at;
    if (at->worker < 0) unknown = at;
  }
  return unknown;
}

Offer RdmaDatagramPort::OfferFor(const PeerEntry& entry) const {
  Offer offer;
  offer.service = kService;
  offer.path_mtu_bytes = static_cast<uint16_t>(capabilities_.max_payload_bytes + kHeaderBytes);
  offer.queue = queue_;
  offer.peer_number = entry.number;
  offer.credits = entry.in.limit;
  offer.sequence = entry.out.next;
  return offer;
}

// A number to be called by, and slots, with buffers in them before the peer hears of it.
absl::Status RdmaDatagramPort::Prepare(PeerEntry& entry) {
  shares_.Settle(now_ns_);
  if (!shares_.Open(&entry.in)) {
    CallTheRoll(RollCall::kForPlaces);
    return absl::ResourceExhaustedError(
        absl::StrCat("receive slots for ", shares_.max_peers(), " peers are all in use"));
  }
  Refill();
  entry.number = peers_.NewNumber(entry);
  return absl::OkStatus();
}

void RdmaDatagramPort::Ask(PeerEntry& entry) {
  now_ns_ = clock_.NowNs();
  absl::Status status = Prepare(entry);
  if (status.ok()) {
    entry.state = State::kAsking;
    status = rendezvous_.Ask(entry.address, OfferFor(entry), entry.number, now_ns_);
  }
  if (!status.ok()) Lose(entry, PortEvent::Kind::kPeerUnreachable, ErrnoOf(status), status);
  if (time_ != nullptr) ScheduleWake();
}

void RdmaDatagramPort::Resume(PeerEntry& entry, bool recalls) {
  if (entry.resuming) return;
  ++counts_.resumed;
  counts_.recalled += recalls;
  entry.asked_at = entry.out.next;
  Offer offer = OfferFor(entry);
  offer.resumes = true;
  offer.recalls = entry.recalling = recalls;
  if (recalls) offer.credits = entry.in.next;
  entry.resuming = rendezvous_.Ask(entry.address, offer, entry.number, now_ns_).ok();
}

// So that those who are gone without a word do not keep their places for ever: nobody else would
// notice that a peer is dead to whom nothing is sent. Nor do those who live keep slots that they do
// not use, while others could.
void RdmaDatagramPort::CallTheRoll(RollCall purpose) {
  const auto which = static_cast<size_t>(purpose);
  if (now_ns_ < roll_call_ns_[which]) return;
  roll_call_ns_[which] = now_ns_ + kRollCallNs;
  const absl::Span<PeerEntry> all = peers_.used();
  uint32_t called = 0;
  for (size_t i = 0; i < all.size() && called < kRollCall; ++i) {
    PeerEntry& entry = all[roll_call_at_[which]++ % all.size()];
    if (entry.state != State::kConnected || entry.resuming) continue;
    const bool recalls = purpose == RollCall::kForSlots;
    if (recalls && !shares_.HoldsTooMuch(entry.in)) continue;
    if (std::exchange(entry.next_at_roll_call[which], entry.in.next) != entry.in.next) continue;
    Resume(entry, recalls);
    ++called;
  }
}

// What there is stays when it fails, unless there is no place beside it.
absl::Status RdmaDatagramPort::Connect(PeerEntry& entry, const Offer& offer) {
  if (offer.queue.qpn == 0 || offer.peer_number == 0 || offer.credits == 0 ||
      offer.credits > Allowance::kMaxWindow || offer.sequence != 0 ||
      offer.path_mtu_bytes < kHeaderBytes + kMinPayload) {
    return absl::InvalidArgumentError("an offer that makes no sense");
  }
  const absl::StatusOr<Path> path = ud_->OpenPath(offer.queue);
  if (!path.ok()) return path.status();
  if (entry.state == State::kConnected) Disconnect(entry);
  if (entry.state == State::kIdle) {
    if (absl::Status status = Prepare(entry); !status.ok()) {
      ud_->ClosePath(*path);
      if (entry.waiting.pieces() != 0) {
        Lose(entry, PortEvent::Kind::kPeerUnreachable, ErrnoOf(status), status);
      }
      return status;
    }
  } else {
    rendezvous_.Cancel(kService, entry.number);  // it has been answered, or is by this
  }
  entry.state = State::kConnected;
  entry.worker = offer.worker;
  entry.incarnation = offer.incarnation;
  entry.remote_number = offer.peer_number;
  entry.path = *path;
  entry.gid = offer.queue.gid;
  entry.qpn = offer.queue.qpn;
  entry.qkey = offer.queue.qkey;
  entry.out = {.limit = offer.credits};
  entry.max_payload = static_cast<uint16_t>(
      std::min<size_t>(capabilities_.max_payload_bytes, offer.path_mtu_bytes - kHeaderBytes));
  entry.heard_at = entry.heard_at_tick = 0;
  entry.quiet_ticks = 0;
  entry.limit_at_tick = 0;
  entry.next_at_recall = 0;
  entry.why = absl::OkStatus();
  ++counts_.connections;
  ListForFlush(entry);
  return absl::OkStatus();
}

// What waits goes on waiting.
void RdmaDatagramPort::Disconnect(PeerEntry& entry) {
  if (entry.number != 0) rendezvous_.Cancel(kService, entry.number);
  if (entry.path != 0) ud_->ClosePath(std::exchange(entry.path, 0));
  shares_.Close(&entry.in, now_ns_);
  entry.number = 0;
  entry.out = {};
  entry.qpn = 0;
  entry.resuming = false;
  entry.state = State::kIdle;
}

void RdmaDatagramPort::DropWaiting(PeerEntry& entry) {
  stats_.send_failed += entry.waiting.pieces();
  waiting_ -= entry.waiting.pieces();
  entry.waiting.Clear();
}

void RdmaDatagramPort::Lose(PeerEntry& entry, PortEvent::Kind kind, int error,
                            const absl::Status& why) {
  Disconnect(entry);
  DropWaiting(entry);
  entry.why = why;
  events_.Add({kind, peers_.PeerOf(entry), error});
}

bool RdmaDatagramPort::IsCurrent(const PeerEntry& entry, const Offer& offer) const {
  return entry.state == State::kConnected && entry.incarnation == offer.incarnation &&
         entry.remote_number == offer.peer_number;
}

// What both sides tell each other about a connection that is there: how far they may go, and how
// far they are.
bool RdmaDatagramPort::TakeResumed(PeerEntry& entry, const Offer& offer) {
  entry.quiet_ticks = 0;
  const bool honest = entry.out.Raise(offer.credits) && shares_.OnNext(&entry.in, offer.sequence);
  if (!honest) ++stats_.receive_malformed;
  ListForFlush(entry);
  return honest;
}

// What the peer has lent us and we do not use. False, and nothing of it, if something may still be
// on its way, to a slot that would count as free: unless all has arrived that was ever sent, or
// nothing was sent since the last time that the peer asked, when it is lost.
bool RdmaDatagramPort::GiveBack(PeerEntry& entry, uint32_t expected) {
  const bool settled = entry.out.next == expected || entry.out.next == entry.next_at_recall;
  if (settled && entry.waiting.pieces() == 0) {
    const uint32_t before = entry.out.left();
    entry.out.Skip();
    counts_.given_back += before - entry.out.left();
    entry.heard_at = entry.out.next;
  }
  entry.next_at_recall = entry.out.next;
  return settled;
}

absl::StatusOr<Offer> RdmaDatagramPort::OnAsk(const Address& from, const Offer& offer) {
  PeerEntry* entry = FindWorker(from, offer.worker);
  if (entry != nullptr && IsCurrent(*entry, offer)) {
    const bool settled = !offer.recalls || GiveBack(*entry, offer.credits);
    if (offer.resumes && !offer.recalls && !TakeResumed(*entry, offer)) {
      return absl::InvalidArgumentError("sequence numbers that cannot be");
    }
    entry->in.told = entry->in.limit;
    Offer answer = OfferFor(*entry);
    if (!settled) answer.sequence = offer.credits;
    return answer;
  }
  if (offer.resumes) return absl::NotFoundError("there is no such connection");
  if (entry != nullptr && entry->incarnation == offer.incarnation &&
      IsEarlier(offer.peer_number, entry->remote_number)) {
    return absl::AbortedError("there has been a later question");
  }
  if (entry == nullptr) entry = AddPeer(from);
  if (entry == nullptr) {
    CallTheRoll(RollCall::kForPlaces);
    return absl::ResourceExhaustedError("all places for peers are in use");
  }
  if (absl::Status status = Connect(*entry, offer); !status.ok()) return status;
  return OfferFor(*entry);
}

PeerEntry* RdmaDatagramPort::Asking(uint64_t context) const {
  PeerEntry* const entry = peers_.WithNumber(static_cast<uint32_t>(context));
  return entry != nullptr && entry->number == context && context != 0 ? entry : nullptr;
}

void RdmaDatagramPort::OnAnswer(uint64_t context, const Offer& answer) {
  PeerEntry* const entry = Asking(context);
  if (entry == nullptr) return;
  if (entry->state == State::kAsking) {
    const absl::Status status = Connect(*entry, answer);
    if (!status.ok()) Lose(*entry, PortEvent::Kind::kPeerUnreachable, ErrnoOf(status), status);
    return;
  }
  entry->resuming = false;
  if (IsCurrent(*entry, answer)) {
    entry->heard_at = entry->asked_at;
    TakeResumed(*entry, answer);
    // Who gave something back hears what it may send now: it may be asked again.
    if (entry->recalling) OweCredit(*entry);
  } else {
    OnFailed(context, absl::NotFoundError(""));
  }
}

void RdmaDatagramPort::OnFailed(uint64_t context, const absl::Status& status) {
  PeerEntry* const entry = Asking(context);
  if (entry == nullptr) return;
  entry->resuming = false;
  // Who does not look, and for whom there is nothing, need not give anything back.
  const bool unmissed = entry->heard_at == entry->out.next && entry->waiting.pieces() == 0;
  if (entry->state == State::kConnected && std::exchange(entry->recalling, false) &&
      absl::IsDeadlineExceeded(status) && unmissed) {
    return;
  }
  // It is there, and knows nothing of a connection: it has begun anew, and so do we.
  if (entry->state == State::kConnected && absl::IsNotFound(status)) {
    Disconnect(*entry);
    if (entry->waiting.pieces() != 0) Ask(*entry);
    return;
  }
  Lose(*entry, PortEvent::Kind::kPeerUnreachable, ErrnoOf(status), status);
}

void RdmaDatagramPort::OnBye(const Address& from, uint64_t incarnation) {
  for (PeerEntry* at = peers_.At(from); at != nullptr; at = peers_.NextAtAddress(*at)) {
    if (at->state != State::kConnected || at->incarnation != incarnation) continue;
    Lose(*at, PortEvent::Kind::kPeerClosed, 0, absl::UnavailableError("the peer has left"));
  }
}

void RdmaDatagramPort::StartTick() {
  now_ns_ = clock_.NowNs();
  tick_ns_ = now_ns_ + kTickNs;
  if (time_ != nullptr) ScheduleWake();
}

void RdmaDatagramPort::Tick() {
  tick_ns_ = now_ns_ + kTickNs;
  bool more = !to_flush_.empty();
  for (PeerEntry& entry : peers_.used()) more |= LookAfter(entry);
  if (!more) tick_ns_ = INT64_MAX;
}

// Whether it is to be looked after again.
bool RdmaDatagramPort::LookAfter(PeerEntry& entry) {
  if (entry.state != State::kConnected) return false;
  if (std::exchange(entry.heard_at_tick, entry.heard_at) != entry.heard_at) entry.quiet_ticks = 0;
  const bool stuck = entry.waiting.pieces() != 0 && entry.out.left() == 0;
  const uint32_t limit_before = std::exchange(entry.limit_at_tick, entry.out.limit);
  if (stuck) {
    // What it would have answered may be lost, or what we sent.
    if (limit_before == entry.out.limit) Resume(entry);
    return true;
  }
  if (entry.heard_at == entry.out.next) return false;
  if (++entry.quiet_ticks >= kQuietTicks) {
    entry.quiet_ticks = 0;
    Resume(entry);
  }
  return true;
}

}  // namespace weft::rdma
