// SPDX-License-Identifier: Apache-2.0
//
// "net_vhost0,iface=/tmp/weft.sock,queues=1": a virtual device as EAL's --vdev has it.
#ifndef WEFT_TRANSPORTS_DPDK_VIRTUAL_DEVICE_H_
#define WEFT_TRANSPORTS_DPDK_VIRTUAL_DEVICE_H_

#include <string>

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

  // A process that was killed leaves its socket behind, where nobody can bind another. Removes the
  // file at ListeningSocket() if it is a socket that nobody listens at.
  void RemoveStaleSocket() const;
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_VIRTUAL_DEVICE_H_
