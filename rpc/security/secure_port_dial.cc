// SPDX-License-Identifier: Apache-2.0
//
// SecurePort: the client's side of handshakes, which has the timers.
#include <openssl/rand.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/security/secure_port.h"

namespace weft::rpc {
namespace {

constexpr int64_t kMs = 1'000'000;
// Longer than it takes within a data centre, the work of both sides included.
constexpr int64_t kFirstRetryNs = 10 * kMs;
constexpr int64_t kRetryMaxNs = 1000 * kMs;
// Between the beginnings of handshakes with the same peer.
constexpr int64_t kPauseMinNs = 100 * kMs;
constexpr int64_t kPauseMaxNs = 5000 * kMs;
// So long may a peer be silent, while somebody says that it has gone.
constexpr int64_t kSilenceMaxNs = 1000 * kMs;

uint64_t RandomAttempt() {
  uint64_t attempt = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&attempt), sizeof(attempt));
  return attempt;
}

}  // namespace

// Begins a handshake, unless it is too early for another one: false.
bool SecurePort::Dial(Connection& connection) {
  Dialing& dialing = *connection.dialing;
  const int64_t now_ns = loop_.now_ns();
  if (now_ns < dialing.not_before_ns) return false;
  dialing.under_way = true;
  dialing.attempt = RandomAttempt();
  dialing.number = connections_.NewNumber(connection);
  dialing.has_cookie = false;
  dialing.deadline_ns = now_ns + handshake_timeout_ns_;
  dialing.not_before_ns = now_ns + kPauseMinNs;
  dialing.retry_ns = kFirstRetryNs;
  ++counts_.handshakes_started;
  SendInit(connection);
  loop_.timers().Schedule(dialing.timer, now_ns + dialing.retry_ns);
  return true;
}

void SecurePort::Connect(const Peer& peer) {
  AssertOwner();
  Connection* const connection = connections_.Find(peer);
  if (connection == nullptr || !connection->client || connection->established ||
      connection->dialing->under_way) {
    return;
  }
  Dial(*connection);
}

// The address of a peer that has gone, once more: another one may have it now.
absl::Status SecurePort::ResolveAgain(Connection& connection) {
  Dialing& dialing = *connection.dialing;
  absl::StatusOr<Peer> below = below_->Resolve(dialing.address);
  if (!below.ok()) {
    dialing.failed = absl::UnavailableError(below.status().message());
    events_.Add({PortEvent::Kind::kPeerUnreachable, connection.peer()});
    return dialing.failed;
  }
  dialing.resolve_again = false;
  if (*below == connection.below) return absl::OkStatus();
  if (std::exchange(connection.established, false)) counts_.connections.Add(-1);
  connections_.Move(&connection, *below);
  dialing.not_before_ns = 0;
  return absl::OkStatus();
}

void SecurePort::SendInit(Connection& connection) {
  SendHandshakePacket(connection.below, {.type = HandshakePacket::Type::kInit,
                                         .connection = connection.dialing->number,
                                         .attempt = connection.dialing->attempt});
}

void SecurePort::SendFlight(Connection& connection, uint8_t flags) {
  Dialing& dialing = *connection.dialing;
  HandshakePacket packet{.type = HandshakePacket::Type::kFlight,
                         .flags = flags,
                         .connection = dialing.number,
                         .attempt = dialing.attempt,
                         .acknowledged = dialing.handshake->received(),
                         .cookie = dialing.cookie};
  const auto send = [&](uint32_t offset, absl::Span<const uint8_t> bytes) {
    packet.offset = offset;
    packet.payload = bytes;
    SendHandshakePacket(connection.below, packet);
    packet.flags &= static_cast<uint8_t>(~HandshakePacket::kResend);
  };
  if (dialing.handshake->SendPieces(PieceBytes(), send) == 0) {
    send(dialing.handshake->acknowledged(), {});
  }
}

void SecurePort::StartTls(Connection& connection) {
  Dialing& dialing = *connection.dialing;
  dialing.handshake = std::make_unique<TlsHandshake>(
      Role::kClient, security_->CredentialsAt(loop_.now_ns()), dialing.server_name);
  dialing.handshake->OnBytes(0, {});
}

bool SecurePort::OnServerPacket(Connection& connection, const HandshakePacket& packet) {
  Dialing& dialing = *connection.dialing;
  if (packet.type == HandshakePacket::Type::kCookie) {
    if (std::exchange(dialing.has_cookie, true)) return false;
    dialing.cookie = packet.cookie;
    StartTls(connection);
    SendFlight(connection, 0);
    return true;
  }
  if (!dialing.has_cookie) return false;
  TlsHandshake& handshake = *dialing.handshake;
  handshake.OnAcknowledged(packet.acknowledged, false);
  const bool worked = handshake.OnBytes(packet.offset, packet.payload);
  if (!handshake.status().ok()) {
    SendFlight(connection, 0);  // an alert, so that the other side knows
    FailDialing(connection, handshake.failure(), handshake.status(), EACCES);
  } else if (const auto number = handshake.server_number(); number.has_value()) {
    CompleteDialing(connection, *number);
  } else if (worked) {
    SendFlight(connection, 0);
  }
  return worked;
}

