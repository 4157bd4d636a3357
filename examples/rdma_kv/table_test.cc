// SPDX-License-Identifier: Apache-2.0
//
// The table, and what those see of it who read it while it is written.
#include "weft/examples/rdma_kv/table.h"

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/examples/rdma_kv/layout.h"

namespace rdma_kv {
namespace {

constexpr TableShape kShape = {.id = 0x1234, .buckets = 8, .slot_bytes = 128};

// A table with memory of its own.
struct OwnTable {
  explicit OwnTable(const TableShape& shape = kShape)
      : memory(shape.bytes() / 8), table(shape, bytes()) {}
  absl::Span<uint8_t> bytes() {
    return {reinterpret_cast<uint8_t*>(memory.data()), memory.size() * 8};
  }
  absl::Span<const uint8_t> Bucket(uint32_t bucket) {
    const TableShape& shape = table.shape();
    return bytes().subspan(bucket * shape.bucket_bytes(), shape.bucket_bytes());
  }
  // As a client looks for it.
  Sight Look(absl::string_view key) {
    const KeyBuckets buckets = BucketsOf(table.shape(), key);
    const Sight first = FindInBucket(table.shape(), buckets.first, Bucket(buckets.first), key);
    if (first.kind != Sight::Kind::kAbsent) return first;
    return FindInBucket(table.shape(), buckets.second, Bucket(buckets.second), key);
  }

