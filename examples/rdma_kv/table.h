// SPDX-License-Identifier: Apache-2.0
//
// The server's side of the table: it alone writes. Peers may read the memory at any time.
#ifndef WEFT_EXAMPLES_RDMA_KV_TABLE_H_
#define WEFT_EXAMPLES_RDMA_KV_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/examples/rdma_kv/layout.h"

namespace rdma_kv {

// One thread. Nothing is checked that whoever has the table has to check: keys are not empty, and
// fit together with their values.
class Table {
 public:
  // An empty table in `memory`, of shape.bytes() and aligned to 8, which must stay as long as it is
  // used. Versions follow `version`. The shape is valid.
  Table(const TableShape& shape, absl::Span<uint8_t> memory, uint64_t version = 0);

  const TableShape& shape() const { return shape_; }
  size_t size() const { return size_; }  // keys
  // Of the last change.
  uint64_t version() const { return version_; }

  struct Change {
    bool existed = false;  // before
    uint64_t version = 0;  // now; of the whole table where nothing changed
  };
  // Nothing: the key is not there, and both of its buckets are full.
  std::optional<Change> Put(absl::string_view key, absl::string_view value);
  Change Delete(absl::string_view key);

  // Nothing: there is no such key. What it shows is valid until the table changes.
  std::optional<SlotContents> Get(absl::string_view key) const;

  // Puts all that is in `other`, as it is, versions too; this one is empty. False, and then of no
  // use: something found no room.
  bool CopyFrom(const Table& other);

 private:
  static constexpr uint64_t kNone = UINT64_MAX;

  uint8_t* SlotAt(uint64_t slot) const { return memory_.data() + slot * shape_.slot_bytes; }
  SlotContents ContentsOf(uint64_t slot) const;
  // A slot with that key, or an empty one if it is empty, in the buckets of `of`, in the order in
  // which clients look; kNone.
  uint64_t Find(const KeyBuckets& in, absl::string_view key) const;
  // Moves a key out of full buckets, and returns the slot that it leaves; kNone: none can move.
  uint64_t MakeRoom(const KeyBuckets& in);
  void Write(uint64_t slot, const SlotContents& contents);

  const TableShape shape_;
  const absl::Span<uint8_t> memory_;
  uint64_t version_;
  size_t size_ = 0;
};

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_TABLE_H_
