// SPDX-License-Identifier: Apache-2.0
//
// Which connection a segment belongs to: a hash table from addresses and ports to indices. Keys are
// kept by whoever has the things that the indices mean, so that an entry takes 8 bytes.
//
//   ConnectionTable table;
//   const uint32_t hash = HashOf(flow, secret);
//   table.Insert(hash, index);
//   index = table.Find(hash, [&](uint32_t i) { return connections[i].flow == flow; });
//
// It grows without ever standing still: a table twice as large is put beside it, and each Insert()
// moves a few entries there. It never shrinks.
#ifndef WEFT_TCP_CONNECTION_TABLE_H_
#define WEFT_TCP_CONNECTION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "weft/tcp/flow.h"

namespace weft::tcp {

// Peers choose their addresses and ports: without the secret they cannot tell which flows collide.
inline uint32_t HashOf(const Flow& flow, uint64_t secret) {
  const auto mix = [](uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  constexpr uint64_t kOdd1 = 0xa0761d6478bd642f, kOdd2 = 0xe7037ed1a0b428db;
  const uint64_t second = secret * kOdd2 + kOdd1;
  const uint64_t ports = uint64_t{flow.local_port} << 16 | flow.remote_port;
  uint64_t hash = mix(flow.remote.words()[0] ^ secret, flow.remote.words()[1] ^ second);
  hash = mix(hash ^ flow.local.words()[0] ^ kOdd1, flow.local.words()[1] ^ secret ^ kOdd2);
  hash = mix(hash ^ ports, second | 1);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

// One thread.
class ConnectionTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  // Indices are below it.
  static constexpr uint32_t kIndexMax = UINT32_MAX - 1;

  ConnectionTable();
  ConnectionTable(const ConnectionTable&) = delete;
  ConnectionTable& operator=(const ConnectionTable&) = delete;

  size_t size() const { return size_; }
  size_t memory_bytes() const { return (now_.capacity() + before_.capacity()) * sizeof(Slot); }

  // The index that was inserted under `hash` and for which `matches(index)` holds; kNone if there
  // is none.
  template <typename Matches>
  uint32_t Find(uint32_t hash, Matches matches) const {
    const uint32_t index = now_.Find(hash, matches);
    if (index != kNone || before_.slots == nullptr) [[likely]] {
      return index;
    }
    return before_.Find(hash, matches);
  }

  // The pair must not be there.
  void Insert(uint32_t hash, uint32_t index);
  // The pair must be there.
  void Erase(uint32_t hash, uint32_t index);

 private:
  // `mark`: 0 is free, kMoved was used, else the index plus 1.
  struct Slot {
    uint32_t hash;
    uint32_t mark;
  };
  static constexpr uint32_t kMoved = UINT32_MAX;
  static constexpr size_t kFirstSlots = 64;
  static constexpr size_t kMovedAtOnce = 16;

  struct Free {
    void operator()(Slot* slots) const { std::free(slots); }
  };

  // Open addressing, linear probing: a hash's place is its low bits.
  struct Slots {
    std::unique_ptr<Slot[], Free> slots;
    size_t mask = 0;

    size_t capacity() const { return slots == nullptr ? 0 : mask + 1; }
    void Allocate(size_t capacity);
    void Insert(uint32_t hash, uint32_t index);
    // The place of the pair, or capacity() if it is not there.
    size_t Locate(uint32_t hash, uint32_t index) const;
    void EraseAndCloseGap(size_t place);

    template <typename Matches>
    uint32_t Find(uint32_t hash, Matches& matches) const {
      for (size_t place = hash & mask; slots[place].mark != 0; place = (place + 1) & mask) {
        const Slot& slot = slots[place];
        if (slot.hash == hash && slot.mark != kMoved && matches(slot.mark - 1)) {
          return slot.mark - 1;
        }
      }
      return kNone;
    }
  };

  void MoveSome();

  Slots now_;
  Slots before_;      // while entries are moved out of it
  size_t moved_ = 0;  // places of before_ that were looked at
  size_t size_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONNECTION_TABLE_H_
