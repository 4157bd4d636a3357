// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/remote_memory/emulated_memory.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace weft {

using emulated::Action;
using emulated::Kind;
using emulated::Operation;

namespace {

Action ActionOf(MemoryOperation::Kind kind) {
  switch (kind) {
    case MemoryOperation::Kind::kRead:
      return Action::kRead;
    case MemoryOperation::Kind::kWrite:
      return Action::kWrite;
    case MemoryOperation::Kind::kCompareSwap:
      return Action::kCompareSwap;
    case MemoryOperation::Kind::kFetchAdd:
      break;
  }
  return Action::kFetchAdd;
}

bool Within(absl::Span<const uint8_t> bytes, absl::Span<const uint8_t> whole) {
  return !whole.empty() && bytes.data() >= whole.data() &&
         bytes.data() + bytes.size() <= whole.data() + whole.size();
}

}  // namespace

absl::StatusOr<Address> EmulatedMemory::AddressOf(const Peer& peer) const {
  const PeerRecord* const record = peers_.ByHandle(peer);
  if (record == nullptr) return absl::NotFoundError("the peer has gone");
  return record->address;
}

absl::StatusOr<RemoteKey> EmulatedMemory::Grant(const Peer& peer, const MemoryRegion& region,
                                                size_t offset, size_t bytes, MemoryAccess access) {
  AssertOwner();
  PeerRecord* const record = peers_.ByHandle(peer);
  if (record == nullptr) return absl::NotFoundError("no such peer");
  if (record->state == PeerRecord::State::kUp) {
    return table_.Grant(record->number, region, offset, bytes, access);
  }
  if (!status_.ok()) return status_;
  if (record->state == PeerRecord::State::kIdle) Greet(record, clock_.NowNs());
  return absl::UnavailableError(
      absl::StrCat("there is no connection to ", record->address.ToString(), " yet"));
}

absl::StatusCode EmulatedMemory::Check(const MemoryOperation& operation,
                                       const PeerRecord* record) const {
  if (operation.kind > MemoryOperation::Kind::kFetchAdd) return absl::StatusCode::kInvalidArgument;
  const bool atomic = operation.kind == MemoryOperation::Kind::kCompareSwap ||
                      operation.kind == MemoryOperation::Kind::kFetchAdd;
  if (atomic && operation.offset % 8 != 0) return absl::StatusCode::kInvalidArgument;
  if (!atomic) {
    if (operation.local.empty() || operation.local.size() > kOperationBytesMax ||
        (!table_.Covers(operation.local) && !Within(operation.local, pool_.region()))) {
      return absl::StatusCode::kInvalidArgument;
    }
  }
  if (record == nullptr) {
    return peers_.HasGone(operation.peer) ? absl::StatusCode::kUnavailable
                                          : absl::StatusCode::kInvalidArgument;
  }
  const emulated::KeyShape key = emulated::ShapeOf(operation.key);
  const size_t bytes = atomic ? sizeof(uint64_t) : operation.local.size();
  const MemoryAccess access = atomic ? MemoryAccess::kAtomic
                              : operation.kind == MemoryOperation::Kind::kRead
                                  ? MemoryAccess::kRead
                                  : MemoryAccess::kWrite;
  if (operation.offset > UINT64_MAX - bytes) return absl::StatusCode::kPermissionDenied;
  // Of a peer that may not be there, that is what is to be found out.
  const bool within = Includes(key.access, access) && operation.offset <= key.length &&
                      bytes <= key.length - operation.offset;
  return within || record->state != PeerRecord::State::kUp ? absl::StatusCode::kOk
                                                           : absl::StatusCode::kPermissionDenied;
}

size_t EmulatedMemory::Post(absl::Span<const MemoryOperation> operations) {
  AssertOwner();
  if (!status_.ok()) return 0;
  size_t taken = 0;
  for (; taken < operations.size(); ++taken) {
    const MemoryOperation& wanted = operations[taken];
    Operation* const operation = operations_.Allocate();
    if (operation == nullptr) {
      ++stats_.send_blocked;
      break;
    }
    PeerRecord* const record = peers_.ByHandle(wanted.peer);
    const absl::StatusCode code = Check(wanted, record);
    operation->completion = {.context = wanted.context, .code = code};
    if (code != absl::StatusCode::kOk) {
      ++stats_.send_failed;
      operations_.End(operation);
      continue;
    }
    operation->action = ActionOf(wanted.kind);
    operation->key = emulated::ShapeOf(wanted.key).name;
    operation->offset = wanted.offset;
    operation->local = wanted.local.data();
    operation->bytes = static_cast<uint32_t>(operation->action == Action::kRead ||
                                                     operation->action == Action::kWrite
                                                 ? wanted.local.size()
                                                 : sizeof(uint64_t));
    operation->compare = wanted.compare;
    operation->operand = wanted.operand;
    record->session.Add(operation);
    if (record->state == PeerRecord::State::kIdle) Greet(record, clock_.NowNs());
    MarkDirty(record);
  }
  return taken;
}

