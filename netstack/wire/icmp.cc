// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/wire/icmp.h"

namespace weft::netstack {
namespace {

constexpr size_t kFixedBytes = 24;
constexpr uint8_t kSourceOption = 1;
constexpr uint8_t kTargetOption = 2;
constexpr uint8_t kRouterFlag = 0x80;
constexpr uint8_t kSolicitedFlag = 0x40;
constexpr uint8_t kOverrideFlag = 0x20;

}  // namespace

bool NeighborMessage::Parse(absl::Span<const uint8_t> bytes, NeighborMessage* message) {
  if (bytes.size() < kFixedBytes || bytes[1] != 0) return false;
  const auto type = static_cast<Icmpv6Type>(bytes[0]);
  *message = {};
  message->advertisement = type == Icmpv6Type::kNeighborAdvertisement;
  if (!message->advertisement && type != Icmpv6Type::kNeighborSolicitation) return false;
  // A solicitation has reserved bits there, which are to be ignored.
  const uint8_t flags = message->advertisement ? bytes[4] : 0;
  message->router = (flags & kRouterFlag) != 0;
  message->solicited = (flags & kSolicitedFlag) != 0;
  message->override = (flags & kOverrideFlag) != 0;
  message->target = IpAddress::V6(bytes.data() + 8);
  if (message->target.is_multicast() || message->target.is_v4()) return false;
  const uint8_t wanted = message->advertisement ? kTargetOption : kSourceOption;
  for (absl::Span<const uint8_t> options = bytes.subspan(kFixedBytes); !options.empty();) {
    if (options.size() < 8) return false;
    const size_t length = size_t{options[1]} * 8;
    if (length == 0 || length > options.size()) return false;
    if (options[0] == wanted && length == 8) {
      message->has_mac = true;
      std::memcpy(message->mac.data(), options.data() + 2, 6);
    }
    options.remove_prefix(length);
  }
  return true;
}

size_t NeighborMessage::Write(uint8_t* to) const {
  const auto type =
      advertisement ? Icmpv6Type::kNeighborAdvertisement : Icmpv6Type::kNeighborSolicitation;
  const uint8_t flags =
      static_cast<uint8_t>((router ? kRouterFlag : 0) | (solicited ? kSolicitedFlag : 0) |
                           (override ? kOverrideFlag : 0));
  WriteIcmp(to, static_cast<uint8_t>(type), 0, uint32_t{flags} << 24);
  std::memcpy(to + 8, target.bytes(), 16);
  if (!has_mac) return kFixedBytes;
  to[kFixedBytes] = advertisement ? kTargetOption : kSourceOption;
  to[kFixedBytes + 1] = 1;
  std::memcpy(to + kFixedBytes + 2, mac.data(), 6);
  return kFixedBytes + 8;
}

}  // namespace weft::netstack
