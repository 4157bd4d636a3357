// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/extended_wire.h"

#include <cstring>

namespace weft::rpc {
namespace {

constexpr uint8_t kResentFlag = 0x20;
constexpr uint8_t kEchoFlag = 0x10;
constexpr uint8_t kKnownFlags =
    internal::kFirstFlag | internal::kLastFlag | kResentFlag | kEchoFlag;

bool IsKnownType(uint8_t type) {
  return type == static_cast<uint8_t>(MessageType::kRequest) ||
         type == static_cast<uint8_t>(MessageType::kResponse) ||
         type == static_cast<uint8_t>(MessageType::kAck) ||
         type == static_cast<uint8_t>(MessageType::kDrop);
}

// What the fields of a header must have in common. A kProgress uses packet_order and the flags for
// its own ends.
bool IsConsistent(const ExtendedHeader& h) {
  if ((h.type == MessageType::kAck) != (h.kind != ControlKind::kNone)) return false;
  if (h.kind == ControlKind::kProgress) return h.first;
  if (h.packet_order == 0) return false;
  if (h.type == MessageType::kAck || h.type == MessageType::kDrop) {
    return h.first && h.last && h.packet_order == 1;
  }
  return !h.first || h.last == (h.packet_order == 1);
}

}  // namespace

bool ReadExtendedHeader(absl::Span<const uint8_t> datagram, ExtendedHeader* header) {
  if (!IsExtended(datagram)) return false;
  const uint8_t* p = datagram.data();
  const uint8_t type = p[2] >> 4;
  const uint8_t policy = p[2] & 0xF;
  const uint8_t flags = p[3];
  const uint64_t request_id = LoadBig64(p + 24);
  if (!IsKnownType(type) || policy > 3 || (flags & ~kKnownFlags) != 0 ||
      LoadBig16(p + 4) != static_cast<uint16_t>(request_id) ||
      p[42] > static_cast<uint8_t>(ControlKind::kDrain) || p[43] > kDropReasonMax) {
    return false;
  }
  const ExtendedHeader read = {.type = static_cast<MessageType>(type),
                               .policy = static_cast<Policy>(policy),
                               .first = (flags & internal::kFirstFlag) != 0,
                               .last = (flags & internal::kLastFlag) != 0,
                               .resent = (flags & kResentFlag) != 0,
                               .echo_valid = (flags & kEchoFlag) != 0,
                               .packet_order = LoadBig16(p + 6),
                               .session = LoadBig32(p + 8),
                               .from_session = LoadBig32(p + 12),
                               .key = LoadBig32(p + 16),
                               .deadline_us = LoadBig32(p + 20),
                               .request_id = request_id,
                               .timestamp = LoadBig32(p + 32),
                               .echo = LoadBig32(p + 36),
                               .credits = LoadBig16(p + 40),
                               .kind = static_cast<ControlKind>(p[42]),
                               .code = static_cast<DropReason>(p[43])};
  if (!IsConsistent(read)) return false;
  *header = read;
  return true;
}

void WriteExtendedHeader(const ExtendedHeader& h, uint8_t* out) {
  out[0] = internal::kMagic;
  out[1] = kExtendedHeaderBytes;
  out[2] = static_cast<uint8_t>(static_cast<uint8_t>(h.type) << 4 | static_cast<uint8_t>(h.policy));
  out[3] = (h.first ? internal::kFirstFlag : 0) | (h.last ? internal::kLastFlag : 0) |
           (h.resent ? kResentFlag : 0) | (h.echo_valid ? kEchoFlag : 0);
  StoreBig16(out + 4, h.slot());
  StoreBig16(out + 6, h.packet_order);
  StoreBig32(out + 8, h.session);
  StoreBig32(out + 12, h.from_session);
  StoreBig32(out + 16, h.key);
  StoreBig32(out + 20, h.deadline_us);
  StoreBig64(out + 24, h.request_id);
  StoreBig32(out + 32, h.timestamp);
  StoreBig32(out + 36, h.echo);
  StoreBig16(out + 40, h.credits);
  out[42] = static_cast<uint8_t>(h.kind);
  out[43] = static_cast<uint8_t>(h.code);
}

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

}  // namespace weft::rpc
