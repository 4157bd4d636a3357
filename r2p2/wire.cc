// SPDX-License-Identifier: Apache-2.0
#include "weft/r2p2/wire.h"

namespace weft::r2p2 {

void WriteFeedback(const Feedback& feedback, uint8_t* out) {
  WriteHeader({.type = MessageType::kFeedback,
               .policy = Policy::kLbRoute,
               .first = true,
               .last = true,
               .request_id = feedback.request_id,
               .packet_order = 1},
              out);
  StoreBig16(out + 8, feedback.request_id);
  StoreBig16(out + 10, feedback.client_port);
  StoreBig32(out + 12, feedback.client_ip);
}

bool ReadFeedback(absl::Span<const uint8_t> datagram, Feedback* feedback) {
  // Only magic, type and the last 8 bytes are meaningful; the original leaves the rest as it
  // happens to be.
  if (datagram.size() < kFeedbackBytes || datagram[0] != internal::kMagic ||
      datagram[2] >> 4 != static_cast<uint8_t>(MessageType::kFeedback)) {
    return false;
  }
  *feedback = {LoadBig16(&datagram[8]), LoadBig16(&datagram[10]), LoadBig32(&datagram[12])};
  return true;
}

}  // namespace weft::r2p2
