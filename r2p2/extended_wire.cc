// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/extended_wire.h"

#include <cstring>

namespace weft::r2p2 {
namespace internal {

bool IsConsistent(const ExtendedHeader& h) {
  if (h.kind == ControlKind::kAnnouncement) {
    // A message of one packet is not worth it.
    return (h.type == MessageType::kRequest || h.type == MessageType::kResponse) && h.first &&
           !h.last && h.packet_order > 1;
  }
  if ((h.type == MessageType::kAck) != (h.kind != ControlKind::kNone)) return false;
  // It uses packet_order and the flags for its own ends.
  if (h.kind == ControlKind::kProgress) return h.first;
  if (h.packet_order == 0) return false;
  if (h.type == MessageType::kAck || h.type == MessageType::kDrop) {
    return h.first && h.last && h.packet_order == 1;
  }
  return !h.first || h.last == (h.packet_order == 1);
}

}  // namespace internal

void WriteHello(const Hello& hello, uint8_t* out) {
  StoreBig16(out, hello.version);
  StoreBig16(out + 2, hello.slots);
  StoreBig32(out + 4, hello.packet_bytes);
  StoreBig64(out + 8, hello.incarnation);
  StoreBig32(out + 16, hello.timeout_us);
  StoreBig32(out + 20, hello.key);
}

bool ReadHello(absl::Span<const uint8_t> body, Hello* hello) {
  if (body.size() < kHelloBytes) return false;
  const Hello read = {.version = LoadBig16(&body[0]),
                      .slots = LoadBig16(&body[2]),
                      .packet_bytes = LoadBig32(&body[4]),
                      .incarnation = LoadBig64(&body[8]),
                      .timeout_us = LoadBig32(&body[16]),
                      .key = LoadBig32(&body[20])};
  if (read.version == 0 || read.slots == 0 || read.packet_bytes < kExtendedPacketBytesMin ||
      read.timeout_us == 0) {
    return false;
  }
  *hello = read;
  return true;
}

size_t WriteAnnouncement(const Announcement& announcement, uint8_t* out) {
  StoreBig64(out, announcement.bytes);
  if (!announcement.fetchable) return kKeylessAnnouncementBytes;
  std::memcpy(out + kKeylessAnnouncementBytes, announcement.key.data(), announcement.key.size());
  return kAnnouncementBytes;
}

bool ReadAnnouncement(absl::Span<const uint8_t> body, Announcement* announcement) {
  announcement->fetchable = body.size() >= kAnnouncementBytes;
  if (!announcement->fetchable && body.size() != kKeylessAnnouncementBytes) return false;
  announcement->bytes = LoadBig64(body.data());
  if (announcement->bytes == 0) return false;
  if (!announcement->fetchable) {
    announcement->key = {};
    return true;
  }
  std::memcpy(announcement->key.data(), &body[kKeylessAnnouncementBytes], announcement->key.size());
  return true;
}

size_t WriteProgress(const Progress& progress, uint8_t* out) {
  StoreBig16(out, progress.granted);
  StoreBig16(out + 2, progress.bits);
  const size_t bytes = (progress.bits + 7u) / 8;
  if (bytes > 0) std::memcpy(out + 4, progress.bitmap.data(), bytes);
  return 4 + bytes;
}

bool ReadProgress(absl::Span<const uint8_t> body, Progress* progress) {
  if (body.size() < 4) return false;
  const uint16_t bits = LoadBig16(&body[2]);
  const size_t bytes = (bits + 7u) / 8;
  if (bits > Progress::kBitsMax || body.size() < 4 + bytes) return false;
  *progress = {.granted = LoadBig16(body.data()), .bits = bits, .bitmap = body.subspan(4, bytes)};
  return true;
}

}  // namespace weft::r2p2
