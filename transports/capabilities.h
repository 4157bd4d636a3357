// SPDX-License-Identifier: Apache-2.0
//
// What a transport can do, as data: users ask, they do not guess.
#ifndef WEFT_TRANSPORTS_CAPABILITIES_H_
#define WEFT_TRANSPORTS_CAPABILITIES_H_

#include <cstddef>

namespace weft {

struct Capabilities {
  // Contracts offered.
  bool datagrams = false;
  bool streams = false;
  bool frames = false;
  bool remote_memory = false;

  // Datagrams: largest payload of one message, not counting any header of the layers below.
  size_t max_payload_bytes = 0;
  // Frames: largest frame, counting its Ethernet header but not the checksum behind it.
  size_t max_frame_bytes = 0;

  // Datagrams arrive, and arrive in the order they were sent, unless the peer fails. Frames never
  // promise it.
  bool reliable = false;
  bool ordered = false;

  // Room in front of the payload that lets a send go out without a copy.
  size_t headroom_bytes = 0;
  // Messages a single Send() or Receive() handles at its best; larger bursts are allowed.
  size_t max_burst = 32;

  // Datagrams: a message may lie in two places (Datagram::tail), and is not joined in a buffer
  // first.
  bool gather = false;
  // A datagram can be sent on under the address of its first sender: DatagramPort::Forward().
  bool keeps_foreign_source = false;
  // Datagrams: messages at least this long are better fetched by their receiver from where they lie
  // (BulkTransfers in bulk_transfers.h) than cut into datagrams; 0: there is no such way. A figure
  // that was measured, not one of the device's limits.
  size_t bulk_min_bytes = 0;
  // Ports have a wait_fd(), so that an idle loop can sleep.
  bool can_wait = false;
  // Time is virtual (Transport::virtual_time).
  bool virtual_time = false;

  // Frames: what the device does when a buffer asks for it.
  bool checksum_offload = false;
  bool segmentation_offload = false;

  // Remote memory: longest read or write of one operation.
  size_t max_operation_bytes = 0;
  // Any memory of the process can be registered, not only what RemoteMemory::Allocate() gave.
  bool registers_any_memory = false;
  // Atomic operations of peers are atomic with those of this process's processors as well, and not
  // only with each other.
  bool atomic_with_processor = false;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CAPABILITIES_H_
