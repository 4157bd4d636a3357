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

TEST(BufferTest, SharedSlotGoesBackWithItsLastHandle) {
  BufferPool pool({.count = 1});
  Buffer sent = pool.Allocate();
  EXPECT_FALSE(sent.is_shared());
  std::memcpy(sent.Append(7), "payload", 7);
  Buffer kept = sent.Share();
  Buffer third = kept.Share();
  EXPECT_TRUE(sent.is_shared());
  EXPECT_EQ(kept.data(), sent.data());
  third.Reset();
  EXPECT_TRUE(kept.is_shared());
  sent.Reset();
  EXPECT_FALSE(kept.is_shared());
  EXPECT_EQ(pool.available(), 0u);
  EXPECT_EQ(std::string(kept.bytes().begin(), kept.bytes().end()), "payload");
  kept.Reset();
  EXPECT_EQ(pool.available(), 1u);
  const Buffer fresh = pool.Allocate();
  ASSERT_TRUE(fresh);
  EXPECT_FALSE(fresh.is_shared());
}

TEST(BufferTest, WhatWasKeptIsPutBackToBeSentAgain) {
  BufferPool pool({.count = 1, .bytes = 256, .headroom = 64});
  Buffer sent = pool.Allocate();
  std::memcpy(sent.Append(7), "payload", 7);
  const size_t headroom = sent.headroom();
  Buffer kept = sent.Share();
  std::memcpy(sent.Prepend(6), "header", 6);  // by the layers below
  sent.Reset();
  ASSERT_FALSE(kept.is_shared());
  kept.SetData(headroom, 7);
  EXPECT_EQ(std::string(kept.bytes().begin(), kept.bytes().end()), "payload");
  EXPECT_EQ(kept.headroom(), 64u);
  kept.SetData(headroom + 3, 2);
  EXPECT_EQ(std::string(kept.bytes().begin(), kept.bytes().end()), "lo");
}

TEST(BufferTest, CopiesHaveTheSameBytesAndRequests) {
  BufferPool pool({.count = 2, .bytes = 128, .headroom = 32});
  BufferPool small({.count = 1, .bytes = 64, .headroom = 63});
  Buffer original = pool.Allocate();
  std::memcpy(original.Append(7), "payload", 7);
  original.TrimFront(3);
  original.offload().flags = FrameOffload::kTcp;
  Buffer kept = original.Share();
  Buffer copy = CopyOf(pool, original);
  ASSERT_TRUE(copy);
  EXPECT_FALSE(copy.is_shared());
  EXPECT_NE(copy.data(), original.data());
  EXPECT_EQ(std::string(copy.bytes().begin(), copy.bytes().end()), "load");
  EXPECT_EQ(copy.offload().flags, FrameOffload::kTcp);
  EXPECT_EQ(copy.headroom(), 32u);
  EXPECT_FALSE(CopyOf(pool, original));   // no buffer is left
  EXPECT_FALSE(CopyOf(small, original));  // none is large enough
  EXPECT_EQ(small.available(), 1u);
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

// A device on another thread lets go of what the owner has kept: whoever is last gives it back, and
// the owner sees what the device did.
TEST(BufferPoolTest, BothHandlesOfAThreadEachMayBeTheLast) {
  BufferPool pool({.count = 4, .bytes = 64, .headroom = 0});
  constexpr int kRounds = 100'000;
  Buffer mailbox[4];
  std::atomic<uint32_t> full[4] = {};
  std::thread device([&] {
    for (int i = 0; i < kRounds; ++i) {
      while (full[i % 4].load(std::memory_order_acquire) == 0) std::this_thread::yield();
      Buffer taken = std::move(mailbox[i % 4]);
      full[i % 4].store(0, std::memory_order_release);
      *taken.Prepend(0) = static_cast<uint8_t>(i);
      taken.Reset();
    }
  });
  int sent_again = 0;
  for (int i = 0; i < kRounds; ++i) {
    while (full[i % 4].load(std::memory_order_acquire) != 0) std::this_thread::yield();
    Buffer kept = pool.Allocate();
    while (!kept) {
      std::this_thread::yield();
      kept = pool.Allocate();
    }
    kept.Append(1)[0] = static_cast<uint8_t>(i + 1);
    mailbox[i % 4] = kept.Share();
    full[i % 4].store(1, std::memory_order_release);
    if (i % 3 == 0) {
      while (kept.is_shared()) std::this_thread::yield();
      ASSERT_EQ(kept.data()[0], static_cast<uint8_t>(i));
      ++sent_again;
    }
  }
  device.join();
  EXPECT_EQ(sent_again, (kRounds + 2) / 3);
  EXPECT_EQ(pool.available(), 4u);
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
