// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/packets.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

absl::StatusOr<size_t> PacketPayloadBytes(DatagramPort& port) {
  const size_t room = std::min(port.capabilities().max_payload_bytes, port.pool().payload_bytes());
  constexpr size_t kLeast = kHeaderBytes + kFirstPayloadBytes;
  const Buffer buffer = port.pool().Allocate();
  if (room < kLeast || !buffer || buffer.headroom() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("R2P2 needs messages of ", kLeast, " bytes and ",
                                                   kHeaderBytes, " bytes of headroom; the port at ",
                                                   port.local_address().ToString(), " carries ",
                                                   room, " (see transport.buffers.bytes)"));
  }
  return std::min(kPacketPayloadBytes, room - kHeaderBytes);
}

absl::Status CheckMessagePacketsMax(size_t message_packets_max) {
  if (message_packets_max > 0 && message_packets_max <= UINT16_MAX) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("message_packets_max is ", message_packets_max,
                                                 "; it must be 1 to ", UINT16_MAX));
}

Buffer CopyOf(BufferPool& pool, absl::Span<const uint8_t> bytes) {
  Buffer buffer = pool.Allocate();
  if (buffer && !bytes.empty())
    std::memcpy(buffer.Append(bytes.size()), bytes.data(), bytes.size());
  return buffer;
}

}  // namespace weft::rpc