  std::vector<uint64_t> memory;
  Table table;
};

TEST(TableTest, DoesAsAMapDoesAndClientsSeeTheSame) {
  OwnTable own;
  std::map<std::string, std::string> model;
  weft::Prng prng(1);
  int full = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string key = absl::StrCat("key", prng.Below(40));
    if (prng.Below(3) == 0) {
      EXPECT_EQ(own.table.Delete(key).existed, model.erase(key) == 1);
    } else {
      const std::string value(prng.Below(90), static_cast<char>('a' + prng.Below(26)));
      const uint64_t before = own.table.version();
      const auto change = own.table.Put(key, value);
      if (change.has_value()) {
        EXPECT_EQ(change->existed, model.count(key) == 1);
        EXPECT_GT(change->version, before);
        model[key] = value;
      } else {
        EXPECT_EQ(model.count(key), 0u);
        ++full;
      }
    }
    const Sight sight = own.Look(key);
    const auto entry = own.table.Get(key);
    const auto expected = model.find(key);
    ASSERT_EQ(entry.has_value(), expected != model.end());
    ASSERT_EQ(sight.kind, entry ? Sight::Kind::kFound : Sight::Kind::kAbsent);
    if (entry.has_value()) {
      EXPECT_EQ(entry->value, expected->second);
      EXPECT_EQ(sight.value, expected->second);
      EXPECT_EQ(sight.version, entry->version);
    }
    ASSERT_EQ(own.table.size(), model.size());
  }
  EXPECT_GT(full, 0);  // 32 slots for 40 keys
}

TEST(TableTest, CopiesIntoALargerOneWithItsVersions) {
  OwnTable own;
  int keys = 0;
  while (own.table.Put(absl::StrCat("k", keys), absl::StrCat("v", keys)).has_value()) ++keys;
  TableShape larger = kShape;
  larger.id = 0x1235;
  larger.buckets *= 2;
  OwnTable copy(larger);
  ASSERT_TRUE(copy.table.CopyFrom(own.table));
  EXPECT_GE(copy.table.version(), own.table.version());
  EXPECT_EQ(copy.table.size(), own.table.size());
  for (int i = 0; i < keys; ++i) {
    const std::string key = absl::StrCat("k", i);
    ASSERT_TRUE(copy.table.Get(key).has_value()) << key;
    EXPECT_EQ(copy.table.Get(key)->value, absl::StrCat("v", i));
    EXPECT_EQ(copy.table.Get(key)->version, own.table.Get(key)->version);
  }
}

TEST(TableTest, TellsNothingOfMemoryThatIsNotItsOwn) {
  OwnTable own;
  ASSERT_TRUE(own.table.Put("key", "value").has_value());
  const uint32_t bucket = BucketsOf(kShape, "key").first;
  ASSERT_EQ(own.Look("key").kind, Sight::Kind::kFound);

  // Zeros, too little, another bucket, another table in the same place.
  const std::vector<uint8_t> zeros(kShape.bucket_bytes());
  EXPECT_EQ(FindInBucket(kShape, bucket, zeros, "key").kind, Sight::Kind::kTorn);
  EXPECT_EQ(FindInBucket(kShape, bucket, own.Bucket(bucket).subspan(1), "key").kind,
            Sight::Kind::kTorn);
  EXPECT_EQ(FindInBucket(kShape, bucket ^ 1, own.Bucket(bucket), "key").kind, Sight::Kind::kTorn);
  TableShape other = kShape;
  other.id = 0x1235;
  EXPECT_EQ(FindInBucket(other, bucket, own.Bucket(bucket), "key").kind, Sight::Kind::kTorn);

  // Any byte of a slot's used part changed, the lengths too.
  for (size_t at = 0; at < kSlotHeaderBytes + 8; ++at) {
    std::vector<uint8_t> bytes(own.Bucket(bucket).begin(), own.Bucket(bucket).end());
    bytes[at] ^= 0x40;
    EXPECT_EQ(FindInBucket(kShape, bucket, bytes, "key").kind, Sight::Kind::kTorn) << at;
  }
}

// All that a reader can get of a slot that is written: each word old or new.
TEST(TableTest, NoMixtureOfTwoStatesPassesForOne) {
  constexpr size_t kWords = 10;  // that differ at most
  const std::vector<std::pair<SlotContents, SlotContents>> changes = {
      {{.version = 7, .key = "key", .value = "0123456789012345678901234567890123456789"},
       {.version = 8, .key = "key", .value = "9876543210987654321098765432109876543210"}},
      // A single byte of the value; longer; deleted; another key.
      {{.version = 7, .key = "key", .value = "aaaaaaaaaaaaaaaa"},
       {.version = 8, .key = "key", .value = "aaaaaaaaaaaabaaa"}},
      {{.version = 7, .key = "key", .value = "short"},
       {.version = 9, .key = "key", .value = "short, and then a good deal longer"}},
      {{.version = 1, .key = "key", .value = "short, and then a good deal longer"}, {.version = 2}},
      {{.version = 1}, {.version = 2, .key = "another key", .value = ""}},
  };
  for (const auto& [before, after] : changes) {
    std::vector<uint64_t> old_words(kShape.slot_bytes / 8);
    std::vector<uint64_t> new_words = old_words;
    WriteSlot(kShape, 3, before, reinterpret_cast<uint8_t*>(old_words.data()));
    new_words = old_words;
    WriteSlot(kShape, 3, after, reinterpret_cast<uint8_t*>(new_words.data()));
    for (uint32_t mask = 0; mask < 1u << kWords; ++mask) {
      std::vector<uint64_t> mixed = old_words;
      for (size_t i = 0; i < kWords; ++i) {
        if ((mask >> i & 1) != 0) mixed[i] = new_words[i];
      }
      SlotContents seen;
      if (!ReadSlot(kShape, 3, reinterpret_cast<const uint8_t*>(mixed.data()), &seen)) continue;
      const SlotContents& same = seen.version == before.version ? before : after;
      EXPECT_EQ(seen.version, same.version);
      EXPECT_EQ(seen.key, same.key);
      EXPECT_EQ(seen.value, same.value);
    }
  }
}

// A value that says itself whether it is whole: the number of a round, repeated.
std::string ValueOf(uint64_t round, size_t words) {
  std::string value;
  for (size_t i = 0; i < words; ++i) value.append(reinterpret_cast<const char*>(&round), 8);
  return value;
}

// A processor's loads in place of a device's reads.
TEST(TableTest, AThreadThatReadsMeanwhileSeesWholeValuesInOrder) {
  constexpr TableShape kLong = {.id = 5, .buckets = 2, .slot_bytes = 512};
  constexpr uint64_t kRounds = 20000;
  OwnTable own(kLong);
  const KeyBuckets buckets = BucketsOf(kLong, "key");
  ASSERT_TRUE(own.table.Put("key", ValueOf(0, 50)).has_value());
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t round = 1; round <= kRounds; ++round) {
      own.table.Put("key", ValueOf(round, 1 + round % 50));
      if (round % 16 == 0) own.table.Delete("key");
    }
    own.table.Put("key", ValueOf(kRounds + 1, 50));
    done = true;
  });
  uint64_t version = 0;
  uint64_t round = 0;
  bool last = false;
  std::vector<uint64_t> words(kLong.bucket_bytes() / 8);
  while (!last) {
    last = done;
    uint64_t* const from = own.memory.data() + buckets.first * words.size();
    for (size_t i = 0; i < words.size(); ++i) {
      words[i] = std::atomic_ref<uint64_t>(from[i]).load(std::memory_order_relaxed);
    }
    const Sight sight =
        FindInBucket(kLong, buckets.first,
                     {reinterpret_cast<const uint8_t*>(words.data()), words.size() * 8}, "key");
    if (sight.kind != Sight::Kind::kFound) continue;
    std::memcpy(&round, sight.value.data(), 8);
    ASSERT_EQ(sight.value, ValueOf(round, sight.value.size() / 8));
    ASSERT_GE(sight.version, version);
    version = sight.version;
  }
  writer.join();
  EXPECT_EQ(round, kRounds + 1);
}

