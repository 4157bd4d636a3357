// SPDX-License-Identifier: Apache-2.0
//
// Whether an interface of the kernel carries frames: asked once, then told by the kernel (netlink),
// so that looking costs next to nothing while nothing happens.
//
//   ASSIGN_OR_RETURN(LinkMonitor link, LinkMonitor::Open(if_nametoindex("eth0")));
//   if (link.Poll()) ...  // up() or gone() has changed
#ifndef WEFT_TRANSPORTS_LINUX_LINK_MONITOR_H_
#define WEFT_TRANSPORTS_LINUX_LINK_MONITOR_H_

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"

namespace weft::linux_transport {

class LinkMonitor {
 public:
  // Of the interface with that index in the calling thread's network namespace.
  static absl::StatusOr<LinkMonitor> Open(int interface_index);

  // Takes the kernel's messages, with at least one system call; true if there was a change.
  bool Poll();

  // Brought up by its administrator, and the device says that there is a link.
  bool up() const { return up_ && !gone_; }
  // Removed, or moved to another namespace: there is no way back.
  bool gone() const { return gone_; }

  // Readable when there is something to Poll().
  int fd() const { return fd_.get(); }

 private:
  LinkMonitor(UniqueFd fd, int interface_index) : fd_(std::move(fd)), index_(interface_index) {}
  bool Ask();
  void Take(const char* message, size_t size);

  UniqueFd fd_;
  int index_;
  bool up_ = false;
  bool gone_ = false;
  bool lost_ = false;  // messages, since the state was last asked for
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_LINK_MONITOR_H_
