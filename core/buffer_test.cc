// SPDX-License-Identifier: Apache-2.0
#include "weft/core/buffer.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace weft {
namespace {

TEST(BufferTest, DataGrowsAtBothEndsAndShrinks) {
  BufferPool pool({.count = 1, .bytes = 256, .headroom = 64});
  Buffer buffer = pool.Allocate();
  ASSERT_TRUE(buffer);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.headroom(), 64u);
  EXPECT_EQ(buffer.tailroom(), 192u);
  EXPECT_EQ(pool.payload_bytes(), 192u);

  std::memcpy(buffer.Append(7), "payload", 7);
  std::memcpy(buffer.Prepend(4), "head", 4);
  EXPECT_EQ(std::string(buffer.bytes().begin(), buffer.bytes().end()), "headpayload");
  buffer.TrimFront(2);
  buffer.TrimBack(3);
  EXPECT_EQ(std::string(buffer.bytes().begin(), buffer.bytes().end()), "adpayl");
  EXPECT_EQ(buffer.headroom(), 62u);
}

TEST(BufferTest, MovingKeepsTheSlotAndEmptiesTheSource) {
  BufferPool pool({.count = 2});
  Buffer a = pool.Allocate();
  a.Append(1)[0] = 42;
  const uint8_t* data = a.data();
  Buffer b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_EQ(b.data(), data);
  Buffer c = pool.Allocate();
  EXPECT_EQ(pool.available(), 0u);
  c = std::move(b);
  EXPECT_EQ(c.data()[0], 42);
  EXPECT_EQ(pool.available(), 1u);
}

TEST(BufferPoolTest, EmptyPoolRefusesAndRecovers) {
  BufferPool pool({.count = 3, .bytes = 64, .headroom = 0});
  std::vector<Buffer> held;
  for (Buffer b = pool.Allocate(); b; b = pool.Allocate()) held.push_back(std::move(b));
  EXPECT_EQ(held.size(), 3u);
  held.pop_back();
  EXPECT_TRUE(pool.Allocate());
  EXPECT_EQ(pool.available(), 1u);
}

TEST(BufferPoolTest, SlotsLieInTheRegionAndDoNotOverlap) {
  BufferPool pool({.count = 8, .bytes = 100, .headroom = 10});
  std::vector<Buffer> held;
  for (int i = 0; i < 8; ++i) {
    Buffer b = pool.Allocate();
    ASSERT_EQ(b.tailroom(), 118u);  // 100 rounds up to 128
    std::memset(b.Append(b.tailroom()), i, 118);
    EXPECT_GE(b.data(), pool.region().begin());
    EXPECT_LE(b.data() + b.size(), pool.region().end());
    held.push_back(std::move(b));
  }
  for (int i = 0; i < 8; ++i) {
    for (uint8_t byte : held[i].bytes()) ASSERT_EQ(byte, i);
  }
}

TEST(BufferPoolTest, BuffersOutliveThePool) {
  auto pool = std::make_unique<BufferPool>(BufferPoolOptions{.count = 2});
  Buffer a = pool->Allocate();
  Buffer b = pool->Allocate();
  a.Append(1)[0] = 1;
  pool.reset();
  EXPECT_EQ(a.data()[0], 1);
  b.Reset();
  EXPECT_EQ(a.data()[0], 1);
}

TEST(BufferPoolTest, OtherThreadsReturnWhileTheOwnerAllocates) {
  BufferPool pool({.count = 64, .bytes = 64, .headroom = 0});
  constexpr int kBuffers = 100'000;
  // One place to hand over a buffer; the two threads take turns at it.
  Buffer mailbox[16];
  std::atomic<uint32_t> full[16] = {};
  std::thread returner([&] {
    for (int i = 0; i < kBuffers; ++i) {
      while (full[i % 16].load(std::memory_order_acquire) == 0) std::this_thread::yield();
      mailbox[i % 16].Reset();
      full[i % 16].store(0, std::memory_order_release);
    }
  });
  for (int i = 0; i < kBuffers; ++i) {
    while (full[i % 16].load(std::memory_order_acquire) != 0) std::this_thread::yield();
    Buffer b = pool.Allocate();
    ASSERT_TRUE(b);
    mailbox[i % 16] = std::move(b);
    full[i % 16].store(1, std::memory_order_release);
  }
  returner.join();
  std::vector<Buffer> all;
  for (Buffer b = pool.Allocate(); b; b = pool.Allocate()) all.push_back(std::move(b));
  EXPECT_EQ(all.size(), 64u);
}

TEST(BufferPoolTest, WhatOtherThreadsReturnedIsAvailable) {
  BufferPool pool({.count = 8, .bytes = 64, .headroom = 0});
  std::vector<Buffer> held;
  for (int i = 0; i < 8; ++i) held.push_back(pool.Allocate());
  held.pop_back();
  EXPECT_EQ(pool.available(), 1u);
  std::thread([returned = std::move(held)]() mutable { returned.clear(); }).join();
  EXPECT_EQ(pool.available(), 8u);
}

TEST(BufferPoolTest, PoolAndReturningThreadsMayEndTogether) {
  for (int round = 0; round < 200; ++round) {
    auto pool =
        std::make_unique<BufferPool>(BufferPoolOptions{.count = 8, .bytes = 64, .headroom = 0});
    std::vector<Buffer> held;
    for (int i = 0; i < 8; ++i) held.push_back(pool->Allocate());
    std::thread returner([held = std::move(held)]() mutable { held.clear(); });
    pool.reset();
    returner.join();
  }
}

}  // namespace
}  // namespace weft
