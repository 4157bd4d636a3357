// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/rdma_kv/table.h"

namespace rdma_kv {

using absl::string_view;

Table::Table(const TableShape& shape, absl::Span<uint8_t> memory, uint64_t version)
    : shape_(shape), memory_(memory), version_(version) {
  const uint64_t slots = uint64_t{shape_.buckets} * kBucketSlots;
  for (uint64_t slot = 0; slot < slots; ++slot) Write(slot, {.version = version_});
}

SlotContents Table::ContentsOf(uint64_t slot) const {
  SlotContents contents;
  // What this process alone has written is always a state of the table.
  (void)ReadSlot(shape_, slot, SlotAt(slot), &contents);
  return contents;
}

uint64_t Table::Find(const KeyBuckets& in, string_view key) const {
  for (const uint64_t bucket : {in.first, in.second}) {
    for (size_t i = 0; i < kBucketSlots; ++i) {
      const uint64_t slot = bucket * kBucketSlots + i;
      if (ContentsOf(slot).key == key) return slot;
    }
  }
  return kNone;
}

uint64_t Table::MakeRoom(const KeyBuckets& in) {
  for (const uint32_t bucket : {in.first, in.second}) {
    for (size_t i = 0; i < kBucketSlots; ++i) {
      const uint64_t slot = uint64_t{bucket} * kBucketSlots + i;
      const SlotContents contents = ContentsOf(slot);
      const KeyBuckets its = BucketsOf(shape_, contents.key);
      if (its.first != bucket) continue;  // where it is now is its last place
      const uint64_t to = Find({its.second, its.second}, {});
      if (to == kNone) continue;
      // Clients look into the first bucket and then into the second: who does not find it there any
      // more finds it here.
      Write(to, contents);
      Write(slot, {.version = ++version_});
      return slot;
    }
  }
  return kNone;
}

void Table::Write(uint64_t slot, const SlotContents& contents) {
  WriteSlot(shape_, slot, contents, SlotAt(slot));
}

std::optional<Table::Change> Table::Put(string_view key, string_view value) {
  const KeyBuckets buckets = BucketsOf(shape_, key);
  uint64_t slot = Find(buckets, key);
  const bool existed = slot != kNone;
  if (!existed) {
    slot = Find(buckets, {});
    if (slot == kNone) slot = MakeRoom(buckets);
    if (slot == kNone) return std::nullopt;
    ++size_;
  }
  Write(slot, {.version = ++version_, .key = key, .value = value});
  return Change{existed, version_};
}

Table::Change Table::Delete(string_view key) {
  const uint64_t slot = Find(BucketsOf(shape_, key), key);
  if (slot == kNone) return {false, version_};
  Write(slot, {.version = ++version_});
  --size_;
  return {true, version_};
}

std::optional<SlotContents> Table::Get(string_view key) const {
  const uint64_t slot = Find(BucketsOf(shape_, key), key);
  if (slot == kNone) return std::nullopt;
  return ContentsOf(slot);
}

bool Table::CopyFrom(const Table& other) {
  version_ = other.version_;
  const uint64_t slots = uint64_t{other.shape_.buckets} * kBucketSlots;
  for (uint64_t from = 0; from < slots; ++from) {
    const SlotContents contents = other.ContentsOf(from);
    if (contents.key.empty()) continue;
    const KeyBuckets buckets = BucketsOf(shape_, contents.key);
    uint64_t to = Find(buckets, {});
    if (to == kNone) to = MakeRoom(buckets);
    if (to == kNone) return false;
    Write(to, contents);
    ++size_;
  }
  return true;
}

}  // namespace rdma_kv