void SecurePort::CompleteDialing(Connection& connection, uint32_t remote_number) {
  Dialing& dialing = *connection.dialing;
  HandshakeResult result;
  absl::Status status =
      dialing.handshake->Finish(dialing.number, remote_number, dialing.attempt, &result);
  if (!status.ok() || !Establish(connection, result, dialing.number, remote_number)) {
    return FailDialing(connection, Failure::kOther,
                       absl::InternalError("OpenSSL cannot make the keys"), EACCES);
  }
  dialing.under_way = false;
  dialing.handshake.reset();
  dialing.pause_ns = 0;
  dialing.failed = absl::OkStatus();
  loop_.timers().Cancel(dialing.timer);
  SendHeld(connection);
}

// Something that may be forged says that the keys are of no use any more. True if it has been said
// for long, of a peer to which was sent and which did not answer: what is said between a call and
// its answer, or while nothing is called, counts for nothing.
bool SecurePort::IsDoubtful(Connection& connection) {
  Doubt& doubt = connection.dialing->doubt;
  const int64_t now_ns = loop_.now_ns();
  const uint64_t number = connection.keys.send.next_number();
  if (doubt.began_ns <= connection.heard_ns) {
    doubt = {.began_ns = now_ns, .number = number};
  } else if (number != doubt.number && !doubt.silent_since_ns.has_value()) {
    doubt.silent_since_ns = now_ns;
  }
  return doubt.silent_since_ns.has_value() && now_ns - *doubt.silent_since_ns >= kSilenceMaxNs;
}

// `status` says why; ok where there is nothing to add to `error`.
void SecurePort::FailDialing(Connection& connection, Failure failure, absl::Status status,
                             int error) {
  Dialing& dialing = *connection.dialing;
  CountFailure(failure);
  const int64_t now_ns = loop_.now_ns();
  dialing.under_way = false;
  dialing.handshake.reset();
  loop_.timers().Cancel(dialing.timer);
  dialing.pause_ns = std::clamp(2 * dialing.pause_ns, kPauseMinNs, kPauseMaxNs);
  dialing.not_before_ns = now_ns + dialing.pause_ns;
  // Whoever made us begin anew, or fail, need not be the server.
  if (connection.established && !IsDoubtful(connection)) return;
  if (std::exchange(connection.established, false)) counts_.connections.Add(-1);
  if (!status.ok()) {
    status = absl::Status(status.code(), absl::StrCat("the server at ", dialing.address.ToString(),
                                                      ": ", status.message()));
  }
  dialing.failed = std::move(status);
  DropHeld(connection);
  events_.Add({PortEvent::Kind::kPeerUnreachable, connection.peer(), error});
}

// Anybody may say so, who knows what this side has sent: it leads to a handshake at most.
void SecurePort::OnReset(const Peer& below, const HandshakePacket& packet) {
  constexpr uint64_t kRecent = 1 << 16;
  Connection* const connection = connections_.FindBelow(below, true);
  const bool ours = connection != nullptr && connection->established &&
                    packet.connection == connection->keys.remote_number &&
                    packet.attempt < connection->keys.send.next_number() &&
                    connection->keys.send.next_number() - packet.attempt <= kRecent;
  if (!ours || connection->dialing->under_way || !Dial(*connection)) {
    ++counts_.resets_ignored;
    return;
  }
  ++counts_.resets_received;
}

// Who forges it has seen the INIT, and could spoil the handshake in other ways. One that has sent a
// cookie has keys.
void SecurePort::OnNoKeys(const Peer& below, const HandshakePacket& packet) {
  Connection* const connection = connections_.FindBelow(below, true);
  const bool ours = connection != nullptr && connection->dialing->under_way &&
                    !connection->dialing->has_cookie &&
                    packet.attempt == connection->dialing->attempt;
  if (!ours) {
    ++counts_.handshake_malformed;
    return;
  }
  FailDialing(*connection, Failure::kRefused,
              absl::FailedPreconditionError(
                  "it is a router, which has to read requests, and `security` seals them; let "
                  "clients choose servers themselves (rpc.servers and rpc.balancer, without a "
                  "router)"),
              EACCES);
}

void SecurePort::OnDialTimer(void* self, int64_t now_ns) {
  Dialing& dialing = *static_cast<Dialing*>(self);
  SecurePort& port = *dialing.port;
  Connection& connection = *dialing.connection;
  if (now_ns >= dialing.deadline_ns) {
    const bool answered = dialing.has_cookie;
    return port.FailDialing(
        connection, Failure::kTimeout,
        absl::UnavailableError(
            answered ? "the handshake did not end in time"
                     : "no answer to the handshake; is it there, and has it `security`?"),
        ETIMEDOUT);
  }
  if (!dialing.has_cookie) {
    port.SendInit(connection);
  } else {
    dialing.handshake->Resend();
    port.SendFlight(connection, HandshakePacket::kResend);
  }
  dialing.retry_ns = std::min(2 * dialing.retry_ns, kRetryMaxNs);
  port.loop_.timers().Schedule(dialing.timer,
                               std::min(now_ns + dialing.retry_ns, dialing.deadline_ns));
}

}  // namespace weft::rpc
