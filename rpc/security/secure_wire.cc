// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/security/secure_wire.h"

#include <cstring>

namespace weft::rpc {
namespace {

void WriteCookie(const Cookie& cookie, uint8_t* out) {
  StoreBig64(out, cookie.time_ns);
  std::memcpy(out + 8, cookie.mac.data(), cookie.mac.size());
}

Cookie ReadCookie(const uint8_t* in) {
  Cookie cookie;
  cookie.time_ns = LoadBig64(in);
  std::memcpy(cookie.mac.data(), in + 8, cookie.mac.size());
  return cookie;
}

}  // namespace

size_t HandshakePacket::Write(uint8_t* out) const {
  out[0] = kMagic;
  out[1] = static_cast<uint8_t>(type);
  out[2] = kVersion;
  out[3] = flags;
  StoreBig32(out + 4, connection);
  StoreBig64(out + 8, attempt);
  uint8_t* const rest = out + kHeadBytes;
  switch (type) {
    case Type::kInit:
      std::memset(rest, 0, kInitBytes - kHeadBytes);
      return kInitBytes;
    case Type::kCookie:
      WriteCookie(cookie, rest);
      return kCookieBytes;
    case Type::kFlight:
      StoreBig32(rest, offset);
      StoreBig32(rest + 4, acknowledged);
      WriteCookie(cookie, rest + 8);
      return kFlightHeadBytes;
    case Type::kReset:
      return kResetBytes;
    case Type::kNoKeys:
      return kNoKeysBytes;
  }
  return 0;
}

std::optional<HandshakePacket> HandshakePacket::Read(absl::Span<const uint8_t> packet) {
  if (packet.size() < kHeadBytes || packet[0] != kMagic || packet[2] != kVersion) return {};
  HandshakePacket read;
  read.type = static_cast<Type>(packet[1]);
  read.flags = packet[3];
  read.connection = LoadBig32(&packet[4]);
  read.attempt = LoadBig64(&packet[8]);
  const uint8_t* const rest = packet.data() + kHeadBytes;
  bool right = false;
  switch (read.type) {
    case Type::kInit:
      // Longer ones do no harm.
      right = packet.size() >= kInitBytes && read.flags == 0;
      break;
    case Type::kCookie:
      right = packet.size() == kCookieBytes && read.flags == kFromServer;
      if (right) read.cookie = ReadCookie(rest);
      break;
    case Type::kFlight:
      right = packet.size() >= kFlightHeadBytes;
      if (!right) break;
      read.offset = LoadBig32(rest);
      read.acknowledged = LoadBig32(rest + 4);
      read.cookie = ReadCookie(rest + 8);
      read.payload = packet.subspan(kFlightHeadBytes);
      break;
    case Type::kReset:
      right = packet.size() == kResetBytes && read.flags == kFromServer;
      break;
    case Type::kNoKeys:
      right = packet.size() == kNoKeysBytes && read.flags == kFromServer;
      break;
  }
  if (!right) return {};
  return read;
}

}  // namespace weft::rpc
