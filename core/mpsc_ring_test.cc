// SPDX-License-Identifier: Apache-2.0
#include "weft/core/mpsc_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace weft {
namespace {

TEST(MpscRingTest, FirstInFirstOutUpToItsCapacity) {
  MpscRing<int, 4> ring;
  EXPECT_EQ(ring.Front(), nullptr);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(ring.TryPush([i](int& item) { item = i; }));
    EXPECT_FALSE(ring.TryPush([](int&) { FAIL() << "there is no slot to fill"; }));
    for (int i = 0; i < 4; ++i) {
      ASSERT_NE(ring.Front(), nullptr);
      EXPECT_EQ(*ring.Front(), i);
      ring.PopFront();
    }
    EXPECT_EQ(ring.Front(), nullptr);
  }
  EXPECT_EQ(ring.pushed(), 12u);
}

TEST(MpscRingTest, EachProducersItemsComeOnceAndInOrder) {
  constexpr uint64_t kProducers = 3;
  constexpr uint64_t kItems = 20'000;
  MpscRing<uint64_t, 64> ring;
  std::vector<std::thread> producers;
  for (uint64_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&ring, p] {
      for (uint64_t i = 0; i < kItems; ++i) {
        while (!ring.TryPush([=](uint64_t& item) { item = p * kItems + i; })) {
          std::this_thread::yield();
        }
      }
    });
  }
  std::vector<uint64_t> next(kProducers, 0);
  for (uint64_t taken = 0; taken < kProducers * kItems;) {
    const uint64_t* const item = ring.Front();
    if (item == nullptr) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_EQ(*item % kItems, next[*item / kItems]++);
    ring.PopFront();
    ++taken;
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(ring.Front(), nullptr);
}

}  // namespace
}  // namespace weft
