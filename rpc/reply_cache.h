// SPDX-License-Identifier: Apache-2.0
//
// Memory for the replies of one packet that a server keeps in case that they are lost. A slot's
// block is used for one reply after the other, so that a busy session allocates nothing. Not for
// users.
#ifndef WEFT_RPC_REPLY_CACHE_H_
#define WEFT_RPC_REPLY_CACHE_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/metrics.h"
#include "weft/rpc/server_session.h"

namespace weft::rpc {

class ReplyCache {
 public:
  // `bytes` shows how much memory all blocks and what is charged have.
  ReplyCache(size_t bytes_max, Gauge* bytes) : bytes_max_(bytes_max), bytes_(*bytes) {}

  // Whether what is kept has reached the limit, so that no more can be.
  bool full() const { return used_ >= bytes_max_; }
  // Whether there is enough room for a while.
  bool roomy() const { return used_ < bytes_max_ - bytes_max_ / 64; }

  // Makes sure that the slot's block holds `size` bytes, which may be 0, up to 65535.
  void Reserve(ServerSession& session, ServerSlot& slot, size_t size) {
    if (slot.block == nullptr || size > ClassBytes(slot.block_class)) [[unlikely]] {
      Replace(session, slot, size);
    }
  }
  // Frees the slot's block.
  void Release(ServerSession& session, ServerSlot& slot);

  // Counts memory that lies elsewhere.
  void Charge(int64_t bytes) {
    used_ += bytes;
    bytes_.Set(static_cast<int64_t>(used_));
  }

  // Lengths of blocks: four steps to each power of two, from 64 bytes on.
  static constexpr size_t ClassBytes(uint8_t c) { return size_t{4u + (c & 3u)} * 16 << (c >> 2); }
  static uint8_t ClassOf(size_t size);

 private:
  void Replace(ServerSession& session, ServerSlot& slot, size_t size);

  const size_t bytes_max_;
  Gauge& bytes_;
  size_t used_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_REPLY_CACHE_H_
