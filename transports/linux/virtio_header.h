// SPDX-License-Identifier: Apache-2.0
//
// Between FrameOffload and the virtio-net header, in which packet sockets and TAP devices tell what
// is still to be done with a frame, or has been done (virtio 1.2, 5.1.6; struct VirtioHeader).
#ifndef WEFT_TRANSPORTS_LINUX_VIRTIO_HEADER_H_
#define WEFT_TRANSPORTS_LINUX_VIRTIO_HEADER_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"

namespace weft::linux_transport {

// As struct virtio_net_hdr of <linux/virtio_net.h>, which is no C++. In the machine's byte order.
struct VirtioHeader {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_bytes;
  uint16_t segment_bytes;
  uint16_t checksum_start;
  uint16_t checksum_offset;
};
static_assert(sizeof(VirtioHeader) == 10);

// flags
constexpr uint8_t kVirtioNeedsChecksum = 1;
constexpr uint8_t kVirtioDataValid = 2;
// gso_type
constexpr uint8_t kVirtioTcpV4 = 1;
constexpr uint8_t kVirtioTcpV6 = 4;
constexpr uint8_t kVirtioUdpL4 = 5;
constexpr uint8_t kVirtioEcn = 0x80;

// Whether this kernel has kVirtioUdpL4 (Linux 6.2).
bool KernelSegmentsUdp();

// What the kernel must be told with `frame`, whose IPv4 checksum is filled in if that is asked for:
// virtio has no word for it. False if the frame asks for what it is too short for, or for what is
// not TCP or UDP.
//
// `joined`: others follow the frame (JoinedRun), so that it is cut however short it is.
//
// A frame that was received as good without its checksum being there (Linux does not compute it for
// frames that never leave the machine) is sent on with a request for it, as whoever gets it now
// looks at the field.
bool ToVirtio(Buffer& frame, VirtioHeader* header, bool joined = false);

// For a device without virtio-net headers, which ignores requests: fills in such a missing
// checksum.
void FillMissingChecksum(Buffer& frame);

// What `header` says of a received frame.
inline FrameOffload FromVirtio(const VirtioHeader& header) {
  FrameOffload offload;
  if (header.flags & (kVirtioNeedsChecksum | kVirtioDataValid)) {
    offload.flags = FrameOffload::kL4ChecksumGood;
  }
  return offload;
}

// Several UDP datagrams that the kernel has joined (UDP_SEGMENT, UDP_GRO): one set of headers, then
// the payloads, `segment_bytes` each but for the last. Whoever receives them cannot tell them
// apart any more, so that the port cuts them up again.
class UdpSegments {
 public:
  UdpSegments() = default;
  // `headers` as `header` describes; the frame must stay where it is. Not valid() if they are not
  // as they should be.
  UdpSegments(absl::Span<const uint8_t> frame, const VirtioHeader& header);

  static bool IsJoined(const VirtioHeader& header) {
    return (header.gso_type & ~kVirtioEcn) == kVirtioUdpL4;
  }

  bool valid() const { return segment_bytes_ != 0; }
  bool done() const { return next_ == frame_.size(); }
  // Of the next one, headers included.
  size_t next_bytes() const;
  // Appends the next one to `out`, which has room for it, and says that its checksum is good: the
  // field holds the sum of the pseudo-header, as in other frames that never left the machine.
  void Next(Buffer& out);
  void Skip();

 private:
  size_t payload_bytes() const;

  absl::Span<const uint8_t> frame_;
  size_t l3_ = 0;  // where it begins
  size_t l4_ = 0;
  bool ipv4_ = false;
  size_t segment_bytes_ = 0;
  size_t next_ = 0;  // of the payloads, from the frame's beginning
  uint16_t count_ = 0;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_VIRTIO_HEADER_H_
