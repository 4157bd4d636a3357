// SPDX-License-Identifier: Apache-2.0
//
// A transport: opened once by name from the configuration, it hands out ports, one a thread and
// contract.
#ifndef WEFT_TRANSPORTS_TRANSPORT_H_
#define WEFT_TRANSPORTS_TRANSPORT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/virtual_time.h"
#include "weft/transports/address.h"
#include "weft/transports/capabilities.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/stream_port.h"

namespace weft {

struct PortOptions {
  // Where to listen; kNone for an address of the transport's choice, as a client wants. Stream
  // ports need none.
  Address local = {};
  // Several workers may share one address: each opens it with its own `queue` below the same
  // `queues`, and the transport spreads what arrives, everything from one peer to one queue.
  int queue = 0;
  int queues = 1;
  // Of frames: TCP segments that the device or the kernel has joined may be received as far as a
  // buffer holds them, however long that is. Else a port cuts them to what was sent, or asks for
  // none.
  bool joined_segments = false;
};

// Threads: ports may be opened and destroyed by several threads at once. A transport outlives its
// ports.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual absl::string_view name() const = 0;
  virtual const Capabilities& capabilities() const = 0;

  // Errors: Unimplemented for a contract that is not offered, naming those that are;
  // InvalidArgument for an address of another kind; AlreadyExists for one in use; PermissionDenied,
  // ResourceExhausted. Each says what to do.
  virtual absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options);
  virtual absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options);
  virtual absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options);
  virtual absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options);

  // The clock this transport's world runs on, null for real time. Loops that use its ports must be
  // made over it and run, all on one thread, by RunVirtual().
  virtual VirtualTime* virtual_time() { return nullptr; }
};

// "datagrams, streams": for messages and tables.
std::string ContractNames(const Capabilities& capabilities);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_TRANSPORT_H_
