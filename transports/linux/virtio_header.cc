// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/virtio_header.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "weft/core/bytes.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kEthernetBytes = 14;
constexpr size_t kVlanBytes = 4;
constexpr size_t kIpv4Bytes = 20;
constexpr size_t kIpv6Bytes = 40;
constexpr size_t kUdpBytes = 8;
constexpr size_t kTcpBytes = 20;
constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
// Where the checksum is in each header.
constexpr size_t kIpv4Checksum = 10;
constexpr size_t kTcpChecksum = 16;
constexpr size_t kUdpChecksum = 6;

// The Internet checksum's sum (RFC 1071), folded, not complemented.
uint16_t Sum(absl::Span<const uint8_t> bytes, uint32_t sum = 0) {
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

// Where the headers of a frame are that has TCP or UDP directly in IP.
struct Headers {
  size_t l3 = 0;
  size_t l4 = 0;
  size_t l4_bytes = 0;  // with its payload
  bool ipv4 = false;
  uint8_t protocol = 0;

  size_t checksum() const { return l4 + (protocol == kTcp ? kTcpChecksum : kUdpChecksum); }
};

// False for all other frames, fragments among them.
bool Find(absl::Span<const uint8_t> frame, Headers* found) {
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
  if (ip_bytes > ip.size() || ip_bytes < header_bytes + least) return false;
  found->l4 = found->l3 + header_bytes;
  found->l4_bytes = ip_bytes - header_bytes;
  return true;
}

void RequestChecksum(const Headers& headers, VirtioHeader* header) {
  header->flags = kVirtioNeedsChecksum;
  header->checksum_start = static_cast<uint16_t>(headers.l4);
  header->checksum_offset = static_cast<uint16_t>(headers.checksum() - headers.l4);
}

// The checksum is good, whether it is there or not: its beginning can take its place. False if the
// frame has none.
bool BeginChecksum(Buffer& frame, Headers* headers) {
  if (!Find(frame.bytes(), headers)) return false;
  uint8_t* const field = frame.data() + headers->checksum();
  if (headers->protocol == kUdp && LoadBig16(field) == 0) return false;
  StoreBig16(field, PseudoHeaderSum(frame.data() + headers->l3, headers->ipv4, headers->protocol,
                                    headers->l4_bytes));
  return true;
}

}  // namespace

bool KernelSegmentsUdp() {
  utsname name;
  int major = 0;
  int minor = 0;
  if (uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 2);
}

bool ToVirtio(Buffer& frame, VirtioHeader* header) {
  *header = {};
  const FrameOffload& offload = frame.offload();
  const uint16_t flags = offload.flags;
  if (flags == 0) [[likely]]
    return true;
  constexpr uint16_t kRequests =
      FrameOffload::kSendIpChecksum | FrameOffload::kSendL4Checksum | FrameOffload::kSegment;
  if ((flags & kRequests) == 0) {
    Headers headers;
    if ((flags & FrameOffload::kL4ChecksumGood) != 0 && BeginChecksum(frame, &headers)) {
      RequestChecksum(headers, header);
    }
    return true;
  }
  const size_t l4 = size_t{offload.l2_bytes} + offload.l3_bytes;
  const bool segment = (flags & FrameOffload::kSegment) != 0;
  if ((flags & FrameOffload::kIpv4) && (segment || (flags & FrameOffload::kSendIpChecksum) != 0)) {
    if (offload.l3_bytes < kIpv4Bytes || l4 > frame.size()) return false;
    FillIpv4Checksum(frame.data() + offload.l2_bytes, offload.l3_bytes);
  }
  if (!segment && (flags & FrameOffload::kSendL4Checksum) == 0) return true;
  const bool tcp = (flags & FrameOffload::kTcp) != 0;
  if (!tcp && (flags & FrameOffload::kUdp) == 0) return false;
  if (l4 + (tcp ? kTcpBytes : kUdpBytes) > frame.size()) return false;
  header->flags = kVirtioNeedsChecksum;
  header->checksum_start = static_cast<uint16_t>(l4);
  header->checksum_offset = tcp ? kTcpChecksum : kUdpChecksum;
  if (!segment) return true;
  if (offload.segment_bytes == 0 || l4 + offload.l4_bytes > frame.size()) return false;
  // What fits one segment is no work for the kernel, which would refuse it.
  if (frame.size() - l4 - offload.l4_bytes <= offload.segment_bytes) return true;
  if (!tcp) {
    header->gso_type = kVirtioUdpL4;
  } else if (flags & FrameOffload::kIpv4) {
    header->gso_type = kVirtioTcpV4;
  } else {
    header->gso_type = kVirtioTcpV6;
  }
  header->segment_bytes = offload.segment_bytes;
  header->header_bytes = static_cast<uint16_t>(l4 + offload.l4_bytes);
  return true;
}

void FillMissingChecksum(Buffer& frame) {
  Headers headers;
  if ((frame.offload().flags & FrameOffload::kL4ChecksumGood) == 0 ||
      !BeginChecksum(frame, &headers)) {
    return;
  }
  auto sum = static_cast<uint16_t>(~Sum({frame.data() + headers.l4, headers.l4_bytes}));
  if (sum == 0 && headers.protocol == kUdp) sum = 0xffff;  // 0 would say that there is none
  StoreBig16(frame.data() + headers.checksum(), sum);
}

UdpSegments::UdpSegments(absl::Span<const uint8_t> frame, const VirtioHeader& header) {
  Headers headers;
  if (!Find(frame, &headers) || headers.protocol != kUdp) return;
  const size_t end = headers.l4 + headers.l4_bytes;
  if (header.segment_bytes == 0 || headers.l4_bytes <= kUdpBytes) return;
  frame_ = frame.first(end);  // without padding
  l3_ = headers.l3;
  l4_ = headers.l4;
  ipv4_ = headers.ipv4;
  segment_bytes_ = header.segment_bytes;
  next_ = l4_ + kUdpBytes;
}

size_t UdpSegments::payload_bytes() const {
  return std::min(segment_bytes_, frame_.size() - next_);
}

size_t UdpSegments::next_bytes() const { return l4_ + kUdpBytes + payload_bytes(); }

void UdpSegments::Next(Buffer& out) {
  const size_t headers = l4_ + kUdpBytes;
  const size_t payload = payload_bytes();
  uint8_t* const data = out.Append(headers + payload);
  std::memcpy(data, frame_.data(), headers);
  std::memcpy(data + headers, frame_.data() + next_, payload);
  uint8_t* const ip = data + l3_;
  const size_t ip_header = l4_ - l3_;
  const size_t udp = kUdpBytes + payload;
  if (ipv4_) {
    StoreBig16(ip + 2, static_cast<uint16_t>(ip_header + udp));
    StoreBig16(ip + 4, static_cast<uint16_t>(LoadBig16(ip + 4) + count_));
    FillIpv4Checksum(ip, ip_header);
  } else {
    StoreBig16(ip + 4, static_cast<uint16_t>(udp));
  }
  StoreBig16(data + l4_ + 4, static_cast<uint16_t>(udp));
  if (LoadBig16(data + l4_ + kUdpChecksum) != 0) {
    StoreBig16(data + l4_ + kUdpChecksum, PseudoHeaderSum(ip, ipv4_, kUdp, udp));
  }
  out.offload().flags = FrameOffload::kL4ChecksumGood;
  Skip();
}

void UdpSegments::Skip() {
  next_ += payload_bytes();
  ++count_;
}

}  // namespace weft::linux_transport
