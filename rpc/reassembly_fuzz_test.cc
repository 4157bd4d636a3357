// SPDX-License-Identifier: Apache-2.0
//
// Packets in any order, with any headers: what comes out has exactly the packets that were taken,
// and no buffer is lost. Input: four bytes a packet: flags, order (two), length.

#include <cstdint>
#include <cstdlib>

#include "weft/core/buffer.h"
#include "weft/rpc/reassembly.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft;
  using namespace weft::rpc;
  BufferPool pool({.count = 64, .bytes = 256, .headroom = 0});
  Reassembly message(32);
  size_t taken = 0;
  size_t taken_bytes = 0;
  for (; size >= 4; data += 4, size -= 4) {
    const uint8_t bytes[kHeaderBytes] = {0xCC, 8, 0, data[0], 0, 1, data[1], data[2]};
    Header header;
    if (!ReadHeader(bytes, &header)) continue;
    Buffer payload = pool.Allocate();
    if (!payload) std::abort();
    payload.Append(data[3]);
    switch (message.Add(header, std::move(payload))) {
      case Reassembly::Result::kIncomplete:
        ++taken;
        taken_bytes += data[3];
        break;
      case Reassembly::Result::kComplete: {
        const BufferChain chain = message.Take();
        if (chain.pieces() != taken + 1 || chain.size() != taken_bytes + data[3]) std::abort();
        taken = taken_bytes = 0;
        break;
      }
      default:
        break;
    }
    if (message.held() != taken || pool.available() != pool.count() - taken) std::abort();
  }
  return 0;
}
