// SPDX-License-Identifier: Apache-2.0
//
// What AF_XDP needs to know of a network interface, besides what transports/linux tells.
//
// All of it speaks of the network namespace that the calling thread is in; KernelAddresses stays
// with the one that it was opened in. Slow path.
#ifndef WEFT_TRANSPORTS_AFXDP_INTERFACE_H_
#define WEFT_TRANSPORTS_AFXDP_INTERFACE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/address.h"
#include "weft/transports/linux/interface.h"

namespace weft::afxdp {

struct Interface : linux_transport::Interface {
  uint32_t queues = 0;  // that a socket may be bound to; 0 where the driver does not say
};

// Errors: NotFound; InvalidArgument for one that has no Ethernet frames.
absl::StatusOr<Interface> FindInterface(const std::string& name);

// The IP addresses that the kernel has on an interface, at present.
class KernelAddresses {
 public:
  static absl::StatusOr<KernelAddresses> Open(int interface_index);

  // Their port is 0.
  absl::StatusOr<std::vector<Address>> Read() const;

 private:
  KernelAddresses(UniqueFd fd, int index) : fd_(std::move(fd)), index_(index) {}

  UniqueFd fd_;
  int index_;
};

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_INTERFACE_H_
