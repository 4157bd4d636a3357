// SPDX-License-Identifier: Apache-2.0
//
// ARP for IPv4 over Ethernet (RFC 826).
#ifndef WEFT_NETSTACK_WIRE_ARP_H_
#define WEFT_NETSTACK_WIRE_ARP_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/netstack/ip_address.h"

namespace weft::netstack {

inline constexpr size_t kArpBytes = 28;

struct Arp {
  enum class Operation : uint16_t { kRequest = 1, kReply = 2 };
  Operation operation = Operation::kRequest;
  MacAddress sender_mac = {};
  IpAddress sender;
  MacAddress target_mac = {};
  IpAddress target;

  // False for what is too short, or not about IPv4 over Ethernet, or neither request nor reply.
  static bool Parse(absl::Span<const uint8_t> bytes, Arp* arp) {
    static constexpr uint8_t kFixed[6] = {0, 1, 0x08, 0, 6, 4};
    if (bytes.size() < kArpBytes || std::memcmp(bytes.data(), kFixed, sizeof(kFixed)) != 0) {
      return false;
    }
    const uint8_t* p = bytes.data();
    const uint16_t operation = LoadBig16(p + 6);
    if (operation != 1 && operation != 2) return false;
    arp->operation = static_cast<Operation>(operation);
    std::memcpy(arp->sender_mac.data(), p + 8, 6);
    arp->sender = IpAddress::V4(p + 14);
    std::memcpy(arp->target_mac.data(), p + 18, 6);
    arp->target = IpAddress::V4(p + 24);
    return true;
  }

  // 28 bytes.
  void Write(uint8_t* to) const {
    static constexpr uint8_t kFixed[6] = {0, 1, 0x08, 0, 6, 4};
    std::memcpy(to, kFixed, sizeof(kFixed));
    StoreBig16(to + 6, static_cast<uint16_t>(operation));
    std::memcpy(to + 8, sender_mac.data(), 6);
    std::memcpy(to + 14, sender.bytes() + 12, 4);
    std::memcpy(to + 18, target_mac.data(), 6);
    std::memcpy(to + 24, target.bytes() + 12, 4);
  }
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_ARP_H_
