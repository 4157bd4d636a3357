// SPDX-License-Identifier: Apache-2.0
//
// The transport "linux": datagrams over the kernel's UDP, streams over its TCP; frames through
// packet sockets or a TAP device. See README.md.
#ifndef WEFT_TRANSPORTS_LINUX_LINUX_TRANSPORT_H_
#define WEFT_TRANSPORTS_LINUX_LINUX_TRANSPORT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/transports/linux/packet_frame_port.h"
#include "weft/transports/linux/tap_frame_port.h"
#include "weft/transports/transport.h"

namespace weft {

class LinuxTransport final : public Transport {
 public:
  static absl::StatusOr<std::unique_ptr<Transport>> Open(const config::Transport& config);

  absl::string_view name() const override { return "linux"; }
  const Capabilities& capabilities() const override { return capabilities_; }

  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override;
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options) override;
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options) override;

 private:
  explicit LinuxTransport(const config::Transport& config);
  absl::Status FindFrames();

  const config::Linux config_;
  const BufferPoolOptions buffers_;
  Capabilities capabilities_;
  linux_transport::PacketFanout fanout_;
  linux_transport::TapDevice tap_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_LINUX_LINUX_TRANSPORT_H_
