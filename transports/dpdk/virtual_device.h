// SPDX-License-Identifier: Apache-2.0
//
// "net_vhost0,iface=/tmp/weft.sock,queues=1": a virtual device as EAL's --vdev has it.
#ifndef WEFT_TRANSPORTS_DPDK_VIRTUAL_DEVICE_H_
#define WEFT_TRANSPORTS_DPDK_VIRTUAL_DEVICE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace weft::dpdk {

struct VirtualDevice {
  std::string name;
  std::string arguments;

  // InvalidArgument without a name.
  static absl::StatusOr<VirtualDevice> Parse(absl::string_view text);

  // The value of `key` among the arguments; empty if it is not there.
  std::string Argument(absl::string_view key) const;

  // The socket that this device is going to listen at; empty if it does not.
  std::string ListeningSocket() const;

  // Sees that nothing is in the way of ListeningSocket(). The socket of a process that was killed
  // stays behind, and is removed. AlreadyExists if somebody listens there, or for another file:
  // DPDK would fail too, and then remove it.
  absl::Status ClearSocket() const;
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_VIRTUAL_DEVICE_H_
