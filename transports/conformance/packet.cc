// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/conformance/packet.h"

namespace weft {
namespace {

constexpr size_t kL3 = Packet::kL3;

// The Internet checksum's sum (RFC 1071), folded, not complemented.
uint16_t Sum(const uint8_t* bytes, size_t size, uint32_t sum = 0) {
  for (size_t i = 0; i + 1 < size; i += 2) sum += LoadBig16(bytes + i);
  if (size % 2 != 0) sum += uint32_t{bytes[size - 1]} << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t PseudoHeaderSum(const uint8_t* ip, bool ipv4, uint8_t protocol, size_t l4_bytes) {
  const uint32_t rest = static_cast<uint32_t>(l4_bytes) + protocol;
  return ipv4 ? Sum(ip + 12, 8, rest) : Sum(ip + 8, 32, rest);
}

}  // namespace

std::string Packet::Bytes() const {
  const size_t segment = l4_bytes() + payload.size();
  std::string bytes(l3_bytes() + l4_bytes(), '\0');
  auto* const ip = reinterpret_cast<uint8_t*>(bytes.data());
  if (ipv4) {
    ip[0] = 0x45;
    StoreBig16(ip + 2, static_cast<uint16_t>(20 + segment));
    ip[8] = 64;
    ip[9] = protocol;
    StoreBig32(ip + 12, 0x0a000001);  // 10.0.0.1, 10.0.0.2
    StoreBig32(ip + 16, 0x0a000002);
    StoreBig16(ip + 10, static_cast<uint16_t>(~Sum(ip, 20)));
  } else {
    ip[0] = 0x60;
    StoreBig16(ip + 4, static_cast<uint16_t>(segment));
    ip[6] = protocol;
    ip[7] = 64;
    ip[8] = ip[24] = 0xfd;  // fd00::1, fd00::2
    ip[23] = 1;
    ip[39] = 2;
  }
  uint8_t* const l4 = ip + l3_bytes();
  StoreBig16(l4, source_port);
  StoreBig16(l4 + 2, destination_port);
  if (protocol == kProtocolTcp) {
    l4[12] = 5 << 4;
    l4[13] = 0x10;  // ACK
  } else {
    StoreBig16(l4 + 4, static_cast<uint16_t>(segment));
  }
  return bytes + payload;
}

void RequestChecksums(const Packet& packet, Buffer& frame) {
  using Flag = FrameOffload::Flag;
  uint8_t* const ip = frame.data() + kL3;
  FrameOffload& offload = frame.offload();
  offload.flags = packet.protocol == kProtocolTcp ? Flag::kTcp : Flag::kUdp;
  offload.flags |= Flag::kSendL4Checksum;
  offload.l2_bytes = kL3;
  offload.l3_bytes = static_cast<uint16_t>(packet.l3_bytes());
  if (packet.ipv4) {
    offload.flags |= Flag::kIpv4 | Flag::kSendIpChecksum;
    StoreBig16(ip + 10, 0);
  } else {
    offload.flags |= Flag::kIpv6;
  }
  StoreBig16(
      frame.data() + packet.checksum(),
      PseudoHeaderSum(ip, packet.ipv4, packet.protocol, packet.l4_bytes() + packet.payload.size()));
}

void RequestSegments(const Packet& packet, uint16_t piece_bytes, Buffer& frame) {
  RequestChecksums(packet, frame);
  frame.offload().flags |= FrameOffload::kSegment;
  frame.offload().l4_bytes = static_cast<uint8_t>(packet.l4_bytes());
  frame.offload().segment_bytes = piece_bytes;
}

bool HasGoodChecksums(const Buffer& frame) {
  const uint8_t* const ip = frame.data() + kL3;
  const bool ipv4 = (ip[0] >> 4) == 4;
  const uint16_t flags = frame.offload().flags;
  if (ipv4 && (flags & FrameOffload::kIpChecksumGood) == 0 && Sum(ip, 20) != 0xffff) return false;
  if (flags & FrameOffload::kL4ChecksumGood) return true;
  const size_t ip_bytes = ipv4 ? 20 : 40;
  const size_t segment = ipv4 ? LoadBig16(ip + 2) - 20u : LoadBig16(ip + 4);
  if (kL3 + ip_bytes + segment > frame.size()) return false;
  return Sum(ip + ip_bytes, segment, PseudoHeaderSum(ip, ipv4, ip[ipv4 ? 9 : 6], segment)) ==
         0xffff;
}

}  // namespace weft
