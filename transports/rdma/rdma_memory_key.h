// SPDX-License-Identifier: Apache-2.0
//
// What is in a RemoteKey of the RDMA transport, in the byte order of the machines, which RDMA wants
// to be the same. One that came in a message may hold anything.
#ifndef WEFT_TRANSPORTS_RDMA_RDMA_MEMORY_KEY_H_
#define WEFT_TRANSPORTS_RDMA_RDMA_MEMORY_KEY_H_

#include <cstdint>
#include <cstring>

#include "weft/transports/remote_memory.h"

namespace weft::rdma {

struct MemoryKey {
  uint64_t address = 0;
  uint64_t incarnation = 0;  // of the owner's port
  uint64_t bytes = 0;
  uint32_t remote_key = 0;  // the window's
  uint32_t qpn = 0;         // of the owner's queue pair that it is bound to
  uint32_t slot = 0;        // among the owner's keys
  uint16_t generation = 0;  // of that
  uint8_t access = 0;       // bits of MemoryAccess
  uint8_t zero = 0;

  static MemoryKey Of(const RemoteKey& key) {
    MemoryKey fields;
    std::memcpy(&fields, key.bytes.data(), sizeof(fields));
    return fields;
  }
  RemoteKey ToKey() const {
    RemoteKey key;
    std::memcpy(key.bytes.data(), this, sizeof(*this));
    return key;
  }
};
static_assert(sizeof(MemoryKey) == sizeof(RemoteKey::bytes));

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RDMA_MEMORY_KEY_H_
