// SPDX-License-Identifier: Apache-2.0
//
// How the ports of clients and servers are protected, and where they may do without. Not for users.
//
// Plain text is for programs of one machine: whoever is on the way between machines can read and
// forge it. So it leaves the machine only where that was chosen by name (docs/security.md).
#ifndef WEFT_RPC_PORT_PROTECTION_H_
#define WEFT_RPC_PORT_PROTECTION_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/rpc/security/security.h"
#include "weft/transports/address.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// Whether messages between `port` and `address` stay within this machine: over the kernel's
// loopback, shared memory, or a simulated network, whatever the addresses in it look like. An
// address that means any of this machine's does not.
bool StaysWithinMachine(const DatagramPort& port, const Address& address);

// `port`, protected as `security` says. Null: as it is; FailedPrecondition, which says what to
// write into the configuration, for a server's port that can be reached from beyond this machine.
// Else the errors of Security::Protect().
absl::StatusOr<std::unique_ptr<DatagramPort>> Protect(Loop& loop,
                                                      std::unique_ptr<DatagramPort> port,
                                                      const Security* security, Role role);

// Whether a client may talk to `address` through `port`, which Protect() gave: FailedPrecondition,
// as above, without `security` beyond this machine.
absl::Status MayTalkTo(const DatagramPort& port, const Address& address, const Security* security);

}  // namespace weft::rpc

#endif  // WEFT_RPC_PORT_PROTECTION_H_
