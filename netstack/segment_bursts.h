// SPDX-License-Identifier: Apache-2.0
//
// Where a stack gathers TCP segments that it has received, frames of those that it is to send, and
// what the device has not taken yet.
#ifndef WEFT_NETSTACK_SEGMENT_BURSTS_H_
#define WEFT_NETSTACK_SEGMENT_BURSTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/netstack/fifo.h"
#include "weft/netstack/segment_handler.h"
#include "weft/transports/frame_port.h"

namespace weft::netstack {

inline constexpr size_t kSegmentBurst = 32;

// Received, for the handler; with what stands in front of each.
struct ReceivedBurst {
  ReceivedSegment segments[kSegmentBurst];
  uint16_t ip_bytes[kSegmentBurst];
  bool of_sibling[kSegmentBurst];
  size_t n = 0;
};

// On their way to the device.
struct FrameBurst {
  Buffer frames[kSegmentBurst];
  uint8_t header_bytes[kSegmentBurst];  // in front of TCP's
  size_t n = 0;
};

// Frames of segments that were cut in software. What the device does not take is tried again, and
// nothing is to overtake it.
class CutFrames {
 public:
  bool empty() const { return begin_ == end_ && more_.empty(); }
  void Add(Buffer frame) { more_.push_back(std::move(frame)); }

  // False: something is left.
  bool Send(FramePort& device) {
    while (!empty()) {
      if (begin_ == end_) {
        begin_ = 0;
        end_ = std::min(more_.size(), kSegmentBurst);
        for (size_t i = 0; i < end_; ++i) frames_[i] = more_.pop_front();
      }
      begin_ += device.Send(absl::MakeSpan(frames_ + begin_, end_ - begin_));
      if (begin_ != end_) return false;
    }
    return true;
  }

 private:
  Buffer frames_[kSegmentBurst];
  size_t begin_ = 0;  // of those above, the next one
  size_t end_ = 0;
  Fifo<Buffer> more_;
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_SEGMENT_BURSTS_H_
