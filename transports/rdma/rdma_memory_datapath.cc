// SPDX-License-Identifier: Apache-2.0
//
// Operations: checked, queued by peer, posted as far as there is room, and ended in order.

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "weft/transports/rdma/rdma_memory_key.h"
#include "weft/transports/rdma/rdma_remote_memory.h"

namespace weft::rdma {
namespace {

using Kind = MemoryOperation::Kind;
using State = RcConnections::State;

constexpr size_t kPostBurst = 16;

bool IsAtomic(Kind kind) { return kind == Kind::kCompareSwap || kind == Kind::kFetchAdd; }
uint64_t BytesOf(const MemoryOperation& operation) {
  return IsAtomic(operation.kind) ? 8 : operation.local.size();
}
MemoryAccess AccessOf(Kind kind) {
  if (kind == Kind::kRead) return MemoryAccess::kRead;
  return kind == Kind::kWrite ? MemoryAccess::kWrite : MemoryAccess::kAtomic;
}

bool Contains(absl::Span<const uint8_t> whole, absl::Span<const uint8_t> part) {
  const auto begin = reinterpret_cast<uintptr_t>(part.data());
  const auto whole_begin = reinterpret_cast<uintptr_t>(whole.data());
  return part.size() <= whole.size() && begin >= whole_begin &&
         begin - whole_begin <= whole.size() - part.size();
}

}  // namespace

size_t RdmaRemoteMemory::Post(absl::Span<const MemoryOperation> operations) {
  AssertOwner();
  size_t posted = 0;
  for (const MemoryOperation& operation : operations) {
    if (in_use_ == kMaxOperations) {
      ++stats_.send_blocked;
      break;
    }
    ++posted;
    ++in_use_;
    uint32_t local_key = 0;
    const absl::StatusCode code = Check(operation, &local_key);
    if (code != absl::StatusCode::kOk) {
      Finish({.context = operation.context, .code = code});
    } else {
      Enqueue(*FindPeer(operation.peer), operation, local_key);
    }
  }
  stats_.sent += posted;
  PumpDirty();
  return posted;
}

// The local key of registered memory. False: it is not registered.
bool RdmaRemoteMemory::FindLocalKey(absl::Span<const uint8_t> local, uint32_t* key) {
  for (size_t i = 0; i < regions_.size(); ++i) {
    // What was used last is looked at first.
    const size_t at =
        region_used_ + i < regions_.size() ? region_used_ + i : region_used_ + i - regions_.size();
    if (!Contains(regions_[at].region.bytes, local)) continue;
    region_used_ = at;
    *key = regions_[at].registration->local_key();
    return true;
  }
  if (!Contains(pool_.region(), local)) return false;
  if (pool_registration_ == nullptr) {
    auto registration = nic_->Register(pool_.region(), /*windows=*/false);
    if (!registration.ok()) return false;
    pool_registration_ = *std::move(registration);
  }
  *key = pool_registration_->local_key();
  return true;
}

// What is wrong with it on this side.
absl::StatusCode RdmaRemoteMemory::Check(const MemoryOperation& operation, uint32_t* local_key) {
  switch (operation.kind) {
    case Kind::kRead:
    case Kind::kWrite:
      if (operation.local.empty() || operation.local.size() > kMaxOperationBytes ||
          !FindLocalKey(operation.local, local_key)) {
        return absl::StatusCode::kInvalidArgument;
      }
      break;
    case Kind::kCompareSwap:
    case Kind::kFetchAdd:
      if (operation.offset % 8 != 0) return absl::StatusCode::kInvalidArgument;
      *local_key = results_registration_->local_key();
      break;
    default:
      return absl::StatusCode::kInvalidArgument;
  }
  if (!status_.ok()) return absl::StatusCode::kUnavailable;
  if (FindPeer(operation.peer) != nullptr) return absl::StatusCode::kOk;
  // Somebody who has been forgotten, or nobody ever.
  const uint64_t index = operation.peer.words[0] - 1;
  const bool known = index < peers_.size() && operation.peer.words[2] == 0 &&
                     operation.peer.words[1] < peers_[index].generation;
  return known ? absl::StatusCode::kUnavailable : absl::StatusCode::kInvalidArgument;
}

void RdmaRemoteMemory::Finish(const MemoryCompletion& completion) {
  if (completion.code != absl::StatusCode::kOk) ++stats_.send_failed;
  ended_[(ended_head_ + ended_count_++) % ended_.size()] = completion;
}

size_t RdmaRemoteMemory::TakeEnded(absl::Span<MemoryCompletion> completions) {
  const size_t n = std::min(completions.size(), ended_count_);
  for (size_t i = 0; i < n; ++i) {
    completions[i] = ended_[ended_head_];
    ended_head_ = (ended_head_ + 1) % ended_.size();
  }
  ended_count_ -= n;
  in_use_ -= n;
  return n;
}

void RdmaRemoteMemory::Enqueue(PeerState& peer, const MemoryOperation& operation,
                               uint32_t local_key) {
  const uint32_t index = free_operations_.back();
  free_operations_.pop_back();
  operations_[index] = {.request = operation, .local_key = local_key};
  if (peer.first == kNone) {
    peer.first = index;
  } else {
    operations_[peer.last].next = index;
  }
  peer.last = index;
  if (peer.next == kNone) peer.next = index;
  peer.used = ++uses_;
  MarkDirty(peer);
}

void RdmaRemoteMemory::MarkDirty(PeerState& peer) {
  if (peer.next == kNone || std::exchange(peer.dirty, true)) return;
  dirty_.push_back(peer.index);
}

void RdmaRemoteMemory::PumpDirty() {
  // What is marked meanwhile is of the next round, so that none goes on for ever.
  const size_t n = dirty_.size();
  for (size_t i = 0; i < n; ++i) {
    PeerState& peer = peers_[dirty_[i]];
    peer.dirty = false;
    Pump(peer);
  }
  dirty_.erase(dirty_.begin(), dirty_.begin() + static_cast<ptrdiff_t>(n));
}

// Gets hold of the connection that the peer's memory is used over.
void RdmaRemoteMemory::Connect(PeerState& peer) {
  const absl::StatusOr<ConnectionId> id =
      connections_.Get({peer.address}, RcConnections::Role::kUser, options_.clock->NowNs());
  if (!id.ok()) {
    EndAll(peer, absl::StatusCode::kUnavailable, absl::StatusCode::kUnavailable);
    return;
  }
  peer.user = *id;
  if (id->index >= peer_of_connection_.size()) peer_of_connection_.resize(id->index + 1, kNone);
  peer_of_connection_[id->index] = peer.index;
}

// Posts what is next, as far as there is room.
void RdmaRemoteMemory::Pump(PeerState& peer) {
  if (peer.next == kNone) return;
  if (connections_.state(peer.user) != State::kUp) Connect(peer);
  while (peer.next != kNone && connections_.state(peer.user) == State::kUp) {
    struct Part {
      uint32_t operation;
      uint64_t bytes;
    };
    std::array<RcRequest, kPostBurst> requests;
    std::array<Part, kPostBurst> parts;
    const size_t room = std::min(connections_.free_slots(peer.user), kPostBurst);
    size_t n = 0;
    uint32_t index = peer.next;
    uint64_t at = operations_[index].posted;
    uint32_t reads = peer.reads;
    while (index != kNone && n < room) {
      Operation& operation = operations_[index];
      if (at == 0) operation.code = CheckKey(peer, operation);
      const bool refused = operation.code != absl::StatusCode::kUnknown;
      const uint64_t left = refused ? 0 : BytesOf(operation.request) - at;
      const uint64_t bytes = std::min<uint64_t>(left, chunk_bytes_);
      if (!refused) {
        RcRequest& request = requests[n] = RequestOf(operation, index, at, bytes);
        request.fence = operation.request.kind != Kind::kRead && at == 0 && reads > 0;
        if (operation.request.kind != Kind::kWrite && at == 0) ++reads;
        parts[n++] = {index, bytes};
      }
      at += bytes;
      if (bytes == left) {
        index = operation.next;
        at = 0;
      }
    }
    const size_t taken = connections_.Post(peer.user, {requests.data(), n});
    for (size_t i = 0; i < taken; ++i) {
      Operation& operation = operations_[parts[i].operation];
      if (operation.posted == 0 && operation.request.kind != Kind::kWrite) ++peer.reads;
      operation.posted += parts[i].bytes;
    }
    SkipPosted(peer);
    if (taken < n || n == 0) break;
  }
  PopEnded(peer);
}

// Moves `next` behind what is wholly posted or has been refused.
void RdmaRemoteMemory::SkipPosted(PeerState& peer) {
  while (peer.next != kNone) {
    const Operation& operation = operations_[peer.next];
    if (operation.code == absl::StatusCode::kUnknown &&
        operation.posted < BytesOf(operation.request)) {
      return;
    }
    peer.next = operation.next;
  }
}

// What is wrong with it as far as the key tells; kUnknown: nothing.
absl::StatusCode RdmaRemoteMemory::CheckKey(const PeerState& peer,
                                            const Operation& operation) const {
  const MemoryOperation& request = operation.request;
  const MemoryKey key = MemoryKey::Of(request.key);
  const uint64_t bytes = BytesOf(request);
  if (key.incarnation != connections_.peer_incarnation(peer.user) ||
      key.qpn != connections_.owner_qpn(peer.user) ||
      !Includes(static_cast<MemoryAccess>(key.access), AccessOf(request.kind)) ||
      bytes > key.bytes || request.offset > key.bytes - bytes) {
    return absl::StatusCode::kPermissionDenied;
  }
  if (IsAtomic(request.kind) && (key.address + request.offset) % 8 != 0) {
    return absl::StatusCode::kInvalidArgument;
  }
  return absl::StatusCode::kUnknown;
}

RcRequest RdmaRemoteMemory::RequestOf(const Operation& operation, uint32_t index, uint64_t at,
                                      uint64_t bytes) const {
  static constexpr RcRequest::Kind kKinds[] = {RcRequest::Kind::kRead, RcRequest::Kind::kWrite,
                                               RcRequest::Kind::kCompareSwap,
                                               RcRequest::Kind::kFetchAdd};
  const MemoryOperation& from = operation.request;
  const MemoryKey key = MemoryKey::Of(from.key);
  RcRequest request;
  request.kind = kKinds[static_cast<size_t>(from.kind)];
  request.signalled = at + bytes == BytesOf(from);
  request.context = index;
  const auto local = IsAtomic(from.kind) ? reinterpret_cast<uint64_t>(&results_[index])
                                         : reinterpret_cast<uint64_t>(from.local.data());
  request.local = {local + at, static_cast<uint32_t>(bytes), operation.local_key};
  request.remote_address = key.address + from.offset + at;
  request.remote_key = key.remote_key;
  request.compare = from.compare;
  request.operand = from.operand;
  return request;
}

// Ends, in order, operations of which it is known how.
void RdmaRemoteMemory::PopEnded(PeerState& peer) {
  while (peer.first != kNone) {
    const uint32_t index = peer.first;
    Operation& operation = operations_[index];
    if (operation.code == absl::StatusCode::kUnknown) return;
    if (peer.next == index) peer.next = operation.next;
    peer.first = operation.next;
    if (peer.first == kNone) peer.last = kNone;
    const MemoryOperation& request = operation.request;
    const bool ok = operation.code == absl::StatusCode::kOk;
    if (ok) {
      (request.kind == Kind::kRead ? stats_.received_bytes : stats_.sent_bytes) += BytesOf(request);
    }
    Finish({.context = request.context,
            .code = operation.code,
            .old_value = ok && IsAtomic(request.kind) ? results_[index] : 0});
    free_operations_.push_back(index);
  }
}

// Ends all: the first that was posted, and those behind it.
void RdmaRemoteMemory::EndAll(PeerState& peer, absl::StatusCode first, absl::StatusCode others) {
  for (uint32_t index = peer.first; index != kNone; index = operations_[index].next) {
    Operation& operation = operations_[index];
    if (operation.code != absl::StatusCode::kUnknown) continue;
    operation.code = std::exchange(first, others);
  }
  peer.next = kNone;
  peer.reads = 0;
  PopEnded(peer);
}

void RdmaRemoteMemory::OnDone(ConnectionId id, uint32_t context) {
  PeerState* peer = FindPeer(id);
  if (peer == nullptr) return;
  Operation& operation = operations_[context];
  if (operation.request.kind != Kind::kWrite) --peer->reads;
  operation.code = absl::StatusCode::kOk;
  PopEnded(*peer);
  MarkDirty(*peer);
}

// The peer whose memory is used over this connection.
RdmaRemoteMemory::PeerState* RdmaRemoteMemory::FindPeer(ConnectionId id) {
  if (id.index >= peer_of_connection_.size() || peer_of_connection_[id.index] == kNone) {
    return nullptr;
  }
  PeerState& peer = peers_[peer_of_connection_[id.index]];
  return peer.used != 0 && peer.user == id ? &peer : nullptr;
}

void RdmaRemoteMemory::OnUp(ConnectionId id) {
  if (PeerState* peer = FindPeer(id)) MarkDirty(*peer);
}

void RdmaRemoteMemory::OnDown(ConnectionId id, RcConnections::Loss loss, const absl::Status& why) {
  using Loss = RcConnections::Loss;
  if (PeerState* peer = FindPeer(id)) {
    const bool denied = loss == Loss::kDenied;
    EndAll(*peer, denied ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kUnavailable,
           denied ? absl::StatusCode::kAborted : absl::StatusCode::kUnavailable);
  }
  if (loss == Loss::kGone && connections_.role(id) == RcConnections::Role::kOwner) {
    for (GrantState& grant : grants_) {
      if (grant.window != nullptr && grant.connection == id) EndGrant(grant);
    }
  }
  const auto peer = by_address_.find(connections_.peer(id).address);
  if (peer == by_address_.end()) return;
  const bool silent = absl::IsDeadlineExceeded(why);
  if (loss == Loss::kGone && !silent) {
    events_.Add({PortEvent::Kind::kPeerClosed, PeerOf(peers_[peer->second])});
  } else if (loss != Loss::kDenied && loss != Loss::kBroken) {
    events_.Add({PortEvent::Kind::kPeerUnreachable, PeerOf(peers_[peer->second]),
                 silent ? ETIMEDOUT : EHOSTUNREACH});
  }
}

}  // namespace weft::rdma
