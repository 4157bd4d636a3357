// SPDX-License-Identifier: Apache-2.0
//
// Remote memory over whatever there is: the transport's own where it has one
// (capabilities().remote_memory), else emulated over its datagrams.
//
//   auto memory = OpenRemoteMemory(*transport, {.local = address});
//
// Without `local`, a port that would be at any address of the machine is at 127.0.0.1 instead, as
// peers must name it; where peers beyond the machine are allowed, give one that they reach.
//
// The two do not talk to each other: all programs that share memory open it over transports of one
// kind. Programs with a weft::Host use Worker::OpenRemoteMemory(), which reads the configuration.
//
// What is written to memory from beyond this machine in plain text, anybody on the way can forge.
// So it is refused (FailedPrecondition) unless chosen: a port at an address that others can reach,
// and a peer that is not of this machine.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_OPEN_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_OPEN_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/remote_memory/emulated_memory.h"
#include "weft/transports/transport.h"

namespace weft {

struct RemoteMemoryOptions {
  // As beyond_machine of EmulatedMemoryOptions, for the transport's own remote memory too.
  bool beyond_machine = false;
  // Wraps a port so that what goes through it is protected. Where it is given, memory is always
  // emulated, over such a port: a device's own does not encrypt.
  std::function<absl::StatusOr<std::unique_ptr<DatagramPort>>(std::unique_ptr<DatagramPort>)>
      protect = nullptr;
  EmulatedMemoryOptions emulated = {};  // but for its beyond_machine, and keepalive in virtual time
};

// Errors: those of the transport, which must have remote memory or datagrams; of `protect`; of
// EmulatedMemory::Create(); FailedPrecondition, as above. `transport` outlives the port.
absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
    Transport& transport, const PortOptions& port, const RemoteMemoryOptions& options = {});

}  // namespace weft

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_OPEN_H_
