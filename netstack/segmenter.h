// SPDX-License-Identifier: Apache-2.0
//
// Does in software what a frame's FrameOffload requests of a device that does not offer it.
//
//   if (!capabilities.checksum_offload) FinishChecksums(frame);
//   if ((frame.offload().flags & FrameOffload::kSegment) && !capabilities.segmentation_offload) {
//     Segment(std::move(frame), pool, [&](Buffer segment) { Send(std::move(segment)); });
//   }
#ifndef WEFT_NETSTACK_SEGMENTER_H_
#define WEFT_NETSTACK_SEGMENTER_H_

#include "absl/functional/function_ref.h"
#include "weft/core/buffer.h"

namespace weft::netstack {

// Writes the checksums that frame.offload() requests, and clears these requests. The checksum field
// of TCP or UDP holds the sum of the pseudo-header, as FrameOffload says; the message ends with the
// frame, or before it as far as the IP length says. False, with the frame as it was but for the
// requests, where the lengths do not fit the frame: others would take it for damaged.
//
// Frames that request kSegment are Segment()'s: of such a frame nothing is done but false returned.
bool FinishChecksums(Buffer& frame);

// Cuts `frame`, TCP or UDP over IPv4 or IPv6 that requests kSegment, into frames of at most
// segment_bytes of payload. Headers are copied and put right: lengths, IPv4 ids that count up, TCP
// sequence numbers, FIN and PSH on the last segment only, CWR on the first only (RFC 3168, 6.1.2),
// all checksums; segments request nothing. The pseudo-header's sum in `frame` is not used.
//
// Calls `emit` for each in order, from `pool`, which this thread owns. False, and nothing is
// emitted, where the pool has too few or too small buffers, or where the request is not well
// formed: lengths that do not fit the frame or its headers, segment_bytes 0. The frame is gone in
// any case.
bool Segment(Buffer frame, BufferPool& pool, absl::FunctionRef<void(Buffer)> emit);

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_SEGMENTER_H_
