// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/port_protection.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace weft::rpc {
namespace {

absl::Status MustChoose(absl::string_view who, const Address& address) {
  return absl::FailedPreconditionError(absl::StrCat(
      who, " ", address.ToString(),
      ", which is beyond this machine, and nothing says how that is protected. Write into the "
      "configuration `security { psk { ... } }` or `security { x509 { ... } }` for encryption and "
      "mutual authentication, or `security { plaintext { } }` for none; docs/security.md says "
      "more"));
}

}  // namespace

bool StaysWithinMachine(const DatagramPort& port, const Address& address) {
  return port.capabilities().virtual_time || address.is_within_machine();
}

absl::StatusOr<std::unique_ptr<DatagramPort>> Protect(Loop& loop,
                                                      std::unique_ptr<DatagramPort> port,
                                                      const Security* security, Role role) {
  if (security != nullptr) return security->Protect(loop, std::move(port), role);
  if (role == Role::kServer) {
    const Address address = port->local_address();
    if (!StaysWithinMachine(*port, address)) return MustChoose("the server listens at", address);
  }
  return port;
}

absl::Status MayTalkTo(const DatagramPort& port, const Address& address, const Security* security) {
  if (security != nullptr || StaysWithinMachine(port, address)) return absl::OkStatus();
  return MustChoose("the client is to talk to", address);
}

}  // namespace weft::rpc
