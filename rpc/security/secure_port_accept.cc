// SPDX-License-Identifier: Apache-2.0
//
// SecurePort: the server's side of handshakes. It keeps nothing of a client, and sends it no more
// than it sent, before a cookie has proven the client's address; afterwards it sends only in
// answer.
#include <iterator>
#include <utility>

#include "weft/rpc/security/secure_port.h"

namespace weft::rpc {

bool SecurePort::OnClientFlight(const Peer& below, const HandshakePacket& packet) {
  if (role_ != Role::kServer || packet.type != HandshakePacket::Type::kFlight) {
    ++counts_.handshake_malformed;
    return false;
  }
  Accepting* accepting = FindAccepting(below, packet);
  if (accepting == nullptr) accepting = BeginAccepting(below, packet);
  if (accepting == nullptr) return false;
  TlsHandshake& handshake = *accepting->handshake;
  const bool resend = (packet.flags & HandshakePacket::kResend) != 0;
  handshake.OnAcknowledged(packet.acknowledged, resend);
  const bool worked = !accepting->complete && handshake.OnBytes(packet.offset, packet.payload);
  if (worked && !handshake.status().ok()) {
    CountFailure(handshake.failure());
  } else if (worked && handshake.done()) {
    CompleteAccepting(below, *accepting);
  }
  SendAnswer(below, *accepting);
  return worked;
}

SecurePort::Accepting* SecurePort::FindAccepting(const Peer& below, const HandshakePacket& packet) {
  const auto found = accepting_.find(below);
  if (found == accepting_.end() || found->second.attempt != packet.attempt ||
      found->second.remote_number != packet.connection) {
    return nullptr;
  }
  return &found->second;
}

// A client has one handshake at a time: a newer one takes the place of an older one. Null if it has
// not proven where it is, or is old.
SecurePort::Accepting* SecurePort::BeginAccepting(const Peer& below,
                                                  const HandshakePacket& packet) {
  const int64_t now_ns = loop_.now_ns();
  if (packet.offset != 0 || packet.payload.empty() ||
      !cookies_.Check(packet.cookie, below, packet.connection, packet.attempt, now_ns)) {
    ++counts_.cookies_wrong;
    return nullptr;
  }
  if (const auto found = accepting_.find(below); found != accepting_.end()) {
    if (found->second.cookie_time_ns >= packet.cookie.time_ns) return nullptr;
    EraseAccepting(below);
  }
  if (accepting_.size() >= security_->config().handshakes_max()) {
    ++counts_.handshakes_evicted;
    EraseAccepting(Peer(accepting_order_.front()));
  }
  ++counts_.handshakes_accepted;
  Accepting& accepting = accepting_[below];
  accepting.handshake =
      std::make_unique<TlsHandshake>(Role::kServer, security_->CredentialsAt(now_ns), "");
  accepting.attempt = packet.attempt;
  accepting.cookie_time_ns = packet.cookie.time_ns;
  accepting.remote_number = packet.connection;
  accepting.deadline_ns = now_ns + handshake_timeout_ns_;
  accepting.place = accepting_order_.insert(accepting_order_.end(), below);
  counts_.handshakes.Set(static_cast<int64_t>(accepting_.size()));
  if (!accept_timer_.armed()) loop_.timers().Schedule(accept_timer_, accepting.deadline_ns);
  return &accepting;
}

void SecurePort::CompleteAccepting(const Peer& below, Accepting& accepting) {
  HandshakeResult result;
  // The number is part of what keys are made of, and the identity of what the number is for.
  Connection* const connection = ConnectionFor(below, accepting.handshake->identity());
  if (connection == nullptr) {
    ++counts_.handshake_dropped;
    return;
  }
  const uint32_t number = connections_.NewNumber(*connection);
  if (!accepting.handshake->SayNumber(number) ||
      !accepting.handshake->Finish(accepting.remote_number, number, accepting.attempt, &result)
           .ok() ||
      !Establish(*connection, result, number, accepting.remote_number)) {
    CountFailure(Failure::kOther);
    if (!connection->established) RemoveConnection(connection);
    return;
  }
  accepting.number = number;
  accepting.complete = true;
}

// The peer's place: its old one if it is who it was, so that what is above does not notice.
Connection* SecurePort::ConnectionFor(const Peer& below, const std::string& identity) {
  if (Connection* const known = connections_.FindBelow(below, false)) {
    if (known->identity == identity) return known;
    events_.Add({PortEvent::Kind::kPeerClosed, known->peer()});
    RemoveConnection(known);
  }
  MakeRoom();
  return connections_.Add(below, /*client=*/false);
}

void SecurePort::SendAnswer(const Peer& below, Accepting& accepting) {
  HandshakePacket packet{.type = HandshakePacket::Type::kFlight,
                         .flags = HandshakePacket::kFromServer,
                         .connection = accepting.number,
                         .attempt = accepting.attempt,
                         .acknowledged = accepting.handshake->received()};
  if (accepting.complete) packet.flags |= HandshakePacket::kComplete;
  const auto send = [&](uint32_t offset, absl::Span<const uint8_t> bytes) {
    packet.offset = offset;
    packet.payload = bytes;
    SendHandshakePacket(below, packet);
  };
  const size_t pieces = accepting.handshake->SendPieces(PieceBytes(), send);
  if (pieces == 0 && accepting.complete) send(accepting.handshake->acknowledged(), {});
}

void SecurePort::EraseAccepting(const Peer& below) {
  const auto found = accepting_.find(below);
  if (found == accepting_.end()) return;
  accepting_order_.erase(found->second.place);
  accepting_.erase(found);
  counts_.handshakes.Set(static_cast<int64_t>(accepting_.size()));
}

void SecurePort::ExpireAccepting(int64_t now_ns) {
  while (!accepting_order_.empty()) {
    const Peer below = accepting_order_.front();
    const Accepting& accepting = accepting_.find(below)->second;
    if (accepting.deadline_ns > now_ns) {
      loop_.timers().Schedule(accept_timer_, accepting.deadline_ns);
      return;
    }
    if (!accepting.complete && accepting.handshake->status().ok()) CountFailure(Failure::kTimeout);
    EraseAccepting(below);
  }
}

void SecurePort::OnAcceptTimer(void* self, int64_t now_ns) {
  static_cast<SecurePort*>(self)->ExpireAccepting(now_ns);
}

}  // namespace weft::rpc
