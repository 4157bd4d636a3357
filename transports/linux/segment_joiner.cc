// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/linux/segment_joiner.h"

#include <algorithm>
#include <cstring>

#include "weft/core/bytes.h"
#include "weft/transports/linux/frame_headers.h"

namespace weft::linux_transport {
namespace {

constexpr size_t kIpBytesMax = 65535;
// TCP flags that are the last segment's.
constexpr uint8_t kFinAndPush = 0x09;
constexpr uint8_t kAck = 0x10;

// Where the parts of a frame are whose sender has said so.
struct Parts {
  explicit Parts(const Buffer& frame)
      : ip(frame.data() + frame.offload().l2_bytes),
        tcp(ip + frame.offload().l3_bytes),
        v4((frame.offload().flags & FrameOffload::kIpv4) != 0) {}
  size_t header_bytes(const Buffer& frame) const {
    return static_cast<size_t>(tcp - frame.data()) + size_t{4} * (tcp[12] >> 4);
  }

  const uint8_t* ip;
  const uint8_t* tcp;
  bool v4;
};

bool IsTcp(const Buffer& frame) {
  const FrameOffload& offload = frame.offload();
  constexpr uint16_t kRequests = FrameOffload::kSegment | FrameOffload::kSendL4Checksum;
  return (offload.flags & FrameOffload::kTcp) != 0 && (offload.flags & kRequests) != 0 &&
         frame.size() >= size_t{offload.l2_bytes} + offload.l3_bytes + frame_headers::kTcpBytes;
}

size_t IpLengthAt(bool v4) { return v4 ? 2 : 4; }

// Whether the headers of `next`, whose sequence number would be `sequence`, are those of `first`
// but for what the kernel writes into each segment.
bool Continues(const Buffer& first, size_t header_bytes, const Buffer& next, uint32_t sequence) {
  if (!next || !IsTcp(next) || next.size() <= header_bytes) return false;
  const FrameOffload& a = first.offload();
  const FrameOffload& b = next.offload();
  if (a.l2_bytes != b.l2_bytes || a.l3_bytes != b.l3_bytes) return false;
  const Parts p(first);
  const Parts q(next);
  if (p.v4 != q.v4 || q.header_bytes(next) != header_bytes) return false;
  if (LoadBig32(q.tcp + 4) != sequence) return false;
  const size_t length_at = IpLengthAt(p.v4);
  // Up to the length; from behind it, and of IPv4 its number, flags and checksum apart.
  const size_t before = a.l2_bytes + length_at;
  if (std::memcmp(first.data(), next.data(), before) != 0) return false;
  if (p.v4) {
    const size_t addresses = static_cast<size_t>(a.l3_bytes) - 12;
    // That it may not be broken up: numbers of fragments are the sender's.
    if (LoadBig16(p.ip + 6) != 0x4000 || LoadBig16(q.ip + 6) != 0x4000 ||
        LoadBig16(p.ip + 8) != LoadBig16(q.ip + 8) ||
        std::memcmp(p.ip + 12, q.ip + 12, addresses) != 0) {
      return false;
    }
  } else if (std::memcmp(p.ip + 6, q.ip + 6, static_cast<size_t>(a.l3_bytes) - 6) != 0) {
    return false;
  }
  // Ports; acknowledgement and length; flags; window; what lies behind the checksum.
  const size_t tcp_bytes = header_bytes - a.l2_bytes - a.l3_bytes;
  return LoadBig32(p.tcp) == LoadBig32(q.tcp) && LoadBig32(p.tcp + 8) == LoadBig32(q.tcp + 8) &&
         p.tcp[12] == q.tcp[12] && (q.tcp[13] & ~kFinAndPush) == kAck &&
         LoadBig16(p.tcp + 14) == LoadBig16(q.tcp + 14) &&
         std::memcmp(p.tcp + 18, q.tcp + 18, tcp_bytes - 18) == 0;
}

uint16_t AddToSum(uint16_t sum, size_t n) {
  size_t wide = sum + n;
  while (wide >> 16 != 0) wide = (wide & 0xffff) + (wide >> 16);
  return static_cast<uint16_t>(wide);
}

}  // namespace

void JoinedRun::BeginAlone(Buffer& frame, iovec* piece) {
  frames_ = 1;
  *piece = {frame.data(), frame.size()};
}

void JoinedRun::Begin(absl::Span<Buffer> burst, absl::Span<iovec> pieces) {
  Buffer& first = burst[0];
  BeginAlone(first, &pieces[0]);
  const FrameOffload& offload = first.offload();
  if (burst.size() < 2 || (offload.flags & FrameOffload::kSegment) == 0 || !IsTcp(first)) return;
  const Parts parts(first);
  const size_t header_bytes = parts.header_bytes(first);
  const size_t segment_bytes = offload.segment_bytes;
  const size_t least = size_t{offload.l2_bytes} + offload.l3_bytes + frame_headers::kTcpBytes;
  if (header_bytes < least || header_bytes > first.size() || segment_bytes == 0) return;
  if (offload.l3_bytes < (parts.v4 ? frame_headers::kIpv4Bytes : frame_headers::kIpv6Bytes)) return;
  // One that was sent with flags of an end, or for the peer's attention, is whole.
  if (parts.tcp[13] != kAck) return;
  size_t payload = first.size() - header_bytes;
  size_t total = first.size() - offload.l2_bytes;
  const uint32_t sequence = LoadBig32(parts.tcp + 4);
  uint8_t flags = kAck;
  const size_t most = std::min(burst.size(), pieces.size());
  while (frames_ < most && payload % segment_bytes == 0 && flags == kAck) {
    Buffer& next = burst[frames_];
    if (!Continues(first, header_bytes, next, sequence + static_cast<uint32_t>(payload))) break;
    const size_t more = next.size() - header_bytes;
    if (total + more > kIpBytesMax ||
        (next.offload().segment_bytes != segment_bytes && more > segment_bytes)) {
      break;
    }
    pieces[frames_++] = {next.data() + header_bytes, more};
    payload += more;
    total += more;
    flags = Parts(next).tcp[13];
  }
  if (frames_ == 1) return;
  uint8_t* const ip = first.data() + offload.l2_bytes;
  uint8_t* const tcp = ip + offload.l3_bytes;
  ip_length_ = LoadBig16(ip + IpLengthAt(parts.v4));
  checksum_ = LoadBig16(tcp + frame_headers::kTcpChecksum);
  flags_ = tcp[13];
  const size_t more = total - (first.size() - offload.l2_bytes);
  StoreBig16(ip + IpLengthAt(parts.v4), static_cast<uint16_t>(ip_length_ + more));
  // The sum of the pseudo-header, with its length.
  StoreBig16(tcp + frame_headers::kTcpChecksum, AddToSum(checksum_, more));
  tcp[13] = flags;
}

void JoinedRun::Undo(Buffer& first) const {
  if (frames_ < 2) return;
  uint8_t* const ip = first.data() + first.offload().l2_bytes;
  uint8_t* const tcp = ip + first.offload().l3_bytes;
  const bool v4 = (first.offload().flags & FrameOffload::kIpv4) != 0;
  StoreBig16(ip + IpLengthAt(v4), ip_length_);
  StoreBig16(tcp + frame_headers::kTcpChecksum, checksum_);
  tcp[13] = flags_;
}

}  // namespace weft::linux_transport
