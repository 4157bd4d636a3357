// SPDX-License-Identifier: Apache-2.0
//
// Ethernet II headers with up to two 802.1Q tags.
//
//   0        6        12       14 (each tag: +4)
//   | dst MAC | src MAC | type  | payload
//                       | 0x8100 | PCP DEI VID | type | payload
#ifndef WEFT_NETSTACK_WIRE_ETHERNET_H_
#define WEFT_NETSTACK_WIRE_ETHERNET_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/types/span.h"
#include "weft/core/bytes.h"
#include "weft/transports/frame_port.h"

namespace weft::netstack {

inline constexpr size_t kEthernetHeaderBytes = 14;
inline constexpr size_t kVlanTagBytes = 4;

enum class EtherType : uint16_t {
  kIpv4 = 0x0800,
  kArp = 0x0806,
  kVlan = 0x8100,         // 802.1Q
  kServiceVlan = 0x88a8,  // 802.1ad, the outer of two
  kIpv6 = 0x86dd,
};

// What a frame says of itself; views do not own the frame.
class EthernetView {
 public:
  // False where the frame ends within its header.
  static bool Parse(absl::Span<const uint8_t> frame, EthernetView* view) {
    if (frame.size() < kEthernetHeaderBytes) return false;
    view->frame_ = frame.data();
    view->vlan_ = 0;
    view->tags_ = 0;
    size_t at = kEthernetHeaderBytes;
    auto type = static_cast<EtherType>(LoadBig16(frame.data() + 12));
    while (type == EtherType::kVlan || type == EtherType::kServiceVlan) {
      if (++view->tags_ > 2 || frame.size() < at + kVlanTagBytes) return false;
      const uint16_t vlan = LoadBig16(frame.data() + at) & 0xfff;
      // The innermost one counts; VLAN 0 is a priority alone (802.1Q 9.6).
      if (vlan != 0) view->vlan_ = vlan;
      type = static_cast<EtherType>(LoadBig16(frame.data() + at + 2));
      at += kVlanTagBytes;
    }
    view->type_ = type;
    view->header_bytes_ = at;
    return true;
  }

  const uint8_t* destination() const { return frame_; }
  const uint8_t* source() const { return frame_ + 6; }
  MacAddress source_mac() const {
    MacAddress mac;
    std::memcpy(mac.data(), frame_ + 6, 6);
    return mac;
  }
  bool to_group() const { return (frame_[0] & 1) != 0; }
  EtherType type() const { return type_; }
  uint16_t vlan() const { return vlan_; }  // 0: none
  int tags() const { return tags_; }
  size_t header_bytes() const { return header_bytes_; }

 private:
  const uint8_t* frame_ = nullptr;
  EtherType type_ = {};
  uint16_t vlan_ = 0;
  int tags_ = 0;
  size_t header_bytes_ = 0;
};

// Bytes of the header that WriteEthernet() writes.
constexpr size_t EthernetHeaderBytes(uint16_t vlan) {
  return kEthernetHeaderBytes + (vlan == 0 ? 0 : kVlanTagBytes);
}

inline void WriteEthernet(uint8_t* to, const MacAddress& destination, const MacAddress& source,
                          uint16_t vlan, EtherType type) {
  std::memcpy(to, destination.data(), 6);
  std::memcpy(to + 6, source.data(), 6);
  if (vlan != 0) {
    StoreBig16(to + 12, static_cast<uint16_t>(EtherType::kVlan));
    StoreBig16(to + 14, vlan);
    to += kVlanTagBytes;
  }
  StoreBig16(to + 12, static_cast<uint16_t>(type));
}

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_WIRE_ETHERNET_H_
