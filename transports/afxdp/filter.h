// SPDX-License-Identifier: Apache-2.0
//
// Which frames are taken from an interface, in the form that the XDP program reads.
#ifndef WEFT_TRANSPORTS_AFXDP_FILTER_H_
#define WEFT_TRANSPORTS_AFXDP_FILTER_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/afxdp/afxdp_program.h"

namespace weft::afxdp {

// What the configuration asks for.
struct FilterConfig {
  std::vector<Address> addresses;  // port 0; empty: those of SetFilter(), or every frame
  AfxdpSettings settings = {};     // the ports
};

// Errors: InvalidArgument naming the field, the text and what would be right.
absl::StatusOr<FilterConfig> ParseFilter(const config::Afxdp& config);

// InvalidArgument unless a host can have `address`. `what` is where it comes from.
absl::Status CheckHostAddress(const Address& address, absl::string_view what);

// The key of map "addresses".
AfxdpAddress AddressKey(const Address& address);

bool IsLinkLocal(const Address& address);

// An IP address, and the value that it has in map "addresses".
struct OwnedAddress {
  Address address;
  AfxdpOwner owner;
};

// What is taken of `wanted` when the kernel has `kernel` on the same interface. An address that
// both have is shared if ports are given, as the kernel still gets what is not for them. Otherwise
// it is left to the kernel, which would be cut off: FailedPrecondition names it, unless it is
// link-local, as those that are made from the MAC address are the same for everybody.
absl::Status ShareWithKernel(absl::Span<const Address> wanted, absl::Span<const Address> kernel,
                             bool restrict_ports, absl::string_view interface,
                             std::vector<OwnedAddress>* taken);

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_FILTER_H_
