// SPDX-License-Identifier: Apache-2.0
//
// How client and server make packets. Not for users.
#ifndef WEFT_RPC_PACKETS_H_
#define WEFT_RPC_PACKETS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// Payload of a full packet over `port`: kPacketPayloadBytes, or less if the port carries less or
// its buffers hold less. InvalidArgument if nothing useful fits.
absl::StatusOr<size_t> PacketPayloadBytes(DatagramPort& port);

inline constexpr size_t kMaxBurst = 32;

// How many packets to take from `port` before their answers are sent: what it handles best. Fewer
// let the two ends of a fast port work at the same time, more save system calls.
inline size_t BurstOf(const DatagramPort& port) {
  return std::clamp<size_t>(port.capabilities().max_burst, 1, kMaxBurst);
}

// Packets of a session that may be in flight at most, however many credits there are: so many bytes
// are enough for any path, and no more than a port or a socket holds, whose packets may be long.
inline size_t WindowPackets(size_t packet_bytes) {
  constexpr size_t kWindowBytes = 512 * 1024;
  constexpr size_t kLeast = 16;
  return std::max(kLeast, kWindowBytes / packet_bytes);
}

// Nanoseconds; at most 100 years, so that a deadline can be computed of it.
inline int64_t TimeoutNs(absl::Duration timeout) {
  return absl::ToInt64Nanoseconds(std::min(timeout, absl::Hours(24 * 365 * 100)));
}

// InvalidArgument unless `message_packets_max`, of a client or a server, fits the header.
absl::Status CheckMessagePacketsMax(size_t message_packets_max);

// A buffer with a copy of `bytes`, which must fit; null when the pool is empty.
Buffer CopyOf(BufferPool& pool, absl::Span<const uint8_t> bytes);

}  // namespace weft::rpc

#endif  // WEFT_RPC_PACKETS_H_
