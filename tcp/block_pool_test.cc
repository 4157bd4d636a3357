// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/block_pool.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "gtest/gtest.h"

namespace weft::tcp {
namespace {

TEST(BlockPoolTest, BlocksAreDistinctAlignedAndOfTheirSize) {
  BlockPool pool;
  constexpr size_t kSizes[] = {1, 256, 257, 4096, 4097, 1 << 20};
  std::map<void*, size_t> blocks;
  for (const size_t bytes : kSizes) {
    for (int i = 0; i < 3; ++i) {
      void* block = pool.Take(bytes);
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
      std::memset(block, 0x5a, BlockPool::BlockBytes(bytes));
      EXPECT_TRUE(blocks.emplace(block, bytes).second);
    }
  }
  EXPECT_EQ(pool.taken_bytes(), 3u * (256 + 256 + 512 + 4096 + 8192 + (1 << 20)));
  for (const auto& [block, bytes] : blocks) pool.Give(block, bytes);
  EXPECT_EQ(pool.taken_bytes(), 0u);
}

TEST(BlockPoolTest, AFreedBlockIsTheNextOneTaken) {
  BlockPool pool;
  void* block = pool.Take(512);
  pool.Give(block, 512);
  EXPECT_EQ(pool.taken_bytes(), 0u);
  EXPECT_EQ(pool.Take(300), block) << "of the same class";
  pool.Give(block, 300);
}

TEST(BlockPoolTest, RefusesBeyondItsLimitAndCounts) {
  BlockPool pool({.bytes_max = 1024});
  void* a = pool.Take(512);
  void* b = pool.Take(512);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(pool.Take(1), nullptr);
  EXPECT_EQ(pool.refused(), 1u);
  pool.Give(a, 512);
  void* c = pool.Take(256);
  EXPECT_NE(c, nullptr);
  pool.Give(b, 512);
  pool.Give(c, 256);
}

TEST(BlockPoolTest, RefusesNothingAndTooMuch) {
  BlockPool pool;
  EXPECT_EQ(pool.Take(0), nullptr);
  EXPECT_EQ(pool.Take(BlockPool::kBlockBytesMax + 1), nullptr);
  EXPECT_EQ(pool.refused(), 2u);
}

TEST(BlockPoolTest, PagesOfSmallBlocksBeyondTheCacheGoBackToTheSystem) {
  BlockPool pool({.cached_bytes_max = 1 << 20});
  std::vector<void*> blocks;
  for (int i = 0; i < 20'000; ++i) {
    blocks.push_back(pool.Take(512));
    std::memset(blocks.back(), 0x5a, 512);
  }
  // In an order that leaves each page with some for long.
  for (size_t first = 0; first < 7; ++first) {
    for (size_t i = first; i < blocks.size(); i += 7) pool.Give(blocks[i], 512);
  }
  EXPECT_EQ(pool.taken_bytes(), 0u);
  EXPECT_LE(pool.cached_bytes(), size_t{1} << 20);
  EXPECT_NE(pool.cached_bytes(), 0u);
  void* again = pool.Take(512);
  pool.Give(again, 512);
}

TEST(BlockPoolTest, LargeBlocksBeyondTheCacheGoBackToTheSystem) {
  BlockPool pool({.cached_bytes_max = 1 << 20});
  std::vector<void*> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(pool.Take(512 << 10));
  for (void* block : blocks) pool.Give(block, 512 << 10);
  EXPECT_EQ(pool.taken_bytes(), 0u);
  EXPECT_EQ(pool.cached_bytes(), size_t{1} << 20);
}

}  // namespace
}  // namespace weft::tcp
