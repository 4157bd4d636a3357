// SPDX-License-Identifier: Apache-2.0
//
// TCP and UDP packets for tests of devices, which need not be what a stack would send: from
// 10.0.0.1 or fd00::1 to 10.0.0.2 or fd00::2.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_PACKET_H_
#define WEFT_TRANSPORTS_CONFORMANCE_PACKET_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "weft/core/buffer.h"
#include "weft/core/bytes.h"

namespace weft {

constexpr uint8_t kProtocolTcp = 6;
constexpr uint8_t kProtocolUdp = 17;

struct Packet {
  bool ipv4 = true;
  uint8_t protocol = kProtocolUdp;
  uint16_t source_port = 4000;
  uint16_t destination_port = 5000;
  std::string payload = "";

  static constexpr size_t kL3 = 14;  // where it begins in an untagged frame
  size_t l3_bytes() const { return ipv4 ? 20 : 40; }
  size_t l4_bytes() const { return protocol == kProtocolTcp ? 20 : 8; }
  size_t l4() const { return kL3 + l3_bytes(); }
  size_t checksum() const { return l4() + (protocol == kProtocolTcp ? 16 : 6); }
  uint16_t type() const { return ipv4 ? 0x0800 : 0x86dd; }

  // From the IP header on. That of IPv4 has its checksum; TCP and UDP have not.
  std::string Bytes() const;
};

// Asks for the checksums of `packet`, which `frame` carries behind an untagged header.
void RequestChecksums(const Packet& packet, Buffer& frame);
// Asks for pieces of `piece_bytes` as well.
void RequestSegments(const Packet& packet, uint16_t piece_bytes, Buffer& frame);

// Whether the checksums of the TCP or UDP packet in `frame` are right, or the device says so.
bool HasGoodChecksums(const Buffer& frame);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_PACKET_H_
