// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/reply_cache.h"

namespace weft::rpc {

uint8_t ReplyCache::ClassOf(size_t size) {
  uint8_t c = 0;
  while (ClassBytes(c) < size) ++c;
  return c;
}

void ReplyCache::Replace(ServerSession& session, ServerSlot& slot, size_t size) {
  Release(session, slot);
  slot.block_class = ClassOf(size);
  slot.block = new uint8_t[ClassBytes(slot.block_class)];
  ++session.blocks;
  Charge(static_cast<int64_t>(ClassBytes(slot.block_class)));
}

void ReplyCache::Release(ServerSession& session, ServerSlot& slot) {
  if (slot.block == nullptr) return;
  delete[] slot.block;
  slot.block = nullptr;
  --session.blocks;
  Charge(-static_cast<int64_t>(ClassBytes(slot.block_class)));
}

}  // namespace weft::rpc
