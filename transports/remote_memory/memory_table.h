// SPDX-License-Identifier: Apache-2.0
//
// The memory of an emulated port that peers may use: its regions, the keys to stretches of them,
// and what is done when a peer comes with one.
//
//   RemoteKey key = *table.Grant(peer, region, 0, 4096, MemoryAccess::kRead);
//   MemoryTable::Target target = table.Find(peer, packet);
//   if (target.result == Result::kOk) CopyFromShared(out, target.address, packet.piece_bytes);
//
// A RemoteKey is: 0 index (4 bytes), 4 access (1), 8 length (8), 16 secret (16); the rest is 0.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_MEMORY_TABLE_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_MEMORY_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/siphash.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/remote_memory/wire.h"

namespace weft::emulated {

// Numbers that nobody predicts who does not know the key: SipHash of a counter.
class Secrets {
 public:
  explicit Secrets(const SipHashKey& key) : key_(key) {}
  // Never 0.
  uint64_t Next();
  const SipHashKey& key() const { return key_; }

 private:
  const SipHashKey key_;
  uint64_t count_ = 0;
};

// What a key says of itself, to whom it was given.
struct KeyShape {
  KeyName name;
  uint64_t length = 0;
  MemoryAccess access{};
};
KeyShape ShapeOf(const RemoteKey& key);

class MemoryTable {
 public:
  MemoryTable(size_t regions_max, size_t keys_max, Secrets* secrets)
      : regions_max_(regions_max), keys_max_(keys_max), secrets_(secrets) {}
  ~MemoryTable();
  MemoryTable(const MemoryTable&) = delete;
  MemoryTable& operator=(const MemoryTable&) = delete;

  // As RemoteMemory's; `peer` is the number of one that is there.
  absl::StatusOr<MemoryRegion> Allocate(size_t bytes);
  absl::StatusOr<MemoryRegion> Register(absl::Span<uint8_t> memory);
  void Deregister(const MemoryRegion& region);
  absl::StatusOr<RemoteKey> Grant(uint32_t peer, const MemoryRegion& region, size_t offset,
                                  size_t bytes, MemoryAccess access);
  void Revoke(const RemoteKey& key);
  void RevokeAllOf(uint32_t peer);

  // Whether `bytes`, not empty, lie within one region.
  bool Covers(absl::Span<const uint8_t> bytes) const;

  struct Target {
    uint8_t* address = nullptr;  // of the piece
    Result result = Result::kDenied;
  };
  // Where the piece of the operation that `request` of `peer` names lies, if the key allows the
  // whole operation. Of atomics the address is a multiple of 8.
  Target Find(uint32_t peer, const Packet& request) const;

  size_t keys() const { return keys_.size() - free_keys_.size(); }
  size_t regions() const { return regions_.size(); }

 private:
  struct Region {
    absl::Span<uint8_t> bytes;
    size_t mapped = 0;  // bytes of pages of our own
  };
  struct Key {
    KeyName name;
    uint32_t peer = 0;
    uint32_t region = 0;  // 0: free
    uint8_t* address = nullptr;
    uint64_t length = 0;
    MemoryAccess access{};
  };

  absl::StatusOr<MemoryRegion> Add(absl::Span<uint8_t> bytes, size_t mapped);
  absl::Status CheckRoom() const;
  void Free(Key* key);

  const size_t regions_max_;
  const size_t keys_max_;
  Secrets* const secrets_;
  absl::flat_hash_map<uint32_t, Region> regions_;
  std::multimap<uintptr_t, size_t> extents_;  // of the regions: beginning, length
  size_t extent_max_ = 0;                     // the longest there ever was
  mutable absl::Span<const uint8_t> last_covered_;
  uint32_t last_region_ = 0;
  std::vector<Key> keys_;
  std::vector<uint32_t> free_keys_;
};

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_MEMORY_TABLE_H_
