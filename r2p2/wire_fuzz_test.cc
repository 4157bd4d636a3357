// SPDX-License-Identifier: Apache-2.0
//
// Any datagram is either refused or one that writes back as it was read.

#include <cstdint>
#include <cstdlib>

#include "weft/r2p2/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::r2p2;
  Header header;
  if (ReadHeader({data, size}, &header)) {
    uint8_t written[kHeaderBytes];
    WriteHeader(header, written);
    Header again;
    if (!ReadHeader(written, &again) || again != header) std::abort();
  }
  Feedback feedback;
  if (ReadFeedback({data, size}, &feedback)) {
    uint8_t written[kFeedbackBytes];
    WriteFeedback(feedback, written);
    for (size_t i = 8; i < kFeedbackBytes; ++i) {
      if (written[i] != data[i]) std::abort();
    }
  }
  return 0;
}
