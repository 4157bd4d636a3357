// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/route_wire.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace weft::r2p2 {
namespace {

constexpr uint8_t kIpv4 = 4;
constexpr uint8_t kIpv6 = 6;
constexpr uint8_t kShm = 's';
constexpr uint8_t kSim = 'm';
constexpr uint64_t kFnvOffset = 0xcbf29ce484222325;
constexpr uint64_t kFnvPrime = 0x100000001b3;

// The form of an address in packets: kind (1 byte), length of the name (1), port (2), then 4 bytes
// of IPv4, 16 of IPv6, or the name.
constexpr size_t kAddressHeadBytes = 4;

size_t AddressBytes(const Address& address) {
  switch (address.kind()) {
    case Address::Kind::kNone:
      return kAddressHeadBytes;
    case Address::Kind::kIpv4:
      return kAddressHeadBytes + 4;
    case Address::Kind::kIpv6:
      return kAddressHeadBytes + 16;
    case Address::Kind::kShm:
    case Address::Kind::kSim:
      return kAddressHeadBytes + address.name().size();
  }
  return kAddressHeadBytes;
}

void WriteAddress(const Address& address, uint8_t* out) {
  out[0] = 0;
  out[1] = static_cast<uint8_t>(address.name().size());
  StoreBig16(out + 2, address.port());
  uint8_t* const rest = out + kAddressHeadBytes;
  switch (address.kind()) {
    case Address::Kind::kNone:
      return;
    case Address::Kind::kIpv4: {
      out[0] = kIpv4;
      const Address::Ipv4Bytes ip = address.ipv4();
      std::memcpy(rest, ip.data(), ip.size());
      return;
    }
    case Address::Kind::kIpv6:
      out[0] = kIpv6;
      std::memcpy(rest, address.ipv6().data(), address.ipv6().size());
      return;
    case Address::Kind::kShm:
    case Address::Kind::kSim:
      out[0] = address.kind() == Address::Kind::kShm ? kShm : kSim;
      std::memcpy(rest, address.name().data(), address.name().size());
  }
}

// Returns the bytes that the address takes; 0 if it is none.
size_t ReadAddress(absl::Span<const uint8_t> bytes, Address* address) {
  if (bytes.size() < kAddressHeadBytes) return 0;
  const uint8_t kind = bytes[0];
  const size_t name_bytes = bytes[1];
  const uint16_t port = LoadBig16(&bytes[2]);
  const absl::Span<const uint8_t> rest = bytes.subspan(kAddressHeadBytes);
  if (kind == 0 && name_bytes == 0 && port == 0) {
    *address = Address();
    return kAddressHeadBytes;
  }
  if (kind == kIpv4 && name_bytes == 0 && rest.size() >= 4 && port != 0) {
    *address = Address::Ipv4({rest[0], rest[1], rest[2], rest[3]}, port);
    return kAddressHeadBytes + 4;
  }
  if (kind == kIpv6 && name_bytes == 0 && rest.size() >= 16 && port != 0) {
    Address::Ipv6Bytes ip;
    std::memcpy(ip.data(), rest.data(), ip.size());
    *address = Address::Ipv6(ip, port);
    return kAddressHeadBytes + 16;
  }
  if ((kind != kShm && kind != kSim) || port != 0 || rest.size() < name_bytes) return 0;
  // Names have rules, which only Parse() knows.
  const std::string text = std::string(kind == kShm ? "shm:" : "sim:") +
                           std::string(reinterpret_cast<const char*>(rest.data()), name_bytes);
  absl::StatusOr<Address> parsed = Address::Parse(text);
  if (!parsed.ok()) return 0;
  *address = *std::move(parsed);
  return kAddressHeadBytes + name_bytes;
}

}  // namespace

