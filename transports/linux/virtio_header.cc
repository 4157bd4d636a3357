// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/virtio_header.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "weft/core/bytes.h"
#include "weft/transports/linux/frame_headers.h"

namespace weft::linux_transport {
namespace {

using namespace frame_headers;  // NOLINT: this file is about them

constexpr size_t kUdpBytes = 8;
constexpr size_t kUdpChecksum = 6;
constexpr size_t kTcpFlags = 13;
constexpr uint8_t kTcpCwr = 0x80;  // RFC 3168, 6.1.2: of the first segment only

void RequestChecksum(const Headers& headers, VirtioHeader* header) {
  header->flags = kVirtioNeedsChecksum;
  header->checksum_start = static_cast<uint16_t>(headers.l4);
  header->checksum_offset = static_cast<uint16_t>(headers.checksum() - headers.l4);
}

// The checksum is good, whether it is there or not: its beginning can take its place. False if the
// frame has none.
bool BeginChecksum(Buffer& frame, Headers* headers) {
  if (!Find(frame.bytes(), frame.size(), headers)) return false;
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

bool ToVirtio(Buffer& frame, VirtioHeader* header, bool joined) {
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
  if (!joined && frame.size() - l4 - offload.l4_bytes <= offload.segment_bytes) return true;
  if (!tcp) {
    header->gso_type = kVirtioUdpL4;
  } else if (flags & FrameOffload::kIpv4) {
    header->gso_type = kVirtioTcpV4;
  } else {
    header->gso_type = kVirtioTcpV6;
  }
  // The kernel then does not leave it to a device that would repeat CWR in each segment.
  if (tcp && (frame.data()[l4 + kTcpFlags] & kTcpCwr) != 0) header->gso_type |= kVirtioEcn;
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
  if (!Find(frame, frame.size(), &headers) || headers.protocol != kUdp) return;
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
