// SPDX-License-Identifier: Apache-2.0
//
// Raw Ethernet frames, without the checksum at their end.
#ifndef WEFT_TRANSPORTS_FRAME_PORT_H_
#define WEFT_TRANSPORTS_FRAME_PORT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/port.h"

namespace weft {

using MacAddress = std::array<uint8_t, 6>;

// A port may be one queue of a device that several workers share (PortOptions::queue): each
// receives what the device spreads to it by flow, and sends by itself.
//
// Frames have one buffer each. Where a device delivers a frame in pieces, the port joins them in a
// buffer that is large enough, and counts the copy.
//
// A frame may be shared (Buffer::Share), as its sender keeps it: the port may write its headers, as
// far as requests ask for that, and otherwise reads it; it is let go of when the device needs it no
// more. What is received is the receiver's alone.
//
// Offloads: buffer.offload() may ask for what capabilities() offer (checksum_offload,
// segmentation_offload), and says of a received frame what the device has checked.
class FramePort : public Port {
 public:
  virtual MacAddress mac() const = 0;
  // Whether frames can get through at present. A change is an event too: kLinkDown, kLinkUp.
  virtual bool link_up() const = 0;
  // The device as its user knows it: "eth0", "0000:00:03.0", "net_virtio_user0".
  virtual std::string device_name() const { return local_address().ToString(); }

  // As DatagramPort: the accepted prefix is taken, the rest stays the caller's; a frame that can
  // never be sent (null, shorter than its header, longer than max_frame_bytes, or than 64 KiB where
  // it asks for segmentation) is taken, dropped and counted.
  virtual size_t Send(absl::Span<Buffer> burst) = 0;
  virtual size_t Receive(absl::Span<Buffer> burst) = 0;

  // Tells the device what its user wants to receive, so that it need not deliver the rest, and may
  // leave it to others such as the kernel. `addresses`: IP addresses, port 0 for all of them;
  // `groups`: addresses of groups. Replaces what was told before. A port may deliver more than
  // that: one that was told nothing delivers what its configuration says, or all. Slow path.
  virtual absl::Status SetFilter(absl::Span<const Address> addresses,
                                 absl::Span<const MacAddress> groups) {
    (void)addresses;
    (void)groups;
    return absl::OkStatus();
  }

 protected:
  using Port::Port;

  // To be told to the user. Of each kind only the last one waits.
  void AddLinkEvent(bool up) {
    const PortEvent::Kind kind = up ? PortEvent::Kind::kLinkUp : PortEvent::Kind::kLinkDown;
    if (event_count_ > 0 && events_[0].kind == kind) events_[0] = events_[--event_count_];
    if (event_count_ == 0 || events_[event_count_ - 1].kind != kind) {
      events_[event_count_++] = {.kind = kind, .peer = {}};
    }
    has_events_ = true;
  }
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    const size_t n = std::min(events.size(), event_count_);
    std::copy_n(events_, n, events.begin());
    std::copy(events_ + n, events_ + event_count_, events_);
    event_count_ -= n;
    has_events_ = event_count_ != 0;
    return n;
  }

 private:
  PortEvent events_[2] = {};
  size_t event_count_ = 0;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_FRAME_PORT_H_
