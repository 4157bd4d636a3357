// SPDX-License-Identifier: Apache-2.0
//
// TCP segments that the kernel has joined, up to 64 KiB of them behind one set of headers (TSO,
// GRO, GSO), on their way into buffers that are smaller: the payload is read to where it is to
// stay, and each buffer then gets headers of its own.
//
//   JoinedSegments segments;
//   segments.Prepare(pool, JoinedSegments::kAny);       // buffers to read into
//   n = readv(fd, {header, segments.room()..., rest});
//   segments.Take(n, header);                           // false: lost
//   while (!segments.empty()) burst[i++] = segments.Next();
//
// What fits one buffer comes out as it was read, whatever it is.
#ifndef WEFT_TRANSPORTS_LINUX_JOINED_SEGMENTS_H_
#define WEFT_TRANSPORTS_LINUX_JOINED_SEGMENTS_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/linux/virtio_header.h"

namespace weft::linux_transport {

// One frame at a time. Buffers are kept from one to the next.
class JoinedSegments {
 public:
  static constexpr size_t kFrameBytesMax = 65535 + 14 + 4;
  // Of one frame. Smaller buffers hold less of it, and frames that are longer get lost.
  static constexpr size_t kBuffersMax = 64;

  // How a frame is to be read: so many bytes to the first buffer, and to each other one.
  struct Layout {
    size_t first;
    size_t other;
  };
  // As much as buffers hold.
  static constexpr Layout kAny = {SIZE_MAX, SIZE_MAX};
  // So that every piece is a segment as it was sent: of a frame with these headers.
  static Layout Segments(absl::Span<const uint8_t> frame, const VirtioHeader& header);

  static bool IsJoined(const VirtioHeader& header) {
    const int type = header.gso_type & ~kVirtioEcn;
    return type == kVirtioTcpV4 || type == kVirtioTcpV6;
  }

  // Whether a pool of so many buffers with room for so many bytes has enough of them for a frame of
  // any length, and others.
  static bool Fit(size_t buffers, size_t bytes) {
    const size_t needed = (kFrameBytesMax + bytes - 1) / bytes;
    return needed <= kBuffersMax && 4 * needed <= buffers;
  }

  // Buffers for a frame of up to `bytes`, as many as `pool` has. Nothing may be waiting.
  void Prepare(BufferPool& pool, const Layout& layout, size_t bytes = kFrameBytesMax);
  // Where they are to be filled, the first byte first; empty if the pool is.
  absl::Span<const iovec> room() const { return {room_, count_}; }

  // A frame of `bytes` has been read to room(). False, and it is lost: it was longer than that, or
  // it lies in several buffers and is none that can.
  bool Take(size_t bytes, const VirtioHeader& header);
  // As Take(), of a frame that lies elsewhere.
  bool Copy(absl::Span<const uint8_t> frame, const VirtioHeader& header);

  // Whether all have been taken out.
  bool empty() const { return next_ == end_; }
  // The next one. Its checksum is good; if it is one of several, the field holds the sum of the
  // pseudo-header, as in other frames that never left the machine.
  Buffer Next();

 private:
  static bool WriteHeaders(absl::Span<Buffer> segments, size_t bytes);

  Buffer buffers_[kBuffersMax];
  iovec room_[kBuffersMax];
  size_t count_ = 0;  // of room_
  size_t next_ = 0;   // of buffers that wait to be taken out
  size_t end_ = 0;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_JOINED_SEGMENTS_H_
