// SPDX-License-Identifier: Apache-2.0
//
// SecurePort: what handshakes of both sides have in common.
#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/rpc/security/secure_port.h"

namespace weft::rpc {
namespace {

// Fits any path (1280 bytes of IPv6, less its headers) with some left.
constexpr size_t kPacketBytesMax = 1200;

}  // namespace

// Answers what costs nothing to answer; the rest waits for its turn.
void SecurePort::OnHandshakeDatagram(Datagram& datagram) {
  ++counts_.handshake_packets_received;
  const auto packet = HandshakePacket::Read(datagram.buffer.bytes());
  if (!packet.has_value()) {
    ++counts_.handshake_malformed;
    ++stats_.receive_malformed;
    return;
  }
  switch (packet->type) {
    case HandshakePacket::Type::kInit: {
      if (role_ != Role::kServer) {
        ++counts_.handshake_malformed;
        return;
      }
      ++counts_.cookies_sent;
      return SendHandshakePacket(datagram.peer,
                                 {.type = HandshakePacket::Type::kCookie,
                                  .flags = HandshakePacket::kFromServer,
                                  .attempt = packet->attempt,
                                  .cookie = cookies_.Make(datagram.peer, packet->connection,
                                                          packet->attempt, loop_.now_ns())});
    }
    case HandshakePacket::Type::kReset:
      return OnReset(datagram.peer, *packet);
    case HandshakePacket::Type::kNoKeys:
      return OnNoKeys(datagram.peer, *packet);
    case HandshakePacket::Type::kCookie:
    case HandshakePacket::Type::kFlight:
      break;
  }
  if (waiting_.size() >= kWaitingMax) {
    ++counts_.handshake_dropped;
    return;
  }
  waiting_.push_back(std::move(datagram));
}

// As far as this turn goes, so that what has keys does not wait for what has none.
void SecurePort::WorkOnHandshakes() {
  while (!waiting_.empty() && steps_left_ > 0) {
    const Datagram datagram = std::move(waiting_.front());
    waiting_.pop_front();
    const auto packet = HandshakePacket::Read(datagram.buffer.bytes());
    if (packet.has_value() && OnHandshakePacket(datagram.peer, *packet)) --steps_left_;
  }
}

// Returns whether TLS had work to do.
bool SecurePort::OnHandshakePacket(const Peer& below, const HandshakePacket& packet) {
  if (!packet.from_server()) return OnClientFlight(below, packet);
  Connection* const connection = connections_.FindBelow(below, true);
  if (connection == nullptr || !connection->dialing->under_way ||
      connection->dialing->attempt != packet.attempt) {
    ++counts_.handshake_malformed;
    return false;
  }
  return OnServerPacket(*connection, packet);
}

size_t SecurePort::PieceBytes() const {
  const size_t room =
      std::min(below_->capabilities().max_payload_bytes, below_->pool().payload_bytes());
  return std::min(room, kPacketBytesMax) - HandshakePacket::kFlightHeadBytes;
}

// Lost if it cannot be sent now: whoever misses it asks again.
void SecurePort::SendHandshakePacket(const Peer& below, const HandshakePacket& packet) {
  std::array<uint8_t, HandshakePacket::kWithoutPayloadMax> head;
  const size_t head_bytes = packet.Write(head.data());
  Datagram datagram{below, pool().Allocate()};
  if (!datagram.buffer) return;
  std::memcpy(datagram.buffer.Append(head_bytes), head.data(), head_bytes);
  if (!packet.payload.empty()) {
    std::memcpy(datagram.buffer.Append(packet.payload.size()), packet.payload.data(),
                packet.payload.size());
  }
  if (below_->Send(absl::MakeSpan(&datagram, 1)) == 1) ++counts_.handshake_packets_sent;
}

// Puts the keys in place, or beside those of a server's that its client uses still. False when
// OpenSSL fails.
bool SecurePort::Establish(Connection& connection, const HandshakeResult& result, uint32_t number,
                           uint32_t remote_number) {
  const bool client = connection.client;
  const int64_t now_ns = loop_.now_ns();
  auto keys = std::make_unique<ConnectionKeys>();
  keys->number = number;
  keys->remote_number = remote_number;
  if (!keys->send.Start(client ? result.client_secret : result.server_secret, result.cipher, now_ns,
                        rotation_) ||
      !keys->receive.Start(client ? result.server_secret : result.client_secret, result.cipher)) {
    return false;
  }
  ++counts_.handshakes_completed;
  connection.identity = result.identity;
  if (connection.established && !client) {
    connection.next_keys = std::move(keys);
    return true;
  }
  if (!std::exchange(connection.established, true)) counts_.connections.Add(1);
  connection.heard_ns = now_ns;
  connection.keys = std::move(*keys);
  return true;
}

}  // namespace weft::rpc
