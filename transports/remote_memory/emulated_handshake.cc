// SPDX-License-Identifier: Apache-2.0
//
// How emulated ports find each other.
//
//   kHello (a nonce)         ->
//                            <- kCookie: a hash of it; who answers remembers nothing
//   kConfirm (both nonces)   ->
//                 the session begins there
//                            <- kReady
//   and here
//
// The nonces are the tokens of the session's packets. When both ask at once, the greater one of who
// asks wins.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/siphash.h"
#include "weft/transports/remote_memory/emulated_memory.h"

namespace weft {

using emulated::Kind;

namespace {

constexpr int64_t kGreetAgainNs = 2'000'000;
constexpr int64_t kGreetAgainMaxNs = 100'000'000;
}  // namespace

bool EmulatedMemory::MayTalkTo(const Address& address) const {
  return options_.beyond_machine || capabilities_.virtual_time || address.is_within_machine();
}

absl::StatusOr<Peer> EmulatedMemory::Resolve(const Address& address) {
  AssertOwner();
  if (address == local_address()) {
    return absl::InvalidArgumentError("that is the port itself; use the memory as it is");
  }
  if (PeerRecord* const known = peers_.ByAddress(address); known != nullptr) {
    known->resolved = true;
    return known->handle();
  }
  absl::StatusOr<Peer> wire = port_->Resolve(address);
  if (!wire.ok()) return wire;
  if (!MayTalkTo(address)) {
    return absl::FailedPreconditionError(absl::StrCat(
        address.ToString(),
        " is beyond this machine, where others could read and forge what is written to memory, and "
        "nothing says how it is protected. Write into the configuration `security { psk { ... } }` "
        "or `security { x509 { ... } }` for encryption, or `security { plaintext { } }` for none; "
        "docs/security.md says more"));
  }
  PeerRecord* record = peers_.ByWire(*wire);
  if (record == nullptr) record = peers_.Add(address, *wire);
  if (record == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("all ", options_.peers_max,
                                                     " peers of the port are in use "
                                                     "(EmulatedMemoryOptions::peers_max)"));
  }
  record->resolved = true;
  return record->handle();
}

// What `from` would have to know to have seen our answer.
uint64_t EmulatedMemory::CookieFor(const Peer& from, uint64_t nonce) {
  const PeerRecord* const record = Find(from);
  const uint64_t words[] = {from.words[0], from.words[1], from.words[2], nonce,
                            record == nullptr ? 0 : record->sessions};
  return SipHash24(secrets_.key(), words);
}

// Who sends; one whom the datagram port knows by another name than the one that it gave us, as
// after a restart or when both sides have called, is recognised by his address. Where an address is
// only claimed, he must have proven who he is, or the datagram port itself must believe it.
emulated::PeerRecord* EmulatedMemory::Find(const Peer& from) {
  if (PeerRecord* const record = peers_.ByWire(from); record != nullptr) return record;
  const absl::StatusOr<Address> address = port_->AddressOf(from);
  if (!address.ok()) return nullptr;
  PeerRecord* const record = peers_.ByAddress(*address);
  if (record == nullptr || address->kind() != Address::Kind::kShm ||
      !port_->IdentityOf(from).empty()) {
    return record;
  }
  const absl::StatusOr<Peer> believed = port_->Resolve(*address);
  return believed.ok() && *believed == from ? record : nullptr;
}

size_t EmulatedMemory::PacketMaxTo(const Peer& wire) const {
  return std::min({port_->MaxPayloadTo(wire), port_->capabilities().max_payload_bytes,
                   port_->pool().payload_bytes()});
}

bool EmulatedMemory::SendTo(const Peer& to, const Packet& packet) {
  Buffer buffer = outbox_.Allocate();
  if (!buffer) return false;
  emulated::Append(packet, &buffer);
  outbox_.Add(to, std::move(buffer));
  return true;
}

void EmulatedMemory::Greet(PeerRecord* record, int64_t now_ns) {
  // A peer that has gone and come back may have another name below.
  const absl::StatusOr<Peer> wire = port_->Resolve(record->address);
  if (wire.ok()) peers_.Rename(record, *wire);
  record->state = PeerRecord::State::kGreeting;
  record->nonce = secrets_.Next();
  record->begun_ns = now_ns;
  record->greet_again_ns = kGreetAgainNs / 2;
  record->packet_max = static_cast<uint32_t>(PacketMaxTo(record->wire));
  SendHello(record, now_ns);
  MarkDirty(record);
}

void EmulatedMemory::SendHello(PeerRecord* record, int64_t now_ns) {
  record->greeted_ns = now_ns;
  record->greet_again_ns = std::min(2 * record->greet_again_ns, kGreetAgainMaxNs);
  SendTo(record->wire, {.kind = Kind::kHello,
                        .packet_max = record->packet_max,
                        .nonce = record->nonce,
                        .sender_index = record->number,
                        .window = static_cast<uint16_t>(options_.window)});
}

