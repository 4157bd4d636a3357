// SPDX-License-Identifier: Apache-2.0
//
// What one side of a session has granted the other: a table in the half of their memory that the
// owner writes, which the user looks into at each operation.
//
// Revocation. Around each operation the user makes SideControl::produced odd, and even again, and
// looks at the grant in between. The owner takes the grant out of the table, issues a barrier
// (barrier.h) and reads that word: if it is even, whatever comes sees that the grant has gone; if
// it is odd, one operation may have been too early, and has ended as soon as the word changes.
#ifndef WEFT_TRANSPORTS_SHM_GRANT_TABLE_H_
#define WEFT_TRANSPORTS_SHM_GRANT_TABLE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "weft/transports/remote_memory.h"
#include "weft/transports/shm/shared_memory.h"

namespace weft::shm {

// A grant as the user sees it. Written once, before its serial is.
struct alignas(64) SharedGrant {
  std::atomic<uint64_t> serial;  // 0: none
  std::atomic<uint64_t> offset;  // within the mapping
  std::atomic<uint64_t> bytes;
  std::atomic<uint32_t> mapping;  // Notice::Kind::kRegion handed it over
  std::atomic<uint32_t> access;   // a MemoryAccess
};
static_assert(sizeof(SharedGrant) == 64);

// The number of a mapping: its place with the user, below kMaxMappings, and above that how often
// the place had been used before. So a user who has not looked at his socket yet does not take the
// pages that were there before for those that a new grant is of.
inline constexpr uint32_t kMaxMappings = 4096;
constexpr uint32_t PlaceOf(uint32_t mapping) { return mapping % kMaxMappings; }
// The next in the same place; stays within an int32_t.
constexpr uint32_t NextInPlace(uint32_t mapping) { return (mapping + kMaxMappings) & INT32_MAX; }

// Of each direction of a session of remote memory.
inline constexpr uint32_t kMemoryRingBytes = 256 << 10;
inline constexpr uint32_t kMaxGrants = kMemoryRingBytes / sizeof(SharedGrant);

// What a RemoteKey holds. The user goes by the first three; the range is for people who debug.
struct ShmKey {
  uint64_t serial;  // never the same twice for one owner
  uint32_t entry;
  Side owner_side;
  uint8_t access;
  uint16_t zero;
  uint32_t link;  // the owner's number of the session
  uint32_t region;
  uint64_t offset;
  uint64_t bytes;
};
static_assert(sizeof(ShmKey) == sizeof(RemoteKey::bytes));

inline ShmKey Parse(const RemoteKey& key) {
  ShmKey parsed;
  std::memcpy(&parsed, key.bytes.data(), sizeof(parsed));
  return parsed;
}

// The owner's side: what is in the table, in memory that nobody else writes.
class GrantTable {
 public:
  GrantTable() = default;
  explicit GrantTable(uint8_t* ring) : shared_(reinterpret_cast<SharedGrant*>(ring)) {}

  bool full() const { return free_.empty() && grants_.size() == kMaxGrants; }

  // Not when full(). Returns its entry.
  uint32_t Add(uint64_t serial, uint32_t region, uint32_t mapping, uint64_t offset, uint64_t bytes,
               MemoryAccess access) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(grants_.size()));
      grants_.emplace_back();
    }
    const uint32_t entry = free_.back();
    free_.pop_back();
    grants_[entry] = {serial, region};
    SharedGrant& grant = shared_[entry];
    grant.offset.store(offset, std::memory_order_relaxed);
    grant.bytes.store(bytes, std::memory_order_relaxed);
    grant.mapping.store(mapping, std::memory_order_relaxed);
    grant.access.store(static_cast<uint32_t>(access), std::memory_order_relaxed);
    grant.serial.store(serial, std::memory_order_release);
    return entry;
  }

  // False if that grant is not there. Operations that began before may still be under way, and the
  // entry must not be used again while they are.
  bool Remove(uint32_t entry, uint64_t serial) {
    if (entry >= grants_.size() || serial == 0 || grants_[entry].serial != serial) return false;
    Clear(entry);
    return true;
  }
  // Those of one region; returns whether there were any.
  bool RemoveAllOf(uint32_t region) {
    bool any = false;
    for (uint32_t entry = 0; entry < grants_.size(); ++entry) {
      if (grants_[entry].serial == 0 || grants_[entry].region != region) continue;
      Clear(entry);
      any = true;
    }
    return any;
  }
  void RemoveAll() {
    for (uint32_t entry = 0; entry < grants_.size(); ++entry) Clear(entry);
  }

 private:
  struct Granted {
    uint64_t serial = 0;
    uint32_t region = 0;
  };
  void Clear(uint32_t entry) {
    if (grants_[entry].serial == 0) return;
    shared_[entry].serial.store(0, std::memory_order_relaxed);
    grants_[entry] = {};
    free_.push_back(entry);
  }

  SharedGrant* shared_ = nullptr;
  std::vector<Granted> grants_;
  std::vector<uint32_t> free_;
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_GRANT_TABLE_H_
