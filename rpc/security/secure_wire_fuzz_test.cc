// SPDX-License-Identifier: Apache-2.0
//
// Any packet of a handshake is either refused or one that writes back as it was read.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "weft/rpc/security/secure_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using weft::rpc::HandshakePacket;
  using weft::rpc::RecordHead;
  const auto packet = HandshakePacket::Read({data, size});
  if (packet.has_value()) {
    uint8_t written[HandshakePacket::kWithoutPayloadMax];
    const size_t n = packet->Write(written);
    const bool padded = packet->type == HandshakePacket::Type::kInit;
    if (n > size || std::memcmp(written, data, padded ? HandshakePacket::kHeadBytes : n) != 0) {
      std::abort();
    }
    if (!packet->payload.empty() &&
        packet->payload.data() + packet->payload.size() != data + size) {
      std::abort();
    }
  }
  RecordHead head;
  if (size >= RecordHead::kBytes && head.Read(data)) {
    uint8_t written[RecordHead::kBytes];
    head.Write(written);
    if (std::memcmp(written, data, sizeof(written)) != 0) std::abort();
  }
  return 0;
}
