// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/frame_headers.h"

#include "weft/core/bytes.h"

namespace weft::linux_transport::frame_headers {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr size_t kVlanBytes = 4;
constexpr size_t kUdpBytes = 8;
constexpr size_t kIpv4Checksum = 10;
constexpr size_t kUdpChecksum = 6;

}  // namespace

size_t Headers::checksum() const { return l4 + (protocol == kTcp ? kTcpChecksum : kUdpChecksum); }

uint16_t Sum(absl::Span<const uint8_t> bytes, uint32_t sum) {
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += LoadBig16(bytes.data() + i);
  if (i < bytes.size()) sum += uint32_t{bytes[i]} << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t PseudoHeaderSum(const uint8_t* ip, bool ipv4, uint8_t protocol, size_t l4_bytes) {
  const uint32_t rest = static_cast<uint32_t>(l4_bytes) + protocol;
  return ipv4 ? Sum({ip + 12, 8}, rest) : Sum({ip + 8, 32}, rest);
}

void FillIpv4Checksum(uint8_t* ip, size_t bytes) {
  StoreBig16(ip + kIpv4Checksum, 0);
  StoreBig16(ip + kIpv4Checksum, static_cast<uint16_t>(~Sum({ip, bytes})));
}

bool Find(absl::Span<const uint8_t> frame, size_t frame_bytes, Headers* found) {
  size_t type_at = kEthernetBytes - 2;
  uint16_t type = 0;
  for (int tags = 0; tags < 3; ++tags, type_at += kVlanBytes) {
    if (frame.size() < type_at + 2) return false;
    type = LoadBig16(frame.data() + type_at);
    if (type != 0x8100 && type != 0x88a8) break;
  }
  found->l3 = type_at + 2;
  const absl::Span<const uint8_t> ip = frame.subspan(found->l3);
  size_t header_bytes;
  size_t ip_bytes;
  if (type == 0x0800 && ip.size() >= kIpv4Bytes) {
    found->ipv4 = true;
    header_bytes = size_t{4} * (ip[0] & 15);
    ip_bytes = LoadBig16(ip.data() + 2);
    found->protocol = ip[9];
    if (header_bytes < kIpv4Bytes || (LoadBig16(ip.data() + 6) & 0x3fff) != 0) return false;
  } else if (type == 0x86dd && ip.size() >= kIpv6Bytes) {
    header_bytes = kIpv6Bytes;
    ip_bytes = kIpv6Bytes + LoadBig16(ip.data() + 4);
    found->protocol = ip[6];
  } else {
    return false;
  }
  const size_t least = found->protocol == kTcp ? kTcpBytes : kUdpBytes;
  if (found->protocol != kTcp && found->protocol != kUdp) return false;
  if (ip_bytes > frame_bytes - found->l3 || ip_bytes < header_bytes + least ||
      ip.size() < header_bytes + least) {
    return false;
  }
  found->l4 = found->l3 + header_bytes;
  found->l4_bytes = ip_bytes - header_bytes;
  return true;
}

}  // namespace weft::linux_transport::frame_headers
