// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/rdma_kv/layout.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace rdma_kv {
namespace {

using absl::Span;
using absl::string_view;

constexpr size_t kVersionAt = 8;
constexpr size_t kLengthsAt = 16;

// Odd numbers without a pattern (the fraction of the golden ratio, and of the roots of 2 and 3).
constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
constexpr uint64_t kSlotMultiplier = 0x6a09e667f3bcc909;
constexpr uint64_t kEnd = 0xbb67ae8584caa73b;

// Both halves of a product: each bit of the result depends on all bits of `value`.
uint64_t Mix(uint64_t value) {
  const auto product = static_cast<unsigned __int128>(value ^ kEnd) * kMultiplier;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t Load(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

size_t RoundUp(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

uint64_t LengthsWord(size_t key_bytes, size_t value_bytes) {
  return key_bytes | uint64_t{value_bytes} << 32;
}

// The checksum of a slot, a word at a time.
class Checksum {
 public:
  Checksum(const TableShape& shape, uint64_t slot)
      : state_(Mix(shape.id + (slot + 1) * kSlotMultiplier)) {}
  // The rotation keeps words that change places from cancelling out.
  void Add(uint64_t word) { state_ = Mix(std::rotl(state_, 29) ^ word); }
  uint64_t Result() const { return Mix(state_); }

 private:
  uint64_t state_;
};

// A word of the memory that others read meanwhile: written in one piece, and always written.
void Store(uint8_t* memory, uint64_t word) {
  std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(memory))
      .store(word, std::memory_order_relaxed);
}

// Word `at` of what a key and then a value make, as if they lay behind one another.
uint64_t WordOf(string_view key, string_view value, size_t at) {
  uint8_t bytes[8] = {};
  for (size_t i = 0; i < 8 && at + i < key.size() + value.size(); ++i) {
    const size_t from = at + i;
    bytes[i] = static_cast<uint8_t>(from < key.size() ? key[from] : value[from - key.size()]);
  }
  return Load(bytes);
}

}  // namespace

bool TableShape::valid() const {
  return std::has_single_bit(buckets) && buckets >= kBucketsMin && buckets <= kBucketsMax &&
         slot_bytes > 0 && slot_bytes % kSlotBytesUnit == 0 && slot_bytes <= kSlotBytesMax;
}

KeyBuckets BucketsOf(const TableShape& shape, string_view key) {
  // With the id, so that those keys that meet in one table do not meet in the next.
  uint64_t hash = Mix(shape.id ^ key.size());
  for (size_t at = 0; at < key.size(); at += 8) {
    hash = Mix(std::rotl(hash, 29) ^ WordOf(key, {}, at));
  }
  hash = Mix(hash);
  const uint32_t mask = shape.buckets - 1;
  KeyBuckets result = {static_cast<uint32_t>(hash) & mask,
                       static_cast<uint32_t>(hash >> 32) & mask};
  if (result.second == result.first) result.second = (result.first + 1) & mask;
  return result;
}

bool ReadSlot(const TableShape& shape, uint64_t slot, const uint8_t* bytes,
              SlotContents* contents) {
  const uint64_t lengths = Load(bytes + kLengthsAt);
  const auto key_bytes = static_cast<uint32_t>(lengths);
  const auto value_bytes = static_cast<uint32_t>(lengths >> 32);
  if (!shape.fits(key_bytes, value_bytes)) return false;
  const size_t end = kSlotHeaderBytes + RoundUp(size_t{key_bytes} + value_bytes);
  Checksum checksum(shape, slot);
  for (size_t at = kVersionAt; at < end; at += 8) checksum.Add(Load(bytes + at));
  if (checksum.Result() != Load(bytes)) return false;
  const char* const text = reinterpret_cast<const char*>(bytes) + kSlotHeaderBytes;
  *contents = {.version = Load(bytes + kVersionAt),
               .key = {text, key_bytes},
               .value = {text + key_bytes, value_bytes}};
  return true;
}

void WriteSlot(const TableShape& shape, uint64_t slot, const SlotContents& contents,
               uint8_t* slot_memory) {
  const size_t text_bytes = RoundUp(contents.key.size() + contents.value.size());
  const uint64_t lengths = LengthsWord(contents.key.size(), contents.value.size());
  Checksum checksum(shape, slot);
  checksum.Add(contents.version);
  checksum.Add(lengths);
  Store(slot_memory + kVersionAt, contents.version);
  Store(slot_memory + kLengthsAt, lengths);
  for (size_t at = 0; at < text_bytes; at += 8) {
    const uint64_t word = WordOf(contents.key, contents.value, at);
    checksum.Add(word);
    Store(slot_memory + kSlotHeaderBytes + at, word);
  }
  Store(slot_memory, checksum.Result());
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

Sight FindInBucket(const TableShape& shape, uint32_t bucket, Span<const uint8_t> bytes,
                   string_view key) {
  if (bytes.size() != shape.bucket_bytes()) return {};
  Sight sight = {.kind = Sight::Kind::kAbsent};
  for (size_t i = 0; i < kBucketSlots; ++i) {
    SlotContents contents;
    if (!ReadSlot(shape, uint64_t{bucket} * kBucketSlots + i, bytes.data() + i * shape.slot_bytes,
                  &contents)) {
      // Another slot may have the key all the same.
      if (sight.kind == Sight::Kind::kAbsent) sight.kind = Sight::Kind::kTorn;
      continue;
    }
    if (contents.key != key) continue;
    // It was deleted in one and put into another while they were read: the last counts.
    if (sight.kind == Sight::Kind::kFound && sight.version > contents.version) continue;
    sight = {.kind = Sight::Kind::kFound, .version = contents.version, .value = contents.value};
  }
  return sight;
}

}  // namespace rdma_kv
