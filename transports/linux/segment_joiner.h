// SPDX-License-Identifier: Apache-2.0
//
// TCP segments that follow one another, in buffers of their own, on their way into the kernel as
// one frame that it cuts again (TSO, GSO): the fewer frames it sees the cheaper they are, and
// buffers need not hold 64 KiB for that.
#ifndef WEFT_TRANSPORTS_LINUX_SEGMENT_JOINER_H_
#define WEFT_TRANSPORTS_LINUX_SEGMENT_JOINER_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"

namespace weft::linux_transport {

// Frames that go as one.
class JoinedRun {
 public:
  // Those from the first of `burst` on, which can be sent and asks to be cut (FrameOffload::
  // kSegment): as many as continue it, with the same headers but for what differs between segments
  // of a stream. Its headers become those of all. At least that one; fewer than `pieces` has
  // room for.
  void Begin(absl::Span<Buffer> burst, absl::Span<iovec> pieces);
  // One frame, whatever it is.
  void BeginAlone(Buffer& frame, iovec* piece);

  size_t frames() const { return frames_; }
  // It was not sent: the first frame is as it was.
  void Undo(Buffer& first) const;

 private:
  size_t frames_ = 0;
  // Of the first one.
  uint16_t ip_length_ = 0;
  uint16_t checksum_ = 0;
  uint8_t flags_ = 0;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_SEGMENT_JOINER_H_
