// SPDX-License-Identifier: Apache-2.0
//
// What frame ports to an interface of the kernel have in common: its name, its link's state and
// events, and waiting for frames or for a change of the link.
#ifndef WEFT_TRANSPORTS_LINUX_KERNEL_FRAME_PORT_H_
#define WEFT_TRANSPORTS_LINUX_KERNEL_FRAME_PORT_H_

#include <sys/epoll.h>

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/linux/interface.h"
#include "weft/transports/linux/link_monitor.h"

namespace weft::linux_transport {

// The descriptor to wait for: readable when one of `fds` is.
inline absl::StatusOr<UniqueFd> WaitForAnyOf(std::initializer_list<int> fds) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  for (const int fd : fds) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (!epoll || epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return DeviceError(errno, "wait for frames (epoll)", "");
    }
  }
  return epoll;
}

class KernelFramePort : public FramePort {
 public:
  Address local_address() const override { return {}; }
  MacAddress mac() const override { return mac_; }
  bool link_up() const override { return link_.up() && status_.ok(); }
  std::string device_name() const override { return name_; }
  int wait_fd() const override { return wait_fd_.get(); }
  void Disarm() override { look_at_link_ = true; }  // it may be what ended the wait

 protected:
  static constexpr size_t kEthernetBytes = 14;
  // With segmentation: what the length of an IP packet can say, and the header.
  static constexpr size_t kSegmentedBytesMax = 65535 + kEthernetBytes;

  KernelFramePort(const Capabilities& capabilities, const BufferPoolOptions& buffers,
                  const Interface& interface, LinkMonitor link, UniqueFd wait_fd)
      : FramePort(capabilities, buffers),
        name_(interface.name),
        mac_(interface.mac),
        link_(std::move(link)),
        wait_fd_(std::move(wait_fd)) {}

  // To be called by each Receive(): one in so many looks at the link. True if it did.
  bool CheckLink() {
    if (--calls_until_look_ > 0 && !look_at_link_) [[likely]]
      return false;
    LookAtLink();
    return true;
  }

  void LookAtLink() {
    calls_until_look_ = kCallsPerLook;
    look_at_link_ = false;
    if (!status_.ok()) return;
    const bool was_up = link_.up();
    if (!link_.Poll()) return;
    if (link_.gone()) Fail(absl::UnavailableError(absl::StrCat("'", name_, "' has been removed")));
    if (link_.up() != was_up) AddLinkEvent(link_.up());
  }

  // The port is dead from now on.
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  // Whether `frame`, not null, can be sent at all.
  bool Sendable(const Buffer& frame) const {
    const size_t limit =
        (frame.offload().flags & FrameOffload::kSegment) != 0 && capabilities_.segmentation_offload
            ? kSegmentedBytesMax
            : capabilities_.max_frame_bytes;
    return frame.size() >= kEthernetBytes && frame.size() <= limit;
  }

 private:
  static constexpr int kCallsPerLook = 1024;

  const std::string name_;
  const MacAddress mac_;
  LinkMonitor link_;
  const UniqueFd wait_fd_;
  int calls_until_look_ = 1;
  bool look_at_link_ = false;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_KERNEL_FRAME_PORT_H_
