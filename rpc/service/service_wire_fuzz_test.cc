// SPDX-License-Identifier: Apache-2.0
//
// Any bytes are either refused or a head that writes back as it was read.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "weft/rpc/service/service_wire.h"

namespace {

void Check(bool good) {
  if (!good) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::rpc;
  RequestHead request;
  if (ReadRequestHead({data, size}, &request)) {
    uint8_t written[kRequestHeadBytesMax];
    const size_t bytes = WriteRequestHead(request, written);
    Check(bytes == request.bytes() && bytes <= size && std::memcmp(written, data, bytes) == 0);
  }
  for (uint8_t kind = 0; kind <= kRequestKindMax; ++kind) {
    ReplyHead reply;
    if (!ReadReplyHead({data, size}, static_cast<RequestKind>(kind), &reply)) continue;
    uint8_t written[kReplyHeadBytesMax];
    const size_t bytes = WriteReplyHead(reply, static_cast<RequestKind>(kind), written);
    Check(bytes <= size && std::memcmp(written, data, bytes) == 0);
  }
  return 0;
}
