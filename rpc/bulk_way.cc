// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/bulk_way.h"

#include <cassert>
#include <cstring>

namespace weft::rpc {

BulkWay::BulkWay(DatagramPort& port) {
  const size_t min_bytes = port.capabilities().bulk_min_bytes;
  if (min_bytes == 0 || port.bulk() == nullptr) return;
  bulk_ = port.bulk();
  min_bytes_ = min_bytes;
}

Buffer BulkWay::CopyOf(absl::Span<const uint8_t> bytes) {
  Buffer buffer = Allocate(bytes.size());
  if (buffer) std::memcpy(buffer.Append(bytes.size()), bytes.data(), bytes.size());
  return buffer;
}

bool BulkWay::Fetch(const Peer& peer, const Announcement& announcement, uint64_t context) {
  if (!announcement.fetchable || !MayFetch(announcement.bytes)) return false;
  // Whatever this side's least is: it is the sender's that counts.
  Buffer room = bulk_->Allocate(announcement.bytes);
  if (!room || !bulk_->Fetch(peer, {announcement.key}, announcement.bytes, room, context)) {
    return false;
  }
  ++fetching_;
  return true;
}

AnnouncedMessage::~AnnouncedMessage() { assert(!active()); }

bool AnnouncedMessage::Begin(BulkWay& way, Payload& payload) {
  assert(!active());
  Buffer buffer = payload.TakeBuffer();
  if (!buffer) return false;
  if (!way.Suits(buffer)) {
    payload = Payload(std::move(buffer));
    return false;
  }
  buffer_ = std::move(buffer);
  return true;
}

bool AnnouncedMessage::Expose(BulkWay& way, const Peer& peer) {
  assert(active());
  if (exposed() && way.bulk_->IsExposed(*key_)) return false;
  Conceal(way);
  key_ = way.bulk_->Expose(peer, buffer_);
  way.exposed_ += exposed();
  return exposed();
}

size_t AnnouncedMessage::WriteBody(uint8_t* out) const {
  Announcement announcement = {.bytes = buffer_.size(), .fetchable = exposed()};
  if (exposed()) announcement.key = key_->bytes;
  return WriteAnnouncement(announcement, out);
}

Payload AnnouncedMessage::End(BulkWay& way) {
  Conceal(way);
  return Payload(std::move(buffer_));
}

void AnnouncedMessage::Conceal(BulkWay& way) {
  if (!exposed()) return;
  way.bulk_->Conceal(*key_);
  key_.reset();
  --way.exposed_;
}

}  // namespace weft::rpc
