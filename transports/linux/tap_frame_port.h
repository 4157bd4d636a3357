// SPDX-License-Identifier: Apache-2.0
//
// Frames to and from the kernel of this machine: the program is one end of the wire, the TAP
// device is the kernel's.
#ifndef WEFT_TRANSPORTS_LINUX_TAP_FRAME_PORT_H_
#define WEFT_TRANSPORTS_LINUX_TAP_FRAME_PORT_H_

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/linux/joined_segments.h"
#include "weft/transports/linux/kernel_frame_port.h"
#include "weft/transports/linux/virtio_header.h"
#include "weft/transports/transport.h"

namespace weft::linux_transport {

// The device of one transport, whose ports are its queues. Thread-safe.
class TapDevice {
 public:
  explicit TapDevice(const config::Tap& config) : config_(config), name_(config.interface()) {}

  // A queue of the device, made and set up if this is the first of `queues`.
  absl::StatusOr<UniqueFd> OpenQueue(int queues);
  // After the queue is closed.
  void Release();

  // As it is in the kernel: without "%d".
  std::string name() const;
  const config::Tap& config() const { return config_; }

 private:
  absl::Status SetUp() const;

  const config::Tap config_;
  mutable std::mutex mutex_;
  std::string name_;
  int open_ = 0;
};

class TapFramePort final : public KernelFramePort {
 public:
  // `device` must outlive the port.
  static absl::StatusOr<std::unique_ptr<FramePort>> Open(TapDevice* device,
                                                         const BufferPoolOptions& buffers,
                                                         const Capabilities& capabilities,
                                                         const PortOptions& options);

  // Whether there are TAP devices on this machine, for this user.
  static absl::Status Probe();

  ~TapFramePort() override;

  size_t Send(absl::Span<Buffer> burst) override;
  size_t Receive(absl::Span<Buffer> burst) override;
  bool Arm() override;

 private:
  TapFramePort(TapDevice* device, const BufferPoolOptions& buffers,
               const Capabilities& capabilities, const Interface& interface, UniqueFd fd,
               LinkMonitor link, UniqueFd wait_fd);

  enum class Outcome { kDone, kLost, kBlocked };
  // The first of `burst`, and those that go with it: `*frames`.
  Outcome SendSome(absl::Span<Buffer> burst, size_t* frames);
  Outcome ReceiveOne(Buffer& out);
  Outcome ReceiveJoined(Buffer& out);
  void FailIfRemoved(int error);

  TapDevice* const device_;
  UniqueFd fd_;
  const bool offload_;
  std::unique_ptr<JoinedSegments> joined_;  // null: frames are received as long as they were sent
  bool send_blocked_ = false;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_TAP_FRAME_PORT_H_
