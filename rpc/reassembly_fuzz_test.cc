// SPDX-License-Identifier: Apache-2.0
//
// Packets in any order, with any headers of either format: what comes out has exactly the packets
// that were taken, what is told of them is true, and no buffer is lost. Input: four bytes a packet:
// flags (0x01: extended), order (two), length.

#include <cstdint>
#include <cstdlib>
#include <set>
#include <utility>

#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/bytes.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/wire.h"

namespace {

using namespace weft;
using namespace weft::rpc;

void Check(bool good) {
  if (!good) std::abort();
}

// What a PROGRESS says against the packets that were `taken`.
void CheckProgress(const Reassembly& message, const std::set<size_t>& taken) {
  uint8_t bitmap[Reassembly::kBitmapBytes];
  const Progress progress = message.FillProgress(1000, bitmap);
  Check(progress.granted == (message.total() == 0 ? 1000 : message.total()));
  const size_t cumulative = message.cumulative();
  Check(!taken.contains(cumulative));
  size_t told = cumulative;
  for (size_t bit = 0; bit < progress.bits; ++bit) {
    Check(progress.has(bit) == taken.contains(cumulative + 1 + bit));
    told += progress.has(bit);
  }
  Check(told == taken.size());
  Check(message.out_of_order() == taken.size() - cumulative);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  BufferPool pool({.count = 128, .bytes = 256, .headroom = 0});
  Reassembly message(100);
  std::set<size_t> taken;
  size_t taken_bytes = 0;
  for (; size >= 4; data += 4, size -= 4) {
    const uint8_t flags = data[0];
    const uint16_t order = LoadBig16(data + 1);
    Buffer payload = pool.Allocate();
    Check(static_cast<bool>(payload));
    payload.Append(data[3]);
    Reassembly::Result result;
    const ExtendedHeader extended = {
        .first = (flags & 0x80) != 0, .last = (flags & 0x40) != 0, .packet_order = order};
    if ((flags & 1) != 0) {
      result = message.Add(extended.index(), extended.total(), extended.last, std::move(payload));
    } else {
      const uint8_t bytes[kHeaderBytes] = {0xCC, 8, 0, flags, 0, 1, data[1], data[2]};
      Header header;
      if (!ReadHeader(bytes, &header)) continue;
      result = message.Add(header, std::move(payload));
    }
    if (result == Reassembly::Result::kIncomplete || result == Reassembly::Result::kComplete) {
      Check(taken.insert(extended.index()).second);
      taken_bytes += data[3];
    } else if (result == Reassembly::Result::kDuplicate) {
      Check(taken.contains(extended.index()));
    }
    if (result == Reassembly::Result::kComplete) {
      Check(message.complete() && message.total() == taken.size());
      const BufferChain chain = message.Take();
      Check(chain.pieces() == taken.size() && chain.size() == taken_bytes);
      Check(*taken.rbegin() + 1 == taken.size());
      taken.clear();
      taken_bytes = 0;
    }
    Check(message.held() == taken.size() && pool.available() == pool.count() - taken.size());
    CheckProgress(message, taken);
  }
  return 0;
}
