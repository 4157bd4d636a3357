// SPDX-License-Identifier: Apache-2.0
#include "weft/router/fair_queue.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace weft::router {
namespace {

uint32_t Push(FairQueue& queue, uint16_t tenant, uint32_t placement) {
  return queue.Push({.placement = placement, .tenant = tenant});
}

// Placements, in the order in which they leave.
std::vector<uint32_t> PopAll(FairQueue& queue) {
  std::vector<uint32_t> order;
  while (!queue.empty()) order.push_back(queue[queue.Pop()].placement);
  return order;
}

TEST(FairQueueTest, OneTenantIsServedInOrder) {
  FairQueue queue(4, {1});
  for (uint32_t i = 0; i < 4; ++i) Push(queue, 0, i);
  EXPECT_TRUE(queue.full());
  EXPECT_EQ(PopAll(queue), (std::vector<uint32_t>{0, 1, 2, 3}));
}

TEST(FairQueueTest, TenantsTakeTurnsByTheirWeights) {
  FairQueue queue(100, {2, 1});
  for (uint32_t i = 0; i < 6; ++i) Push(queue, 0, i);
  for (uint32_t i = 10; i < 16; ++i) Push(queue, 1, i);
  EXPECT_EQ(PopAll(queue), (std::vector<uint32_t>{0, 1, 10, 2, 3, 11, 4, 5, 12, 13, 14, 15}));
}

TEST(FairQueueTest, TurnsAreAsShortAsTheWeightsAllow) {
  FairQueue queue(100, {1000, 1000});
  for (uint32_t i = 0; i < 2; ++i) Push(queue, 0, i);
  for (uint32_t i = 10; i < 12; ++i) Push(queue, 1, i);
  EXPECT_EQ(PopAll(queue), (std::vector<uint32_t>{0, 10, 1, 11}));
}

TEST(FairQueueTest, UnpopPutsBackWhatWasPopped) {
  for (size_t popped = 1; popped <= 7; ++popped) {
    FairQueue queue(100, {2, 1, 1});
    FairQueue same(100, {2, 1, 1});
    for (FairQueue* q : {&queue, &same}) {
      for (uint32_t i = 0; i < 3; ++i) Push(*q, 0, i);
      for (uint32_t i = 10; i < 13; ++i) Push(*q, 1, i);
      Push(*q, 2, 20);
    }
    std::vector<uint32_t> tickets;
    for (size_t i = 0; i < popped; ++i) tickets.push_back(queue.Pop());
    for (size_t i = popped; i > 0; --i) queue.Unpop(tickets[i - 1]);
    EXPECT_EQ(queue.size(), 7u);
    EXPECT_EQ(PopAll(queue), PopAll(same)) << popped;
  }
}

// A router pops as many as may find a place, and puts back those that find none.
TEST(FairQueueTest, PoppingInVainGivesNobodyALongerTurn) {
  FairQueue queue(100, {1, 1});
  for (uint32_t i = 0; i < 64; ++i) Push(queue, 0, i);
  std::vector<uint32_t> tickets;
  for (int i = 0; i < 64; ++i) tickets.push_back(queue.Pop());
  for (size_t i = tickets.size(); i > 0; --i) queue.Unpop(tickets[i - 1]);
  Push(queue, 1, 100);
  std::vector<uint32_t> order = PopAll(queue);
  order.resize(3);
  EXPECT_EQ(order, (std::vector<uint32_t>{0, 100, 1}));
}

TEST(FairQueueTest, WhoHasMostForItsWeightGivesWay) {
  FairQueue queue(6, {4, 1});
  for (uint32_t i = 0; i < 4; ++i) Push(queue, 0, i);
  Push(queue, 1, 10);
  const uint32_t newest = Push(queue, 1, 11);
  // Tenant 1 has two for a weight of one; tenant 0 would have five for four.
  EXPECT_EQ(queue.Victim(0), newest);
  EXPECT_EQ(queue.Victim(1), kNoIndex) << "a tenant does not evict itself";
  queue.Remove(newest);
  Push(queue, 0, 4);
  EXPECT_EQ(PopAll(queue), (std::vector<uint32_t>{0, 1, 2, 3, 10, 4}));
}

TEST(FairQueueTest, EqualTenantsDoNotEvictEachOther) {
  FairQueue queue(2, {1, 1});
  Push(queue, 0, 0);
  Push(queue, 1, 1);
  EXPECT_EQ(queue.Victim(0), kNoIndex);
  EXPECT_EQ(queue.Victim(1), kNoIndex);
}

TEST(FairQueueTest, TicketsAreUsedAgainAndStayBelowTheLimit) {
  FairQueue queue(3, {1, 1});
  for (uint32_t round = 0; round < 100; ++round) {
    for (uint16_t i = 0; i < 3; ++i) EXPECT_LT(Push(queue, i % 2, i), 3u);
    PopAll(queue);
  }
}

TEST(FairQueueTest, LimitAndWeightsChangeWhileRequestsWait) {
  FairQueue queue(2, {1, 1});
  Push(queue, 0, 0);
  Push(queue, 1, 10);
  queue.SetLimit(1000);
  queue.SetWeights({3, 1, 1});
  for (uint32_t i = 1; i < 5; ++i) Push(queue, 0, i);
  Push(queue, 2, 20);
  EXPECT_EQ(PopAll(queue), (std::vector<uint32_t>{0, 1, 2, 10, 20, 3, 4}));
}

TEST(FairQueueTest, ALowerLimitLosesNobody) {
  FairQueue queue(4, {1, 1});
  for (uint32_t i = 0; i < 4; ++i) Push(queue, 1, i);
  queue.SetLimit(2);
  queue.SetWeights({1});
  EXPECT_TRUE(queue.full());
  EXPECT_EQ(queue.Victim(0), kNoIndex);
  EXPECT_EQ(PopAll(queue), (std::vector<uint32_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace weft::router
