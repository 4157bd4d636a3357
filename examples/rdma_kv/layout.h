// SPDX-License-Identifier: Apache-2.0
//
// How the store's table lies in memory, which is what a server and those that read it by themselves
// have to agree on.
//
// A table is an array of buckets, and a bucket four slots, each of which has room for one key with
// its value. A key has two buckets where it may be, by two halves of a hash: the first, unless that
// is full, and else the second. So one read of a bucket finds most keys, and two, one after the
// other, tell of any that it is not there: keys move from their first bucket to their second to
// make room, are written there before they go here, and never move back.
//
//   slot:  0  checksum      of all below up to the end of the value, the table's id and the slot's
//                           number
//          8  version       of the last change to the slot; grows with each change to the table
//         16  key bytes     32 bits; 0: nobody is here
//         20  value bytes   32 bits
//         24  key, value, zeros up to a multiple of 8
//
// Why a checksum: whoever reads a slot while it is written gets some bytes new and others old, in
// any order, as neither RDMA nor RemoteMemory promises more than 8 bytes at a time. A version in
// front and the same behind prove nothing then, since both may be new and what is between them old;
// one in each cache line (FaRM: Dragojevic et al., NSDI 2014) relies on devices that read whole
// lines. That 64 bits of checksum fit (Pilaf: Mitchell et al., USENIX ATC 2013) relies on nothing
// but luck of 1 in 2^64.
//
// An empty slot has a checksum too, so that "there is no such key" is proven as much as a value is,
// and the id of the table in all of them tells a table from those that were or will be in the same
// memory. Integers are in the byte order of the machines.
#ifndef WEFT_EXAMPLES_RDMA_KV_LAYOUT_H_
#define WEFT_EXAMPLES_RDMA_KV_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace rdma_kv {

inline constexpr size_t kBucketSlots = 4;
inline constexpr size_t kSlotHeaderBytes = 24;
// Slots are whole cache lines.
inline constexpr size_t kSlotBytesUnit = 64;
inline constexpr size_t kSlotBytesMax = 64 << 10;
inline constexpr uint32_t kBucketsMin = 2;
inline constexpr uint32_t kBucketsMax = 1u << 28;

struct TableShape {
  uint64_t id = 0;          // another one for each table that there ever is
  uint32_t buckets = 0;     // a power of two, kBucketsMin to kBucketsMax
  uint32_t slot_bytes = 0;  // a multiple of kSlotBytesUnit, at most kSlotBytesMax

  bool valid() const;
  size_t bucket_bytes() const { return kBucketSlots * size_t{slot_bytes}; }
  size_t bytes() const { return buckets * bucket_bytes(); }
  // Whether a slot has room for them.
  bool fits(size_t key_bytes, size_t value_bytes) const {
    return key_bytes <= slot_bytes && value_bytes <= slot_bytes &&
           kSlotHeaderBytes + key_bytes + value_bytes <= slot_bytes;
  }
};

// The two buckets of a key, which are not the same.
struct KeyBuckets {
  uint32_t first;
  uint32_t second;
};
KeyBuckets BucketsOf(const TableShape& shape, absl::string_view key);

// What somebody saw of a slot or a bucket.
struct Sight {
  enum class Kind {
    kFound,
    kAbsent,  // proven: there was a moment when the key was not here
    kTorn,    // the bytes belong to no state of this table: being written, or not this table
  };
  Kind kind = Kind::kTorn;
  uint64_t version = 0;  // if found
  absl::string_view value = {};
};

// Looks for `key` in `bytes`, which somebody read of bucket number `bucket`, and which may be
// anything. A value found lies in `bytes`.
Sight FindInBucket(const TableShape& shape, uint32_t bucket, absl::Span<const uint8_t> bytes,
                   absl::string_view key);

// One slot, decoded.
struct SlotContents {
  uint64_t version = 0;
  absl::string_view key = {};  // empty: nobody is here
  absl::string_view value = {};
};
// False for bytes that are no state of slot number `slot`; `bytes` has shape.slot_bytes.
bool ReadSlot(const TableShape& shape, uint64_t slot, const uint8_t* bytes, SlotContents* contents);

// Writes a slot that others may read meanwhile; what they fit must be, and `slot_memory` aligned to
// 8. Stores that follow are seen by nobody who does not see the slot as it is now.
void WriteSlot(const TableShape& shape, uint64_t slot, const SlotContents& contents,
               uint8_t* slot_memory);

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_LAYOUT_H_