// Clients compute with the same layout on other machines: it must not change by accident.
TEST(TableTest, LayoutIsAsDocumented) {
  std::vector<uint64_t> words(kShape.slot_bytes / 8);
  auto* const bytes = reinterpret_cast<uint8_t*>(words.data());
  WriteSlot(kShape, 0, {.version = 0x0102, .key = "key", .value = "value"}, bytes);
  EXPECT_EQ(words[1], 0x0102u);
  EXPECT_EQ(words[2], 3u | uint64_t{5} << 32);
  EXPECT_EQ(std::memcmp(bytes + kSlotHeaderBytes, "keyvalue", 8), 0);
  EXPECT_EQ(words[0], 16289882652353249358u);
  EXPECT_EQ(BucketsOf({.id = 1, .buckets = 1024, .slot_bytes = 64}, "key").first, 879u);
  EXPECT_EQ(BucketsOf({.id = 1, .buckets = 1024, .slot_bytes = 64}, "key").second, 46u);
}

TEST(TableTest, KeysSpreadOverTheBuckets) {
  constexpr TableShape kWide = {.id = 77, .buckets = 4096, .slot_bytes = 64};
  OwnTable own(kWide);
  int keys = 0;
  while (own.table.Put(absl::StrCat("user:", keys), "x").has_value()) ++keys;
  // With a good hash there is room for more than half of the slots before two buckets are full that
  // nobody can leave.
  EXPECT_GT(keys, 4096 * 4 * 0.5);
}

TEST(TableTest, RefusesShapesThatCannotBe) {
  EXPECT_TRUE(kShape.valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 0, .slot_bytes = 64}).valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 1, .slot_bytes = 64}).valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 3, .slot_bytes = 64}).valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 1u << 31, .slot_bytes = 64}).valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 4, .slot_bytes = 0}).valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 4, .slot_bytes = 100}).valid());
  EXPECT_FALSE((TableShape{.id = 1, .buckets = 4, .slot_bytes = 1 << 20}).valid());
}

}  // namespace
}  // namespace rdma_kv
