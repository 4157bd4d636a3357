// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/remote_memory/wire.h"

#include <cstring>

#include "weft/core/bytes.h"
#include "weft/core/crc32c.h"

namespace weft::emulated {
namespace {

constexpr uint16_t kMagic = 0x574d;  // "WM"
constexpr size_t kChecksumOffset = 4;

// The checksum is of everything but itself.
uint32_t ChecksumOf(absl::Span<const uint8_t> bytes) {
  return ExtendCrc32c(Crc32c(bytes.subspan(0, kChecksumOffset)),
                      bytes.subspan(kChecksumOffset + 4));
}

size_t HeaderOf(Kind kind) {
  switch (kind) {
    case Kind::kRequest:
      return kRequestHeaderBytes;
    case Kind::kResponse:
      return kResponseHeaderBytes;
    case Kind::kAck:
    case Kind::kReset:
    case Kind::kBye:
      return kHeaderBytes;
    default:
      return kHandshakeBytes;
  }
}

bool IsAtomic(Action action) {
  return action == Action::kCompareSwap || action == Action::kFetchAdd;
}

bool ParseRequest(const uint8_t* p, Packet* packet) {
  packet->answered_below = LoadBig32(p + 24);
  packet->key.index = LoadBig32(p + 28);
  packet->key.secret = {LoadBig64(p + 32), LoadBig64(p + 40)};
  if (p[48] > static_cast<uint8_t>(Action::kFetchAdd)) return false;
  packet->action = static_cast<Action>(p[48]);
  packet->piece_bytes = LoadBig32(p + 52);
  packet->offset = LoadBig64(p + 56);
  packet->bytes = LoadBig32(p + 64);
  packet->piece_offset = LoadBig32(p + 68);
  // The piece is within the operation, and the operation does not wrap around.
  if (packet->piece_offset > packet->bytes ||
      packet->piece_bytes > packet->bytes - packet->piece_offset ||
      packet->offset > UINT64_MAX - packet->bytes) {
    return false;
  }
  if (!IsAtomic(packet->action)) {
    return packet->data.size() ==
           (packet->action == Action::kWrite ? packet->piece_bytes : size_t{0});
  }
  if (packet->data.size() != kOperandsBytes || packet->bytes != 8 || packet->piece_bytes != 8) {
    return false;
  }
  packet->compare = LoadBig64(packet->data.data());
  packet->operand = LoadBig64(packet->data.data() + 8);
  return true;
}

void StoreHandshake(const Packet& packet, uint8_t* p) {
  StoreBig32(p + 20, packet.packet_max);
  StoreBig64(p + 24, packet.nonce);
  StoreBig32(p + 32, packet.sender_index);
  StoreBig16(p + 36, packet.window);
  StoreBig16(p + 38, 0);
}

void StoreRequest(const Packet& packet, uint8_t* p) {
  StoreBig32(p + 24, packet.answered_below);
  StoreBig32(p + 28, packet.key.index);
  StoreBig64(p + 32, packet.key.secret[0]);
  StoreBig64(p + 40, packet.key.secret[1]);
  StoreBig32(p + 48, uint32_t{static_cast<uint8_t>(packet.action)} << 24);
  StoreBig32(p + 52, packet.piece_bytes);
  StoreBig64(p + 56, packet.offset);
  StoreBig32(p + 64, packet.bytes);
  StoreBig32(p + 68, packet.piece_offset);
}

}  // namespace

bool Parse(absl::Span<const uint8_t> bytes, Packet* packet) {
  if (bytes.size() < kHeaderBytes) return false;
  const uint8_t* const p = bytes.data();
  if (LoadBig16(p) != kMagic || p[2] != kVersion) return false;
  if (p[3] < static_cast<uint8_t>(Kind::kHello) || p[3] > static_cast<uint8_t>(Kind::kBye)) {
    return false;
  }
  packet->kind = static_cast<Kind>(p[3]);
  const size_t header = HeaderOf(packet->kind);
  if (bytes.size() < header || LoadBig32(p + kChecksumOffset) != ChecksumOf(bytes)) return false;
  packet->token = LoadBig64(p + 8);
  packet->index = LoadBig32(p + 16);
  packet->sequence = LoadBig32(p + 20);
  packet->data = bytes.subspan(header);
  if (packet->kind == Kind::kRequest) return ParseRequest(p, packet);
  if (packet->kind == Kind::kResponse) {
    if (p[24] > static_cast<uint8_t>(Result::kCrooked)) return false;
    packet->result = static_cast<Result>(p[24]);
    return true;
  }
  if (!packet->data.empty()) return false;
  if (header == kHeaderBytes) return true;
  packet->packet_max = packet->sequence;
  packet->nonce = LoadBig64(p + 24);
  packet->sender_index = LoadBig32(p + 32);
  packet->window = LoadBig16(p + 36);
  return packet->packet_max >= kPacketMin && packet->window > 0;
}

void Append(const Packet& packet, Buffer* buffer) {
  const size_t header = HeaderOf(packet.kind);
  const bool atomic = packet.kind == Kind::kRequest && IsAtomic(packet.action);
  const size_t data = atomic ? kOperandsBytes : packet.data.size();
  uint8_t* const p = buffer->Append(header + data);
  StoreBig16(p, kMagic);
  p[2] = kVersion;
  p[3] = static_cast<uint8_t>(packet.kind);
  StoreBig64(p + 8, packet.token);
  StoreBig32(p + 16, packet.index);
  StoreBig32(p + 20, packet.sequence);
  if (packet.kind == Kind::kRequest) {
    StoreRequest(packet, p);
  } else if (packet.kind == Kind::kResponse) {
    StoreBig64(p + 24, uint64_t{static_cast<uint8_t>(packet.result)} << 56);
  } else if (header == kHandshakeBytes) {
    StoreHandshake(packet, p);
  }
  if (atomic) {
    StoreBig64(p + header, packet.compare);
    StoreBig64(p + header + 8, packet.operand);
  } else if (packet.data.data() != nullptr) {
    std::memcpy(p + header, packet.data.data(), data);
  } else if (data > 0) {
    return;
  }
  Seal(buffer);
}

absl::Span<uint8_t> DataOf(Buffer& buffer) {
  return buffer.bytes().subspan(HeaderOf(static_cast<Kind>(buffer.data()[3])));
}

void Seal(Buffer* buffer) {
  StoreBig32(buffer->data() + kChecksumOffset, ChecksumOf(buffer->bytes()));
}

}  // namespace weft::emulated
