// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/secure_port.h"

#include <arpa/inet.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::rpc {
namespace {

// Less carries no handshake.
constexpr size_t kPayloadBelowMin = 192;

Capabilities CapabilitiesOver(const DatagramPort& below, size_t max_payload_bytes) {
  Capabilities capabilities = below.capabilities();
  capabilities.max_payload_bytes = max_payload_bytes;
  capabilities.headroom_bytes += RecordHead::kBytes;
  // Datagrams are lost while keys are made anew, and those of a blocked peer are overtaken.
  capabilities.reliable = false;
  capabilities.ordered = false;
  // A tail is encrypted into the buffer.
  capabilities.gather = true;
  capabilities.keeps_foreign_source = false;
  capabilities.bulk_min_bytes = 0;  // a peer's device would read plain text
  capabilities.streams = false;
  capabilities.frames = false;
  return capabilities;
}

// What the server's certificate must be for.
std::string ServerNameFor(const Address& address, const config::Security& config) {
  if (!config.has_x509()) return "";
  if (!config.x509().server_name().empty()) return config.x509().server_name();
  if (!address.is_ip()) return address.name();
  const bool ipv4 = address.kind() == Address::Kind::kIpv4;
  std::array<char, INET6_ADDRSTRLEN> text = {};
  const Address::Ipv4Bytes v4 = address.ipv4();
  const uint8_t* const bytes = ipv4 ? v4.data() : address.ipv6().data();
  inet_ntop(ipv4 ? AF_INET : AF_INET6, bytes, text.data(), text.size());
  return text.data();
}

RotationLimits RotationOf(const config::Security& config) {
  return {.packets = config.rotate_after_packets(),
          .time_ns = int64_t{config.rotate_after_s()} * 1'000'000'000};
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatagramPort>> SecurePort::Create(
    Loop& loop, std::unique_ptr<DatagramPort> below, Role role,
    std::shared_ptr<const Security> security) {
  const size_t room =
      std::min(below->capabilities().max_payload_bytes, below->pool().payload_bytes());
  const Buffer buffer = below->pool().Allocate();
  if (room < kPayloadBelowMin || !buffer || buffer.headroom() < RecordHead::kBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "security needs messages of ", kPayloadBelowMin, " bytes and ", RecordHead::kBytes,
        " bytes of headroom; the port at ", below->local_address().ToString(), " carries ", room,
        " (see transport.buffers.bytes)"));
  }
  return std::unique_ptr<DatagramPort>(new SecurePort(
      loop, std::move(below), role, std::move(security), room - kRecordOverheadBytes));
}

SecurePort::SecurePort(Loop& loop, std::unique_ptr<DatagramPort> below, Role role,
                       std::shared_ptr<const Security> security, size_t max_payload_bytes)
    : DatagramPort(CapabilitiesOver(*below, max_payload_bytes), &below->pool()),
      loop_(loop),
      below_(std::move(below)),
      role_(role),
      security_(std::move(security)),
      rotation_(RotationOf(security_->config())),
      handshake_timeout_ns_(int64_t{security_->config().handshake_timeout_us()} * 1000),
      connections_(security_->config().connections_max()),
      accept_timer_(&SecurePort::OnAcceptTimer, this) {}

SecurePort::~SecurePort() { FlushKept(); }

const SecureStats* SecurePort::StatsOf(const DatagramPort& port) {
  const auto* const secure = dynamic_cast<const SecurePort*>(&port);
  return secure == nullptr ? nullptr : &secure->counts_;
}

bool SecurePort::Arm() {
  AssertOwner();
  if (sealed_count_ > 0 || !waiting_.empty() || events_.KeepsAwake()) return false;
  return below_->Arm();
}

void SecurePort::BindToThisThread() {
  below_->BindToThisThread();
  DatagramPort::BindToThisThread();
}

absl::StatusOr<Peer> SecurePort::Resolve(const Address& address) {
  AssertOwner();
  absl::StatusOr<Peer> below = below_->Resolve(address);
  if (!below.ok()) return below.status();
  if (const Connection* known = connections_.FindBelow(*below, true)) return known->peer();
  const auto credentials = security_->CredentialsAt(loop_.now_ns());
  if (absl::Status status = credentials->CheckRole(Role::kClient); !status.ok()) return status;
  MakeRoom();
  Connection* const connection = connections_.Add(*below, /*client=*/true);
  if (connection == nullptr) {
    return absl::ResourceExhaustedError("security.connections_max peers are connected");
  }
  connection->dialing = std::make_unique<Dialing>(this, connection, &SecurePort::OnDialTimer);
  connection->dialing->address = address;
  connection->dialing->server_name = ServerNameFor(address, security_->config());
  return connection->peer();
}

absl::StatusOr<Address> SecurePort::AddressOf(const Peer& peer) const {
  const Connection* const connection = connections_.Find(peer);
  if (connection == nullptr) return absl::NotFoundError("no such peer, or one that has gone");
  return below_->AddressOf(connection->below);
}

size_t SecurePort::MaxPayloadTo(const Peer& peer) const {
  const Connection* const connection = connections_.Find(peer);
  if (connection == nullptr) return capabilities_.max_payload_bytes;
  const size_t below = below_->MaxPayloadTo(connection->below);
  return std::min(capabilities_.max_payload_bytes, below - std::min(below, kRecordOverheadBytes));
}

absl::string_view SecurePort::IdentityOf(const Peer& peer) const {
  const Connection* const connection = connections_.Find(peer);
  return connection == nullptr ? absl::string_view() : connection->identity;
}

absl::Status SecurePort::WhyUnreachable(const Peer& peer) const {
  const Connection* const connection = connections_.Find(peer);
  if (connection == nullptr || connection->dialing == nullptr) return absl::OkStatus();
  return connection->dialing->failed;
}

void SecurePort::TakeEventsBelow() {
  std::array<PortEvent, 16> events;
  const size_t n = below_->TakeEvents(absl::MakeSpan(events));
  for (const PortEvent& event : absl::MakeSpan(events).first(n)) {
    if (!event.peer) {
      events_.Add(event);
      continue;
    }
    connections_.ForEachBelow(event.peer,
                              [&](Connection* connection) { OnEventBelow(event, *connection); });
  }
}

// Where datagrams can be lost, anybody may say that a peer cannot be reached (ICMP): that ends no
// connection by itself.
void SecurePort::OnEventBelow(const PortEvent& event, Connection& connection) {
  const bool certain =
      below_->capabilities().reliable || event.kind == PortEvent::Kind::kPeerClosed;
  if (connection.client) {
    connection.dialing->resolve_again = true;
    if (!connection.established && connection.dialing->under_way) {
      return FailDialing(connection, Failure::kOther, absl::OkStatus(), event.error);
    }
    if (connection.established && !certain && !IsDoubtful(connection)) return;
  } else if (connection.established && !certain) {
    return;
  }
  events_.Add({event.kind, connection.peer(), event.error});
  if (!connection.client && event.kind == PortEvent::Kind::kPeerClosed) {
    RemoveConnection(&connection);
  }
}

void SecurePort::RemoveConnection(Connection* connection) {
  if (connection->established) counts_.connections.Add(-1);
  connections_.Remove(connection);
}

// Of a full table, one is forgotten for the next, if there is one that may go.
void SecurePort::MakeRoom() {
  Connection* const idlest = connections_.full() ? connections_.Idlest() : nullptr;
  if (idlest == nullptr) return;
  ++counts_.connections_evicted;
  events_.Add({PortEvent::Kind::kPeerClosed, idlest->peer()});
  RemoveConnection(idlest);
}

}  // namespace weft::rpc
