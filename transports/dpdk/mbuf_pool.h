// SPDX-License-Identifier: Apache-2.0
//
// Buffers whose memory is DPDK's: each slot of a BufferPool is an mbuf of a mempool, so that a
// device receives into and sends from the very buffers that the layers above hold.
//
//   | rte_mbuf | BufferSlot | headroom ... data ... tailroom |
//   ^mbuf      ^slot        ^mbuf->buf_addr, slot->memory()
//
// The slot is the mbuf's private area. The mempool has no store of free mbufs of its own: drivers
// that allocate and free by it use the free list of the BufferPool. A free slot is an mbuf that was
// reset, as DPDK wants them: one reference, one segment, no next. Of a shared buffer DPDK sees one
// mbuf with one reference; when a driver frees it, that handle goes, and the slot stays with who
// has kept another.
//
// Threads: the pool's rules (core/buffer.h) are the mempool's. A driver allocates on the thread of
// its receive queue, which must be the pool's owner (others get nothing), and may free on any.
#ifndef WEFT_TRANSPORTS_DPDK_MBUF_POOL_H_
#define WEFT_TRANSPORTS_DPDK_MBUF_POOL_H_

#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "weft/core/buffer.h"

namespace weft::dpdk {

inline rte_mbuf* MbufOf(internal::BufferSlot* slot) {
  return reinterpret_cast<rte_mbuf*>(slot) - 1;
}
inline internal::BufferSlot* SlotOf(rte_mbuf* mbuf) {
  return reinterpret_cast<internal::BufferSlot*>(mbuf + 1);
}
static_assert(sizeof(rte_mbuf) == 128 && alignof(rte_mbuf) == 64);

// The largest memory of a slot: an mbuf counts it in 16 bits.
inline constexpr size_t kMbufMemoryMax = 65472;

// A mempool of mbufs, and the BufferPool that they are the slots of. Movable only while no device
// uses it.
class MbufPool {
 public:
  MbufPool() = default;
  // ~MbufPool() lets go of the memory; it goes with the last buffer.

  // `count` buffers with `bytes` of memory each, at most kMbufMemoryMax, a multiple of 64. With
  // ControlMutex() held. ResourceExhausted if DPDK's memory does not suffice.
  absl::Status Make(size_t count, size_t bytes);

  rte_mempool* mempool() const { return mempool_; }

  // Hands the buffers to a port, in whose `pool` they are until Return(). `pool` stays where it is.
  BufferPool Take();
  void Lend(BufferPool* pool);
  void Return(BufferPool pool);

 private:
  rte_mempool* mempool_ = nullptr;  // owned by the pool's release callback
  std::optional<BufferPool> idle_;
};

// Whether the mbuf is a slot of some BufferPool, and DPDK has one reference to it.
bool IsSlotOfAPool(const rte_mbuf& mbuf);

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_MBUF_POOL_H_