uint64_t ClientIdOf(const Address& address) {
  if (address.is_ip()) {
    // As the ports make it.
    Peer peer;
    uint8_t ip[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (address.kind() == Address::Kind::kIpv4) {
      const Address::Ipv4Bytes v4 = address.ipv4();
      std::memcpy(ip + 12, v4.data(), v4.size());
    } else {
      std::memcpy(ip, address.ipv6().data(), sizeof(ip));
    }
    std::memcpy(peer.words, ip, sizeof(ip));
    uint8_t port[2];
    StoreBig16(port, address.port());
    uint16_t stored;
    std::memcpy(&stored, port, sizeof(stored));
    peer.words[2] = stored | uint64_t{address.scope()} << 32;
    return ClientIdOf(peer);
  }
  uint64_t hash = kFnvOffset ^ static_cast<uint64_t>(address.kind());
  for (const char c : address.name()) hash = (hash ^ static_cast<uint8_t>(c)) * kFnvPrime;
  return internal::Mix(hash);
}

size_t RouteBytes(const Address& client) { return kHeaderBytes + AddressBytes(client); }

void WriteRoute(const Address& client, absl::Span<const uint8_t> datagram, uint8_t* out) {
  std::memcpy(out, datagram.data(), kHeaderBytes);
  out[1] = static_cast<uint8_t>(RouteBytes(client));
  out[3] |= kRoutedFlag;
  WriteAddress(client, out + kHeaderBytes);
}

size_t ReadRoute(absl::Span<const uint8_t> datagram, Address* client) {
  if (!IsRouted(datagram)) return 0;
  const size_t bytes = datagram[1];
  if (bytes < kRouteBytesMin || bytes > kRouteBytesMax || datagram.size() < bytes + kHeaderBytes) {
    return 0;
  }
  const size_t address = ReadAddress(datagram.subspan(kHeaderBytes, bytes - kHeaderBytes), client);
  return address == bytes - kHeaderBytes && client->kind() != Address::Kind::kNone ? bytes : 0;
}

bool ReadAnycast(absl::Span<const uint8_t> datagram, ExtendedHeader* header, Anycast* anycast) {
  if (!IsAnycast(datagram)) return false;
  // The fields are those of the extended header but for its size.
  uint8_t plain[kExtendedHeaderBytes];
  std::memcpy(plain, datagram.data(), kExtendedHeaderBytes);
  plain[1] = kExtendedHeaderBytes;
  if (!ReadExtendedHeader(plain, header)) return false;
  // Whoever is picked could not fetch what was announced to nobody.
  if (header->kind == ControlKind::kAnnouncement) return false;
  if ((header->type != MessageType::kRequest && header->kind != ControlKind::kCancel) ||
      header->session != 0 || header->key != 0 || header->from_session == 0 || !header->first ||
      header->request_id >> 16 == 0) {
    return false;
  }
  const uint8_t* const more = datagram.data() + kExtendedHeaderBytes;
  *anycast = {LoadBig64(more), LoadBig64(more + 8), LoadBig32(more + 16)};
  return true;
}

void WriteAnycast(const ExtendedHeader& header, const Anycast& anycast, uint8_t* out) {
  WriteExtendedHeader(header, out);
  out[1] = kAnycastHeaderBytes;
  StoreBig64(out + kExtendedHeaderBytes, anycast.incarnation);
  StoreBig64(out + kExtendedHeaderBytes + 8, anycast.affinity);
  StoreBig32(out + kExtendedHeaderBytes + 16, anycast.age_us);
}

void WriteFeedbackBatch(const FeedbackBatch& batch, uint8_t* out) {
  WriteHeader({.type = MessageType::kFeedback,
               .first = true,
               .last = true,
               .packet_order = static_cast<uint16_t>(batch.count)},
              out);
  out[1] = kFeedbackBatchHeaderBytes;
  StoreBig64(out + 8, batch.incarnation);
  StoreBig64(out + 16, batch.first);
}

bool ReadFeedbackBatch(absl::Span<const uint8_t> datagram, FeedbackBatch* batch) {
  if (!IsFeedbackBatch(datagram)) return false;
  const size_t count = LoadBig16(&datagram[6]);
  if (count == 0 || count > kFeedbackEntriesMax ||
      datagram.size() != kFeedbackBatchHeaderBytes + count * kFeedbackEntryBytes) {
    return false;
  }
  *batch = {LoadBig64(&datagram[8]), LoadBig64(&datagram[16]), count};
  return true;
}

size_t WriteMembership(const Membership& membership, uint8_t* out) {
  StoreBig64(out, membership.incarnation);
  StoreBig16(out + 8, membership.slots);
  StoreBig16(out + 10, membership.weight);
  StoreBig32(out + 12, membership.keepalive_us);
  WriteAddress(membership.address, out + 16);
  return 16 + AddressBytes(membership.address);
}

bool ReadMembership(absl::Span<const uint8_t> body, Membership* membership) {
  if (body.size() < 16 + kAddressHeadBytes) return false;
  Membership read = {.incarnation = LoadBig64(&body[0]),
                     .slots = LoadBig16(&body[8]),
                     .weight = LoadBig16(&body[10]),
                     .keepalive_us = LoadBig32(&body[12]),
                     .address = {}};
  if (read.weight == 0 || read.keepalive_us == 0) return false;
  if (ReadAddress(body.subspan(16), &read.address) == 0) return false;
  *membership = std::move(read);
  return true;
}

void WriteMembershipAck(const MembershipAck& ack, uint8_t* out) {
  StoreBig64(out, ack.incarnation);
  StoreBig64(out + 8, ack.server);
  StoreBig32(out + 16, ack.outstanding);
  StoreBig32(out + 20, ack.keepalive_us);
}

bool ReadMembershipAck(absl::Span<const uint8_t> body, MembershipAck* ack) {
  if (body.size() < kMembershipAckBytes) return false;
  *ack = {LoadBig64(&body[0]), LoadBig64(&body[8]), LoadBig32(&body[16]), LoadBig32(&body[20])};
  return true;
}

}  // namespace weft::r2p2
