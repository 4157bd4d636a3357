// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/fifo.h"

#include <memory>

#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"

namespace weft::netstack {
namespace {

TEST(FifoTest, GivesBackInOrderWhileItGrowsAndWraps) {
  Fifo<std::unique_ptr<int>> fifo;
  int in = 0;
  int out = 0;
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < round; ++i) fifo.push_back(std::make_unique<int>(in++));
    for (int i = 0; i < round / 2; ++i) ASSERT_EQ(*fifo.pop_front(), out++);
  }
  EXPECT_EQ(fifo.size(), static_cast<size_t>(in - out));
  while (!fifo.empty()) ASSERT_EQ(*fifo.pop_front(), out++);
  EXPECT_EQ(in, out);
}

TEST(FifoTest, AllocatesNothingOnceItHasHeldAsMuch) {
  Fifo<int> fifo;
  for (int i = 0; i < 100; ++i) fifo.push_back(i);
  while (!fifo.empty()) fifo.pop_front();
  const int64_t before = AllocationsOfThisThread();
  for (int i = 0; i < 10'000; ++i) {
    fifo.push_back(i);
    if (fifo.size() == 100) {
      while (fifo.size() > 3) fifo.pop_front();
    }
  }
  EXPECT_EQ(AllocationsOfThisThread() - before, 0);
}

}  // namespace
}  // namespace weft::netstack
