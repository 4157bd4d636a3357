// SPDX-License-Identifier: Apache-2.0
//
// Network interfaces of the kernel: looking them up, and setting up one of our own. They are those
// of the calling thread's network namespace. Slow path.
#ifndef WEFT_TRANSPORTS_LINUX_INTERFACE_H_
#define WEFT_TRANSPORTS_LINUX_INTERFACE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/transports/frame_port.h"

namespace weft::linux_transport {

struct Interface {
  int index = 0;
  std::string name;
  MacAddress mac = {};
  uint32_t mtu = 0;
  bool up = false;  // by its administrator; see LinkMonitor for whether frames get through
  bool ethernet = false;
  std::string driver;  // "veth", "tun" for TAP devices, ...; empty if it does not say
};

// NotFound names those that there are.
absl::StatusOr<Interface> FindInterface(const std::string& name);

absl::Status SetMtu(const std::string& name, uint32_t mtu);
absl::Status BringUp(const std::string& name);
// `address` with its prefix length: "10.0.0.1/24", "fd00::1/64". One that the interface has already
// is fine. IPv6 addresses can be used at once: nobody else on the link is asked.
absl::Status AddAddress(const Interface& interface, absl::string_view address);

// What an errno of a call that was to `what` means, and what to do: PermissionDenied names the
// `capability`.
absl::Status DeviceError(int error, absl::string_view what, absl::string_view capability);

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_INTERFACE_H_
