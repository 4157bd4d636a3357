// SPDX-License-Identifier: Apache-2.0
//
// What happens for each operation, with its user and with the owner of the memory.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <type_traits>
#include <utility>

#include "weft/transports/sim/sim_remote_memory.h"

namespace weft::sim {

static_assert(std::is_trivially_copyable_v<MemoryPacket>);

size_t SimRemoteMemory::Post(absl::Span<const MemoryOperation> operations) {
  AssertOwner();
  size_t taken = 0;
  // Each that is under way has a slot, and each that has ended a place among those that are free.
  for (; taken < operations.size() && done_.size() < free_slots_.size(); ++taken) {
    const MemoryOperation& operation = operations[taken];
    const uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = operation;
    if (!network_->IsNode(operation.peer.words[0] - 1) ||
        CheckOperation(operation, kMaxOperationBytes, regions_) != absl::StatusCode::kOk) {
      Complete(slot, absl::StatusCode::kInvalidArgument);
      continue;
    }
    Remote& remote = RemoteAt(static_cast<NodeId>(operation.peer.words[0] - 1));
    if (remote.state == Remote::State::kIdle) Ask(remote);
    if (remote.under_way.empty()) StartTimer(remote);
    remote.under_way.push_back(slot);
    if (remote.state == Remote::State::kOpen) SendOperation(remote, slot);
  }
  stats_.sent += taken;
  if (taken < operations.size()) ++stats_.send_blocked;
  return taken;
}

size_t SimRemoteMemory::Poll(absl::Span<MemoryCompletion> completions) {
  AssertOwner();
  const size_t n = std::min(completions.size(), done_.size());
  std::copy_n(done_.begin(), n, completions.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<ptrdiff_t>(n));
  return n;
}

void SimRemoteMemory::Complete(uint32_t slot, absl::StatusCode code, uint64_t old_value) {
  const MemoryOperation& operation = slots_[slot];
  if (code != absl::StatusCode::kOk) {
    ++stats_.send_failed;
  } else if (operation.kind == MemoryOperation::Kind::kRead) {
    stats_.received_bytes += operation.local.size();
  } else {
    const bool writes = operation.kind == MemoryOperation::Kind::kWrite;
    stats_.sent_bytes += writes ? operation.local.size() : 8;
  }
  done_.push_back({slots_[slot].context, code, old_value});
  free_slots_.push_back(slot);
}

void SimRemoteMemory::SendOperation(Remote& remote, uint32_t slot) {
  const MemoryOperation& operation = slots_[slot];
  const bool writes = operation.kind == MemoryOperation::Kind::kWrite;
  Send(remote,
       {.kind = MemoryPacket::Kind::kOperation,
        .operation = operation.kind,
        .slot = slot,
        .session = remote.session,
        .attempt = remote.attempt,
        .offset = operation.offset,
        .bytes = writes ? 0 : operation.local.size(),
        .compare = operation.compare,
        .operand = operation.operand,
        .key = operation.key},
       writes ? operation.local : absl::Span<const uint8_t>());
}

void SimRemoteMemory::Send(Remote& remote, MemoryPacket packet, absl::Span<const uint8_t> payload) {
  packet.incarnation = incarnation_;
  network_->SendReliably(attachment_.node(), remote.node, Channel::kMemory,
                         {reinterpret_cast<const uint8_t*>(&packet), sizeof(packet)}, payload,
                         &remote.last_ns);
}

void SimRemoteMemory::OnPacket(PacketPtr arrived) {
  MemoryPacket packet;
  const absl::Span<const uint8_t> bytes = arrived->bytes;
  if (bytes.size() < sizeof(packet)) {
    ++stats_.receive_malformed;
    return network_->Recycle(std::move(arrived));
  }
  std::memcpy(&packet, bytes.data(), sizeof(packet));
  Remote& remote = RemoteAt(arrived->from);
  switch (packet.kind) {
    case MemoryPacket::Kind::kAsk:
      OnAsk(remote, packet);
      break;
    case MemoryPacket::Kind::kAnswer:
      OnAnswer(remote, packet);
      break;
    case MemoryPacket::Kind::kOperation:
      remote.arrived.push_back(std::move(arrived));
      if (remote.arrived.size() == 1) PerformArrived(remote);
      return;
    case MemoryPacket::Kind::kReply:
      OnReply(remote, packet, bytes.subspan(sizeof(packet)));
      break;
    case MemoryPacket::Kind::kBye:
      if (packet.incarnation == remote.incarnation) {
        Lose(remote, PortEvent::Kind::kPeerClosed, 0);
      }
      break;
  }
  network_->Recycle(std::move(arrived));
}

void SimRemoteMemory::OnUnreachable(PacketPtr returned) {
  MemoryPacket packet;
  std::memcpy(&packet, returned->bytes.data(), sizeof(packet));
  Remote& remote = RemoteAt(returned->to);
  network_->Recycle(std::move(returned));
  const bool ours =
      (packet.kind == MemoryPacket::Kind::kAsk || packet.kind == MemoryPacket::Kind::kOperation) &&
      packet.incarnation == incarnation_ && packet.session == remote.session;
  if (ours) Lose(remote, PortEvent::Kind::kPeerUnreachable, ECONNREFUSED);
}

void SimRemoteMemory::OnAsk(Remote& remote, const MemoryPacket& packet) {
  if (remote.incarnation != 0 && remote.incarnation != packet.incarnation) {
    Lose(remote, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
  }
  remote.incarnation = packet.incarnation;
  remote.its_session = packet.session;
  remote.denied_attempt = 0;
  Send(remote, {.kind = MemoryPacket::Kind::kAnswer, .session = packet.session});
}

void SimRemoteMemory::OnAnswer(Remote& remote, const MemoryPacket& packet) {
  if (packet.session != remote.session || remote.state != Remote::State::kAsking) return;
  if (remote.incarnation != 0 && remote.incarnation != packet.incarnation) {
    return Lose(remote, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
  }
  remote.incarnation = packet.incarnation;
  remote.state = Remote::State::kOpen;
  if (remote.under_way.empty()) {
    network_->events().Cancel(remote.timer);
  } else {
    StartTimer(remote);
  }
  for (const uint32_t slot : remote.under_way) SendOperation(remote, slot);
}

// Operations of one user are carried out one after the other.
void SimRemoteMemory::PerformArrived(Remote& remote) {
  while (!remote.arrived.empty() && BeginFirst(remote)) {
  }
}

// Whether it has ended; if not, EndFirst() will be called.
bool SimRemoteMemory::BeginFirst(Remote& remote) {
  MemoryPacket packet;
  const absl::Span<const uint8_t> all = remote.arrived.front()->bytes;
  std::memcpy(&packet, all.data(), sizeof(packet));
  const absl::Span<const uint8_t> payload = all.subspan(sizeof(packet));
  const uint64_t bytes = std::max<uint64_t>(packet.bytes, payload.size());
  remote.read.clear();
  Piece rest = {bytes, 0};
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  if (packet.incarnation == remote.incarnation && packet.session == remote.its_session) {
    if (packet.attempt == remote.denied_attempt) {
      code = absl::StatusCode::kAborted;
    } else {
      Piece first = {0, bytes};
      if (bytes > 8) {
        first.bytes = 8 * network_->random().Below((bytes + 7) / 8);
        rest = {first.bytes, bytes - first.bytes};
        if (network_->random().Chance(0.5)) std::swap(first, rest);
      }
      uint64_t old_value = packet.operand;
      code = Perform(remote, packet, payload, first, &old_value);
      if (code == absl::StatusCode::kOk && rest.bytes > 0) {
        const auto wait_ns = static_cast<int64_t>(network_->random().Below(kPieceNs));
        remote.rest = network_->events().At(network_->NowNs() + wait_ns, [this, &remote, rest] {
          EndFirst(remote, rest, absl::StatusCode::kOk);
          PerformArrived(remote);
        });
        return false;
      }
      packet.operand = old_value;
      std::memcpy(remote.arrived.front()->bytes.data(), &packet, sizeof(packet));
    }
  }
  EndFirst(remote, {bytes, 0}, code);
  return true;
}

// Carries out the rest, if nothing has gone wrong with the piece before, and answers.
void SimRemoteMemory::EndFirst(Remote& remote, Piece rest, absl::StatusCode code) {
  const PacketPtr arrived = std::move(remote.arrived.front());
  remote.arrived.pop_front();
  MemoryPacket packet;
  const absl::Span<const uint8_t> all = arrived->bytes;
  std::memcpy(&packet, all.data(), sizeof(packet));
  // The key may have been revoked meanwhile, or its user have gone.
  if (rest.bytes > 0) {
    code = packet.incarnation == remote.incarnation && packet.session == remote.its_session
               ? Perform(remote, packet, all.subspan(sizeof(packet)), rest, &packet.operand)
               : absl::StatusCode::kUnavailable;
  }
  if (code == absl::StatusCode::kPermissionDenied) remote.denied_attempt = packet.attempt;
  packet.kind = MemoryPacket::Kind::kReply;
  packet.code = static_cast<uint16_t>(code);
  const bool reads = packet.operation == MemoryOperation::Kind::kRead;
  Send(remote, packet,
       reads && code == absl::StatusCode::kOk ? absl::Span<const uint8_t>(remote.read)
                                              : absl::Span<const uint8_t>());
}

// A piece of an operation, if the operation as a whole is allowed.
absl::StatusCode SimRemoteMemory::Perform(Remote& remote, const MemoryPacket& packet,
                                          absl::Span<const uint8_t> payload, Piece piece,
                                          uint64_t* old_value) {
  uint64_t words[2];
  std::memcpy(words, packet.key.bytes.data(), sizeof(words));
  const auto known = keys_.find(words[0]);
  if (known == keys_.end() || known->second.secret != words[1] ||
      known->second.node != remote.node) {
    return absl::StatusCode::kPermissionDenied;
  }
  const Key& key = known->second;
  using Kind = MemoryOperation::Kind;
  const bool reads = packet.operation == Kind::kRead;
  const bool writes = packet.operation == Kind::kWrite;
  const MemoryAccess needed = reads    ? MemoryAccess::kRead
                              : writes ? MemoryAccess::kWrite
                                       : MemoryAccess::kAtomic;
  const uint64_t bytes = reads ? packet.bytes : writes ? payload.size() : 8;
  if (!Includes(key.access, needed) || !RangeFits(packet.offset, bytes, key.bytes.size())) {
    return absl::StatusCode::kPermissionDenied;
  }
  uint8_t* const at = key.bytes.data() + packet.offset;
  if (reads) {
    remote.read.resize(bytes);
    std::copy_n(at + piece.offset, piece.bytes,
                remote.read.begin() + static_cast<ptrdiff_t>(piece.offset));
  } else if (writes) {
    std::copy_n(payload.begin() + static_cast<ptrdiff_t>(piece.offset), piece.bytes,
                at + piece.offset);
  } else if (reinterpret_cast<uintptr_t>(at) % 8 != 0) {
    return absl::StatusCode::kPermissionDenied;
  } else {
    std::memcpy(old_value, at, 8);
    const bool adds = packet.operation == Kind::kFetchAdd;
    const uint64_t value = adds                           ? *old_value + packet.operand
                           : *old_value == packet.compare ? packet.operand
                                                          : *old_value;
    std::memcpy(at, &value, 8);
  }
  return absl::StatusCode::kOk;
}

void SimRemoteMemory::OnReply(Remote& remote, const MemoryPacket& packet,
                              absl::Span<const uint8_t> payload) {
  if (packet.session != remote.session || remote.under_way.empty()) return;
  auto code = static_cast<absl::StatusCode>(packet.code);
  if (code == absl::StatusCode::kUnavailable) {
    // Another port than the one that was asked.
    return Lose(remote, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
  }
  // Replies come in the order of the operations.
  const uint32_t slot = remote.under_way.front();
  if (slot != packet.slot) return;
  remote.under_way.pop_front();
  if (code == absl::StatusCode::kPermissionDenied && packet.attempt == remote.attempt) {
    ++remote.attempt;
  }
  const MemoryOperation& operation = slots_[slot];
  if (code == absl::StatusCode::kOk && operation.kind == MemoryOperation::Kind::kRead) {
    // The region may have been deregistered, against the rules.
    if (payload.size() == operation.local.size() && regions_.Contains(operation.local)) {
      std::memcpy(operation.local.data(), payload.data(), payload.size());
    } else {
      code = absl::StatusCode::kInvalidArgument;
    }
  }
  Complete(slot, code, packet.operand);
  if (remote.under_way.empty()) {
    network_->events().Cancel(remote.timer);
  } else {
    StartTimer(remote);
  }
}

}  // namespace weft::sim