size_t EmulatedMemory::Poll(absl::Span<MemoryCompletion> completions) {
  AssertOwner();
  const int64_t now_ns = clock_.NowNs();
  PumpDirty(now_ns);
  outbox_.Flush();
  ReceiveAll(now_ns);
  if (port_->has_events()) OnPortEvents();
  if (!port_->status().ok() && status_.ok()) [[unlikely]] {
    EndAll();
  }
  // Not while answers may lie unread, as a peer that has answered is not gone; but not never.
  if (!more_received_ || ++polls_without_timers_ >= kPollsWithoutTimers) {
    polls_without_timers_ = 0;
    timers_.Advance(now_ns);
  }
  PumpDirty(now_ns);
  outbox_.Flush();
  if (time_ != nullptr) ScheduleVirtual();
  return operations_.Take(completions);
}

void EmulatedMemory::ReceiveAll(int64_t now_ns) {
  more_received_ = true;
  for (int burst = 0; burst < kBursts && more_received_; ++burst) {
    const size_t count = port_->Receive(absl::MakeSpan(received_));
    more_received_ = count == received_.size();
    for (size_t i = 0; i < count; ++i) {
      stats_.received_bytes += received_[i].buffer.size();
      OnDatagram(received_[i].peer, &received_[i].buffer, now_ns);
      received_[i].buffer.Reset();
    }
    stats_.received += count;
  }
}

void EmulatedMemory::OnDatagram(const Peer& from, Buffer* buffer, int64_t now_ns) {
  Packet packet;
  if (!emulated::Parse(buffer->bytes(), &packet)) {
    ++stats_.receive_malformed;
    return;
  }
  switch (packet.kind) {
    case Kind::kRequest:
    case Kind::kResponse:
    case Kind::kAck:
    case Kind::kBye:
      OnSessionPacket(from, packet, buffer, now_ns);
      break;
    default:
      OnHandshake(from, packet, now_ns);
  }
}

void EmulatedMemory::OnSessionPacket(const Peer& from, const Packet& packet, Buffer* buffer,
                                     int64_t now_ns) {
  PeerRecord* const record = peers_.ByNumber(packet.index);
  if (record == nullptr || record->nonce != packet.token || !(record->wire == from) ||
      record->state != PeerRecord::State::kUp) [[unlikely]] {
    // While kReady is on its way, what comes before it comes again.
    const bool early = record != nullptr && record->nonce == packet.token &&
                       record->state == PeerRecord::State::kConfirming;
    if (packet.kind == Kind::kRequest && !early) {
      SendTo(from, {.kind = Kind::kReset, .token = packet.token});
    }
    return;
  }
  switch (packet.kind) {
    case Kind::kRequest:
      record->session.OnRequest(packet, now_ns, buffer);
      break;
    case Kind::kResponse:
      record->session.OnResponse(packet, now_ns);
      MarkDirty(record);
      break;
    case Kind::kAck:
      record->session.OnAck(packet, now_ns);
      break;
    default:
      EndPeer(record, PortEvent::Kind::kPeerClosed, 0);
  }
}

void EmulatedMemory::OnPortEvents() {
  std::array<PortEvent, 16> events;
  const size_t count = port_->TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < count; ++i) {
    const PortEvent& event = events[i];
    if (event.kind == PortEvent::Kind::kLinkUp || event.kind == PortEvent::Kind::kLinkDown) {
      events_.Add({event.kind, {}, event.error});
      continue;
    }
    PeerRecord* const record = peers_.ByWire(event.peer);
    if (record == nullptr || record->state == PeerRecord::State::kIdle) continue;
    // Of a session that is up, only a port that knows it for sure is believed: who forges an ICMP
    // message could end it otherwise.
    const bool sure = port_->capabilities().reliable;
    if (record->state == PeerRecord::State::kUp && !sure) continue;
    EndPeer(record, event.kind, event.error);
  }
}

// The port below is dead.
void EmulatedMemory::EndAll() {
  status_ = port_->status();
  for (const auto& record : peers_.all()) {
    if (record->state == PeerRecord::State::kIdle) continue;
    EndPeer(record.get(), PortEvent::Kind::kPeerUnreachable, 0);
  }
}

void EmulatedMemory::MarkDirty(PeerRecord* record) {
  if (record->dirty) return;
  record->dirty = true;
  dirty_.push_back(record);
}

void EmulatedMemory::PumpDirty(int64_t now_ns) {
  if (dirty_.empty()) return;
  std::swap(dirty_, pumped_);
  for (PeerRecord* const record : pumped_) {
    record->dirty = false;
    if (record->state == PeerRecord::State::kUp) {
      record->session.Pump(now_ns);
      if (record->session.wants_to_send()) MarkDirty(record);
    }
    Schedule(record);
  }
  pumped_.clear();
}

}  // namespace weft
