// SPDX-License-Identifier: Apache-2.0
//
// A network interface as the kernel describes it, and news of it.
//
//   absl::StatusOr<Interface> eth0 = FindInterface("eth0");
//   absl::StatusOr<LinkMonitor> monitor = LinkMonitor::Open(eth0->index);
//   if (monitor->Changed()) link = monitor->Read();
//
// All of it speaks of the network namespace that the calling thread is in; a LinkMonitor stays with
// the one that it was opened in.
#ifndef WEFT_TRANSPORTS_AFXDP_INTERFACE_H_
#define WEFT_TRANSPORTS_AFXDP_INTERFACE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/address.h"
#include "weft/transports/frame_port.h"

namespace weft::afxdp {

struct Interface {
  std::string name;
  int index = 0;
  MacAddress mac = {};
  size_t mtu_bytes = 0;  // payload of a frame
  std::optional<uint32_t>
      queues;  // that a socket may be bound to; none where the driver does not say
};

// Errors: NotFound; InvalidArgument for one that has no Ethernet frames.
absl::StatusOr<Interface> FindInterface(const std::string& name);

// A socket that is told when anything about any interface changes. One thread.
class LinkMonitor {
 public:
  enum class Link { kUp, kDown, kGone };

  static absl::StatusOr<LinkMonitor> Open(int interface_index);

  // Readable while Changed() would return true.
  int fd() const { return fd_.get(); }

  // Whether there was news since the last call. Does not wait.
  bool Changed();

  Link Read() const;

  // The IP addresses, port 0, that the kernel has on the interface. Slow path.
  absl::StatusOr<std::vector<Address>> KernelAddresses() const;

 private:
  LinkMonitor(UniqueFd fd, UniqueFd requests, int index)
      : fd_(std::move(fd)), requests_(std::move(requests)), index_(index) {}

  UniqueFd fd_;        // news
  UniqueFd requests_;  // questions and their answers
  int index_;
};

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_INTERFACE_H_
