// SPDX-License-Identifier: Apache-2.0
//
// What this machine has for DPDK: huge pages, and PCI devices with their drivers. Read from /sys,
// without side effects.
#ifndef WEFT_TRANSPORTS_DPDK_MACHINE_H_
#define WEFT_TRANSPORTS_DPDK_MACHINE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace weft::dpdk {

struct HugePages {
  uint64_t free_mb = 0;     // of all sizes
  uint64_t page_kb = 2048;  // the default size
};
HugePages FindHugePages();

// "0000:00:03.0"; the domain may be missing: "00:03.0".
bool IsPciAddress(absl::string_view name);
// With its domain. Of a name that is no PCI address: the name itself.
std::string FullPciAddress(absl::string_view name);

// Those of the class network controller, by address.
std::vector<std::string> NetworkPciDevices();

// Whether a driver of DPDK can get at the device: NotFound if there is none, naming those there
// are; FailedPrecondition if the kernel's driver has it, saying how to bind it to another;
// PermissionDenied if this user may not open it. `address`: a full one.
absl::Status CheckPciDevice(const std::string& address);

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_MACHINE_H_
