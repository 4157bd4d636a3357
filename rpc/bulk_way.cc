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
  if (!exists() || announcement.bytes > bulk_->max_bytes()) return false;
  // Whatever this side's least is: it is the sender's that counts.
  Buffer room = bulk_->Allocate(announcement.bytes);
  if (!room || !bulk_->Fetch(peer, {announcement.key}, announcement.bytes, room, context)) {
    return false;
  }
  ++fetching_;
  return true;
}

AnnouncedMessage::~AnnouncedMessage() { assert(!active()); }

bool AnnouncedMessage::Begin(BulkWay& way, const Peer& peer, Payload& payload) {
  assert(!active());
  Buffer buffer = payload.TakeBuffer();
  if (!buffer) return false;
  std::optional<BulkKey> key;
  if (way.Suits(buffer)) key = way.bulk_->Expose(peer, buffer);
  if (!key.has_value()) {
    payload = Payload(std::move(buffer));
    return false;
  }
  key_ = *key;
  buffer_ = std::move(buffer);
  return true;
}

std::array<uint8_t, kAnnouncementBytes> AnnouncedMessage::body() const {
  std::array<uint8_t, kAnnouncementBytes> body;
  WriteAnnouncement({.bytes = buffer_.size(), .key = key_.bytes}, body.data());
  return body;
}

Payload AnnouncedMessage::End(BulkWay& way) {
  if (active()) way.bulk_->Conceal(key_);
  return Payload(std::move(buffer_));
}

}  // namespace weft::rpc
