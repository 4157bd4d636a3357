// SPDX-License-Identifier: Apache-2.0
//
// Raw Ethernet frames, without the checksum at their end.
#ifndef WEFT_TRANSPORTS_FRAME_PORT_H_
#define WEFT_TRANSPORTS_FRAME_PORT_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/port.h"

namespace weft {

using MacAddress = std::array<uint8_t, 6>;

class FramePort : public Port {
 public:
  virtual MacAddress mac() const = 0;
  // Whether frames can get through at present.
  virtual bool link_up() const = 0;

  // As DatagramPort: the accepted prefix is taken, the rest stays the caller's; a frame that can
  // never be sent (null, shorter than its header, longer than max_frame_bytes) is taken, dropped
  // and counted.
  virtual size_t Send(absl::Span<Buffer> burst) = 0;
  virtual size_t Receive(absl::Span<Buffer> burst) = 0;

 protected:
  using Port::Port;
  size_t DoTakeEvents(absl::Span<PortEvent>) override { return 0; }
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_FRAME_PORT_H_
