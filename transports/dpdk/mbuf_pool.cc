// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/dpdk/mbuf_pool.h"

#include <rte_errno.h>
#include <rte_mempool.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::dpdk {
namespace {

constexpr char kOpsName[] = "weft";

// What the mempool knows of its BufferPool: where it is at present. Null while mbufs are being made
// and while the memory is given back: there is no free list then.
struct Home {
  rte_mempool* mempool = nullptr;
  BufferPool* pool = nullptr;
};

Home* HomeOf(const rte_mempool* mempool) { return static_cast<Home*>(mempool->pool_data); }

int Alloc(rte_mempool* mempool) {
  mempool->pool_data = mempool->pool_config;
  return 0;
}

void Free(rte_mempool*) {}

int Enqueue(rte_mempool* mempool, void* const* objects, unsigned n) {
  if (HomeOf(mempool)->pool == nullptr) [[unlikely]]
    return 0;
  for (unsigned i = 0; i < n; ++i) {
    Buffer::FromSlot(SlotOf(static_cast<rte_mbuf*>(objects[i]))).Reset();
  }
  return 0;
}

// All or nothing. A driver that begins anew on a thread of DPDK's gets nothing: the free list is
// the owner's, and the rings are filled when that polls. net_virtio_user does so with packed rings,
// when a peer has come back.
int Dequeue(rte_mempool* mempool, void** objects, unsigned n) {
  BufferPool* const pool = HomeOf(mempool)->pool;
  if (pool == nullptr) [[unlikely]]
    return -ENOENT;
  if (!pool->BelongsToThisThread()) [[unlikely]]
    return -ENOBUFS;
  for (unsigned i = 0; i < n; ++i) {
    Buffer buffer = pool->Allocate();
    if (!buffer) [[unlikely]] {
      while (i > 0) Buffer::FromSlot(SlotOf(static_cast<rte_mbuf*>(objects[--i]))).Reset();
      return -ENOBUFS;
    }
    objects[i] = MbufOf(buffer.ReleaseSlot());
  }
  return 0;
}

unsigned Count(const rte_mempool* mempool) {
  const Home* home = HomeOf(mempool);
  return home->pool == nullptr ? mempool->size : static_cast<unsigned>(home->pool->available());
}

rte_mempool_ops MakeOps() {
  rte_mempool_ops ops = {};
  std::strncpy(ops.name, kOpsName, sizeof(ops.name) - 1);
  ops.alloc = &Alloc;
  ops.free = &Free;
  ops.enqueue = &Enqueue;
  ops.dequeue = &Dequeue;
  ops.get_count = &Count;
  return ops;
}

// Before main(), as DPDK's own: the table has no lock, and an order that processes must agree on.
const int ops_index = [] {
  const rte_mempool_ops ops = MakeOps();
  return rte_mempool_register_ops(&ops);
}();

void Release(void* context) {
  Home* home = static_cast<Home*>(context);
  home->pool = nullptr;
  rte_mempool_free(home->mempool);
  delete home;
}

void Adopt(rte_mempool*, void* opaque, void* object, unsigned) {
  auto* mbuf = static_cast<rte_mbuf*>(object);
  static_cast<BufferPool*>(opaque)->Adopt(SlotOf(mbuf), mbuf->buf_len);
}

}  // namespace

absl::Status MbufPool::Make(size_t count, size_t bytes) {
  static std::atomic<unsigned> pools{0};
  const std::string name = absl::StrCat("weft", pools.fetch_add(1));
  const size_t mbuf_bytes = sizeof(rte_mbuf) + sizeof(internal::BufferSlot) + bytes;
  const auto failed = [&](int error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "DPDK has no memory for ", count, " buffers of ", mbuf_bytes, " bytes (",
        std::strerror(error), "): raise memory_mb in dpdk { }, or lower buffers.count"));
  };

  auto* home = new Home;
  rte_mempool* mempool = rte_mempool_create_empty(
      name.c_str(), static_cast<unsigned>(count), static_cast<unsigned>(mbuf_bytes),
      /*cache_size=*/0, sizeof(rte_pktmbuf_pool_private), SOCKET_ID_ANY, /*flags=*/0);
  if (mempool == nullptr) {
    delete home;
    return failed(rte_errno);
  }
  home->mempool = mempool;
  rte_mempool_set_ops_byname(mempool, kOpsName, home);
  rte_pktmbuf_pool_private layout = {};
  layout.mbuf_data_room_size = static_cast<uint16_t>(bytes);
  layout.mbuf_priv_size = sizeof(internal::BufferSlot);
  rte_pktmbuf_pool_init(mempool, &layout);
  if (const int made = rte_mempool_populate_default(mempool); made < 0) {
    rte_mempool_free(mempool);
    delete home;
    return failed(-made);
  }
  rte_mempool_obj_iter(mempool, rte_pktmbuf_init, nullptr);

  mempool_ = mempool;
  idle_.emplace(RTE_PKTMBUF_HEADROOM, &Release, home);
  rte_mempool_obj_iter(mempool, &Adopt, &*idle_);
  home->pool = &*idle_;
  return absl::OkStatus();
}

BufferPool MbufPool::Take() {
  BufferPool pool = std::move(*idle_);
  idle_.reset();
  return pool;
}

void MbufPool::Lend(BufferPool* pool) { HomeOf(mempool_)->pool = pool; }

void MbufPool::Return(BufferPool pool) {
  idle_.emplace(std::move(pool));
  Lend(&*idle_);
}

bool IsSlotOfAPool(const rte_mbuf& mbuf) {
  return mbuf.pool->ops_index == ops_index && rte_mbuf_refcnt_read(&mbuf) == 1;
}

}  // namespace weft::dpdk