void EmulatedMemory::OnHandshake(const Peer& from, const Packet& packet, int64_t now_ns) {
  switch (packet.kind) {
    case Kind::kHello:
      return OnHello(from, packet);
    case Kind::kCookie:
      return OnCookie(from, packet);
    case Kind::kConfirm:
      return OnConfirm(from, packet, now_ns);
    case Kind::kReady:
      return OnReady(packet, now_ns);
    case Kind::kRefuse:
      return OnRefuse(from, packet);
    default:
      break;
  }
  // kReset: the peer does not know the session any more. It has come back, or given us up.
  PeerRecord* const record = peers_.ByWire(from);
  if (record == nullptr || record->state != PeerRecord::State::kUp ||
      record->their_nonce != packet.token) {
    return;
  }
  EndPeer(record, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
}

void EmulatedMemory::OnHello(const Peer& from, const Packet& hello) {
  PeerRecord* const record = Find(from);
  if (record != nullptr && record->state == PeerRecord::State::kUp && record->wire == from &&
      record->their_nonce == hello.nonce) {
    return SendReady(record);  // which was lost
  }
  bool welcome = record != nullptr || peers_.HasRoom();
  if (record == nullptr) {
    const absl::StatusOr<Address> address = port_->AddressOf(from);
    welcome = welcome && address.ok() && MayTalkTo(*address);
  }
  const auto packet_max = static_cast<uint32_t>(PacketMaxTo(from));
  Packet answer = {.kind = welcome ? Kind::kCookie : Kind::kRefuse,
                   .token = hello.nonce,
                   .packet_max = packet_max,
                   .window = static_cast<uint16_t>(options_.window)};
  if (welcome) answer.nonce = CookieFor(from, hello.nonce);
  if (packet_max < emulated::kPacketMin) answer.packet_max = emulated::kPacketMin;
  SendTo(from, answer);
}

void EmulatedMemory::OnRefuse(const Peer& from, const Packet& refuse) {
  PeerRecord* const record = peers_.ByWire(from);
  if (record == nullptr || record->nonce != refuse.token ||
      (record->state != PeerRecord::State::kGreeting &&
       record->state != PeerRecord::State::kConfirming)) {
    return;
  }
  EndPeer(record, PortEvent::Kind::kPeerUnreachable, ECONNREFUSED);
}

void EmulatedMemory::OnCookie(const Peer& from, const Packet& cookie) {
  PeerRecord* const record = peers_.ByWire(from);
  if (record == nullptr || record->nonce != cookie.token ||
      (record->state != PeerRecord::State::kGreeting &&
       record->state != PeerRecord::State::kConfirming)) {
    return;
  }
  record->state = PeerRecord::State::kConfirming;
  record->their_nonce = cookie.nonce;
  SendTo(from, {.kind = Kind::kConfirm,
                .token = cookie.nonce,
                .packet_max = record->packet_max,
                .nonce = record->nonce,
                .sender_index = record->number,
                .window = static_cast<uint16_t>(options_.window)});
}

void EmulatedMemory::OnConfirm(const Peer& from, const Packet& confirm, int64_t now_ns) {
  PeerRecord* record = Find(from);
  if (record != nullptr && record->state == PeerRecord::State::kUp && record->wire == from &&
      record->nonce == confirm.token && record->their_nonce == confirm.nonce) {
    return SendReady(record);
  }
  if (confirm.token != CookieFor(from, confirm.nonce)) return;
  if (record != nullptr && record->state != PeerRecord::State::kIdle) {
    if (record->state == PeerRecord::State::kUp) {
      // It has come back, or given us up and begins anew.
      EndPeer(record, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
    } else if (confirm.nonce <= record->nonce) {
      return;  // we ask as well, and ours is the greater
    }
  }
  if (record == nullptr) {
    const absl::StatusOr<Address> address = port_->AddressOf(from);
    if (!address.ok() || !MayTalkTo(*address)) return;
    record = peers_.Add(*address, from);
    if (record == nullptr) {
      SendTo(from, {.kind = Kind::kRefuse,
                    .token = confirm.nonce,
                    .packet_max = emulated::kPacketMin,
                    .window = 1});
      return;
    }
  }
  peers_.Rename(record, from);
  record->nonce = confirm.token;
  record->their_nonce = confirm.nonce;
  record->packet_max = static_cast<uint32_t>(PacketMaxTo(from));
  BeginSession(record, confirm, now_ns);
  SendReady(record);
}

void EmulatedMemory::SendReady(PeerRecord* record) {
  SendTo(record->wire, {.kind = Kind::kReady,
                        .token = record->their_nonce,
                        .index = record->their_index,
                        .packet_max = record->packet_max,
                        .nonce = record->nonce,
                        .sender_index = record->number,
                        .window = static_cast<uint16_t>(options_.window)});
}

void EmulatedMemory::OnReady(const Packet& ready, int64_t now_ns) {
  PeerRecord* const record = peers_.ByNumber(ready.index);
  if (record == nullptr || record->state != PeerRecord::State::kConfirming ||
      record->nonce != ready.token) {
    return;
  }
  record->their_nonce = ready.nonce;
  BeginSession(record, ready, now_ns);
}

void EmulatedMemory::BeginSession(PeerRecord* record, const Packet& packet, int64_t now_ns) {
  record->state = PeerRecord::State::kUp;
  record->their_index = packet.sender_index;
  ++record->sessions;
  const uint32_t window = std::min<uint32_t>(options_.window, packet.window);
  const uint32_t packet_max =
      std::max<uint32_t>(std::min(record->packet_max, packet.packet_max), emulated::kPacketMin);
  record->session.Begin({.peer = record->wire,
                         .token = record->their_nonce,
                         .index = record->their_index,
                         .packet_max = packet_max,
                         .window = std::bit_floor(window),
                         .number = record->number},
                        now_ns);
  MarkDirty(record);
}

void EmulatedMemory::EndPeer(PeerRecord* record, PortEvent::Kind kind, int error) {
  record->state = PeerRecord::State::kIdle;
  record->session.End(absl::StatusCode::kUnavailable);
  table_.RevokeAllOf(record->number);
  timers_.Cancel(record->timer);
  events_.Add({kind, record->handle(), error});
}

}  // namespace weft
