// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/rendezvous_wire.h"

#include <algorithm>

#include "absl/status/status.h"
#include "weft/core/bytes.h"

namespace weft::rdma {
namespace {

constexpr uint32_t kMagic = 0x57524456;  // "WRDV"
constexpr uint8_t kVersion = 2;
constexpr size_t kMaxNameBytes = 64;
constexpr uint32_t kMax24 = 0xffffff;

// How an asker's address is told: not at all, by its port, or by its name.
enum : uint8_t { kSendersOwn = 0, kPort = 1, kName = 2 };

// What an offer is about: a new connection, one that there is, or what is lent and not used there.
enum : uint8_t { kBegins = 0, kResumes = 1, kRecalls = 2 };

absl::Span<const uint8_t> BytesOf(const std::string& text, size_t limit) {
  return {reinterpret_cast<const uint8_t*>(text.data()), std::min(text.size(), limit)};
}

void WriteOffer(const Offer& offer, ByteWriter* out) {
  out->WriteBytes(offer.queue.gid.bytes);
  out->WriteU16(offer.queue.lid);
  out->WriteU16(offer.queue.path_mtu_bytes);
  out->WriteU32(offer.queue.qpn);
  out->WriteU32(offer.queue.qkey);
  out->WriteU32(uint32_t{offer.queue.reads_in_flight} << 24 | (offer.queue.psn & kMax24));
  out->WriteU16(offer.path_mtu_bytes);
  out->WriteU32(offer.peer_number);
  out->WriteU32(offer.credits);
  out->WriteU32(offer.sequence);
  out->WriteU8(offer.recalls ? kRecalls : offer.resumes ? kResumes : kBegins);
}

bool ReadOffer(ByteReader* in, Offer* offer) {
  absl::Span<const uint8_t> gid;
  if (!in->ReadBytes(offer->queue.gid.bytes.size(), &gid)) return false;
  std::copy(gid.begin(), gid.end(), offer->queue.gid.bytes.begin());
  in->ReadU16(&offer->queue.lid);
  in->ReadU16(&offer->queue.path_mtu_bytes);
  in->ReadU32(&offer->queue.qpn);
  in->ReadU32(&offer->queue.qkey);
  uint32_t reads_and_psn = 0;
  in->ReadU32(&reads_and_psn);
  offer->queue.reads_in_flight = static_cast<uint8_t>(reads_and_psn >> 24);
  offer->queue.psn = reads_and_psn & kMax24;
  in->ReadU16(&offer->path_mtu_bytes);
  in->ReadU32(&offer->peer_number);
  in->ReadU32(&offer->credits);
  in->ReadU32(&offer->sequence);
  uint8_t manner = 0;
  in->ReadU8(&manner);
  offer->resumes = manner >= kResumes;
  offer->recalls = manner == kRecalls;
  return in->ok() && manner <= kRecalls && offer->queue.qpn <= kMax24;
}

void WriteAddress(const Address& address, ByteWriter* out) {
  if (address.is_ip()) {
    out->WriteU8(kPort);
    out->WriteU16(address.port());
  } else if (address.kind() == Address::Kind::kSim) {
    out->WriteU8(kName);
    out->WriteU8(static_cast<uint8_t>(address.name().size()));
    out->WriteBytes(BytesOf(address.name(), kMaxNameBytes));
  } else {
    out->WriteU8(kSendersOwn);
  }
}

bool ReadName(ByteReader* in, std::string* name) {
  uint8_t size = 0;
  absl::Span<const uint8_t> bytes;
  if (!in->ReadU8(&size) || !in->ReadBytes(size, &bytes)) return false;
  name->assign(bytes.begin(), bytes.end());
  return std::all_of(name->begin(), name->end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

bool ReadAddress(const Address& from, ByteReader* in, Address* address) {
  uint8_t form = 0;
  if (!in->ReadU8(&form)) return false;
  if (form == kSendersOwn) return true;
  if (form == kPort) {
    uint16_t port = 0;
    if (!in->ReadU16(&port) || port == 0 || !from.is_ip()) return false;
    *address = from.kind() == Address::Kind::kIpv4 ? Address::Ipv4(from.ipv4(), port)
                                                   : Address::Ipv6(from.ipv6(), port, from.scope());
    return true;
  }
  std::string name;
  if (form != kName || from.kind() != Address::Kind::kSim || !ReadName(in, &name)) return false;
  const absl::StatusOr<Address> parsed = Address::Parse("sim:" + name);
  if (parsed.ok()) *address = *parsed;
  return parsed.ok();
}

}  // namespace

size_t WriteRendezvous(const RendezvousMessage& message, absl::Span<uint8_t> out) {
  using Kind = RendezvousMessage::Kind;
  ByteWriter writer(out);
  writer.WriteU32(kMagic);
  writer.WriteU8(kVersion);
  writer.WriteU8(static_cast<uint8_t>(message.kind));
  writer.WriteU8(static_cast<uint8_t>(message.offer.service));
  writer.WriteU8(message.offer.worker);
  writer.WriteU64(message.id);
  writer.WriteU64(message.offer.incarnation);
  if (message.kind == Kind::kAsk || message.kind == Kind::kAnswer) {
    WriteOffer(message.offer, &writer);
  }
  if (message.kind == Kind::kAsk) WriteAddress(message.asked_from, &writer);
  if (message.kind == Kind::kRefuse) {
    const auto reason = BytesOf(message.reason, RendezvousMessage::kMaxReasonBytes);
    writer.WriteU8(message.code);
    writer.WriteU8(static_cast<uint8_t>(reason.size()));
    writer.WriteBytes(reason);
  }
  return writer.written();
}

std::optional<RendezvousMessage> ParseRendezvous(absl::Span<const uint8_t> bytes,
                                                 const Address& from) {
  using Kind = RendezvousMessage::Kind;
  ByteReader in(bytes);
  RendezvousMessage message;
  uint32_t magic = 0;
  uint8_t version = 0, kind = 0, service = 0;
  in.ReadU32(&magic);
  in.ReadU8(&version);
  in.ReadU8(&kind);
  in.ReadU8(&service);
  in.ReadU8(&message.offer.worker);
  in.ReadU64(&message.id);
  in.ReadU64(&message.offer.incarnation);
  if (!in.ok() || magic != kMagic || version != kVersion || service >= kServices ||
      message.offer.incarnation == 0) {
    return std::nullopt;
  }
  message.kind = static_cast<Kind>(kind);
  message.offer.service = static_cast<Offer::Service>(service);
  bool good = false;
  switch (message.kind) {
    case Kind::kAsk:
      good = ReadOffer(&in, &message.offer) && ReadAddress(from, &in, &message.asked_from);
      break;
    case Kind::kAnswer:
      good = ReadOffer(&in, &message.offer);
      break;
    case Kind::kRefuse:
      good = in.ReadU8(&message.code) && message.code != 0 &&
             message.code <= static_cast<uint8_t>(absl::StatusCode::kUnauthenticated) &&
             ReadName(&in, &message.reason);
      break;
    case Kind::kBye:
      good = true;
      break;
  }
  if (!good || in.remaining() != 0) return std::nullopt;
  return message;
}

}  // namespace weft::rdma
