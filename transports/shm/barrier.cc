// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/barrier.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace weft::shm {
namespace {

int Membarrier(int command) { return static_cast<int>(syscall(SYS_membarrier, command, 0, 0)); }

}  // namespace

bool BarrierRegistered() {
  static const bool registered = Membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0 &&
                                 Membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
  return registered;
}

void FullBarrier() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (BarrierRegistered()) Membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

}  // namespace weft::shm
