// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/rdma_kv/reachable.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace rdma_kv {
namespace {

using weft::Address;

// Scopes of link-local addresses are each side's own.
bool IsAt(const Address& address, const Address& machine) {
  if (address.kind() != machine.kind()) return false;
  return machine.kind() == Address::Kind::kIpv4 ? address.ipv4() == machine.ipv4()
                                                : address.ipv6() == machine.ipv6();
}

Address OfMachine(const Address& machine, uint16_t port) {
  return machine.kind() == Address::Kind::kIpv4
             ? Address::Ipv4(machine.ipv4(), port)
             : Address::Ipv6(machine.ipv6(), port, machine.scope());
}

}  // namespace

absl::StatusOr<Address> MemoryAddressOf(const std::string& text, const Address& machine) {
  const absl::StatusOr<Address> address = Address::Parse(text);
  if (!address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("memory_address: ", address.status().message()));
  }
  if (!machine.is_ip() && address->kind() == machine.kind()) return *address;
  if (machine.is_ip() && address->is_ip() && (address->is_any() || IsAt(*address, machine))) {
    return OfMachine(machine, address->port());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("memory_address: ", address->ToString(), " is not of the machine that says so, ",
                   machine.ToString(), "; open the memory and the RPC at the same IP address"));
}

}  // namespace rdma_kv
