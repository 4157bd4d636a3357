// SPDX-License-Identifier: Apache-2.0
//
// SecurePort: datagrams that arrive.
#include <utility>

#include "weft/rpc/security/secure_port.h"

namespace weft::rpc {

size_t SecurePort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  FlushKept();
  if (below_->has_events()) [[unlikely]] {
    TakeEventsBelow();
  }
  steps_left_ = kStepsPerTurn;
  resets_left_ = kResetsPerTurn;
  const size_t n = below_->Receive(burst);
  if (!below_->status().ok()) [[unlikely]] {
    status_ = below_->status();
  }
  const size_t opened = n == 0 ? 0 : OpenAll(burst.first(n));
  if (!waiting_.empty()) [[unlikely]] {
    WorkOnHandshakes();
  }
  return opened;
}

// Opens the records among `burst` and moves them to its front; returns how many they are.
size_t SecurePort::OpenAll(absl::Span<Datagram> burst) {
  const int64_t now_ns = loop_.now_ns();
  size_t opened = 0;
  size_t bytes = 0;
  for (Datagram& datagram : burst) {
    const uint8_t magic = datagram.buffer.empty() ? 0 : datagram.buffer.data()[0];
    if (magic == RecordHead::kMagic) [[likely]] {
      if (OpenRecord(datagram, now_ns)) [[likely]] {
        bytes += datagram.buffer.size();
        if (&burst[opened] != &datagram) burst[opened] = std::move(datagram);
        ++opened;
        continue;
      }
    } else if (magic == HandshakePacket::kMagic) {
      OnHandshakeDatagram(datagram);
    } else {
      ++counts_.plaintext_dropped;
      ++stats_.receive_malformed;
    }
    datagram.buffer.Reset();
  }
  stats_.received += opened;
  stats_.received_bytes += bytes;
  counts_.records_opened += opened;
  return opened;
}

bool SecurePort::OpenRecord(Datagram& datagram, int64_t now_ns) {
  Buffer& buffer = datagram.buffer;
  RecordHead head;
  if (buffer.size() < kRecordOverheadBytes || !head.Read(buffer.data())) {
    ++counts_.records_malformed;
    ++stats_.receive_malformed;
    return false;
  }
  Connection* const connection = connections_.FindNumber(head.connection);
  ConnectionKeys* const found =
      connection == nullptr ? nullptr : KeysFor(*connection, datagram.peer, head.connection);
  if (found == nullptr) [[unlikely]] {
    OnUnknownRecord(datagram.peer, head);
    return false;
  }
  ReceiveKeys& keys = found->receive;
  const uint64_t rotations = keys.rotations();
  switch (keys.Open(head.phase, head.number, buffer.data() + RecordHead::kBytes,
                    buffer.size() - RecordHead::kBytes)) {
    case ReceiveKeys::Result::kOpened:
      break;
    case ReceiveKeys::Result::kReplayed:
      ++counts_.records_replayed;
      return false;
    case ReceiveKeys::Result::kForged:
      ++counts_.records_forged;
      ++stats_.receive_malformed;
      return false;
    case ReceiveKeys::Result::kOtherEpoch:
      OnOtherEpoch(*connection, head);
      return false;
  }
  counts_.key_updates_received += keys.rotations() - rotations;
  if (found != &connection->keys) [[unlikely]] {  // the client has them
    connection->keys = std::move(*connection->next_keys);
    connection->next_keys.reset();
  }
  connection->heard_ns = now_ns;
  buffer.TrimFront(RecordHead::kBytes);
  buffer.TrimBack(Aead::kTagBytes);
  datagram.peer = connection->peer();
  return true;
}

// The keys that go with the number in a record from that address; null if there are none.
ConnectionKeys* SecurePort::KeysFor(Connection& connection, const Peer& below, uint32_t number) {
  if (!connection.established || connection.below != below) return nullptr;
  if (connection.keys.number == number) [[likely]] {
    return &connection.keys;
  }
  ConnectionKeys* const next = connection.next_keys.get();
  return next != nullptr && next->number == number ? next : nullptr;
}

// Of a connection that has gone, or gone on to other keys; or nonsense. A client that still uses it
// is told to begin anew, by less than it sent.
void SecurePort::OnUnknownRecord(const Peer& below, const RecordHead& head) {
  ++counts_.records_unknown;
  if (role_ == Role::kServer) SendReset(below, head);
}

// Late by more than an epoch; or else the two sides have lost each other, after a whole epoch of
// packets was lost.
void SecurePort::OnOtherEpoch(Connection& connection, const RecordHead& head) {
  ++counts_.records_other_epoch;
  if (!connection.client) return SendReset(connection.below, head);
  if (!connection.dialing->under_way) Dial(connection);
}

// As many as there may be in a turn.
void SecurePort::SendReset(const Peer& below, const RecordHead& head) {
  if (resets_left_ == 0) return;
  --resets_left_;
  ++counts_.resets_sent;
  SendHandshakePacket(below, {.type = HandshakePacket::Type::kReset,
                              .flags = HandshakePacket::kFromServer,
                              .connection = head.connection,
                              .attempt = head.number});
}

}  // namespace weft::rpc
