// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/receive_budget.h"

#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace weft::rpc {
namespace {

using Reservation = ReceiveBudget::Reservation;
using Result = ReceiveBudget::Result;

class ReceiveBudgetTest : public testing::Test {
 protected:
  std::vector<Reservation*> granted_;
  ReceiveBudget budget_{{.buffers = 10, .waiting_max = 3},
                        [this](Reservation& r) { granted_.push_back(&r); }};
};

TEST_F(ReceiveBudgetTest, WhatFitsIsHeldUntilItIsGivenBack) {
  {
    Reservation a, b;
    EXPECT_EQ(budget_.Reserve(4, &a), Result::kReserved);
    EXPECT_EQ(budget_.Reserve(6, &b), Result::kReserved);
    EXPECT_EQ(a.held(), 4u);
    EXPECT_EQ(budget_.in_use(), 10u);
    a.Reset();
    a.Reset();  // has nothing any more
    EXPECT_EQ(budget_.in_use(), 6u);
    EXPECT_EQ(budget_.Reserve(1, &a), Result::kReserved);
  }
  EXPECT_EQ(budget_.in_use(), 0u);
  EXPECT_TRUE(granted_.empty());
}

TEST_F(ReceiveBudgetTest, WhatNeverFitsIsTold) {
  Reservation a;
  EXPECT_EQ(budget_.Reserve(11, &a), Result::kNeverFits);
  EXPECT_EQ(budget_.Reserve(10, &a), Result::kReserved);
}

TEST_F(ReceiveBudgetTest, FirstComeFirstServed) {
  Reservation a, large, small;
  EXPECT_EQ(budget_.Reserve(7, &a), Result::kReserved);
  EXPECT_EQ(budget_.Reserve(8, &large), Result::kWaits);
  EXPECT_EQ(budget_.Reserve(1, &small), Result::kWaits);  // would fit, but is behind
  EXPECT_TRUE(large.waiting());
  EXPECT_EQ(large.held(), 0u);
  a.Release(4);
  EXPECT_TRUE(granted_.empty());
  a.Release(1);
  EXPECT_EQ(granted_, (std::vector<Reservation*>{&large}));
  EXPECT_EQ(budget_.in_use(), 10u);
  a.Release(2);
  EXPECT_EQ(granted_, (std::vector<Reservation*>{&large, &small}));
  EXPECT_EQ(budget_.waiting(), 0u);
}

TEST_F(ReceiveBudgetTest, TheQueueIsBounded) {
  Reservation a, waiting[3], more;
  EXPECT_EQ(budget_.Reserve(10, &a), Result::kReserved);
  for (Reservation& r : waiting) EXPECT_EQ(budget_.Reserve(10, &r), Result::kWaits);
  EXPECT_EQ(budget_.Reserve(1, &more), Result::kTooMany);
  EXPECT_FALSE(more.waiting());
  waiting[1].Reset();
  EXPECT_EQ(budget_.Reserve(1, &more), Result::kWaits);
}

TEST_F(ReceiveBudgetTest, OneThatGivesUpLetsThoseBehindItPass) {
  Reservation a, small;
  EXPECT_EQ(budget_.Reserve(7, &a), Result::kReserved);
  {
    Reservation large;
    EXPECT_EQ(budget_.Reserve(8, &large), Result::kWaits);
    EXPECT_EQ(budget_.Reserve(3, &small), Result::kWaits);
  }
  EXPECT_EQ(granted_, (std::vector<Reservation*>{&small}));
  EXPECT_EQ(small.held(), 3u);
}

TEST(ReceiveBudgetCallbackTest, MayReserveAndRelease) {
  std::vector<void*> order;
  ReceiveBudget* asked = nullptr;
  Reservation* late = nullptr;
  ReceiveBudget budget({.buffers = 4, .waiting_max = 8}, [&](Reservation& r) {
    order.push_back(r.owner());
    // There is room now for what it asks, but others have waited longer.
    if (order.size() == 1) {
      EXPECT_EQ(asked->Reserve(4, late), Result::kWaits);
    }
    const size_t told = order.size();
    r.Reset();
    EXPECT_EQ(order.size(), told);  // whoever is next is told after this has returned
  });
  int names[3];
  Reservation a, b(&names[0]), c(&names[1]), d(&names[2]);
  asked = &budget;
  late = &d;
  ASSERT_EQ(budget.Reserve(4, &a), Result::kReserved);
  ASSERT_EQ(budget.Reserve(4, &b), Result::kWaits);
  ASSERT_EQ(budget.Reserve(4, &c), Result::kWaits);
  a.Reset();
  EXPECT_EQ(order, (std::vector<void*>{&names[0], &names[1], &names[2]}));
  EXPECT_EQ(budget.in_use(), 0u);
}

// Against a model of the same in the simplest form.
TEST(ReceiveBudgetModelTest, AnyOrderOfAsking) {
  std::mt19937 random(1);
  std::deque<Reservation*> told;
  ReceiveBudget budget({.buffers = 20, .waiting_max = 6},
                       [&](Reservation& r) { told.push_back(&r); });
  struct Waiting {
    Reservation* reservation;
    size_t n;
  };
  std::deque<Waiting> queue;
  size_t in_use = 0;
  std::vector<std::unique_ptr<Reservation>> all;
  for (int i = 0; i < 12; ++i) all.push_back(std::make_unique<Reservation>());
  for (int step = 0; step < 20'000; ++step) {
    Reservation& r = *all[random() % all.size()];
    if (r.waiting()) {
      std::erase_if(queue, [&](const Waiting& w) { return w.reservation == &r; });
      r.Reset();
    } else if (r.held() > 0) {
      const size_t n = random() % 2 ? r.held() : 1 + random() % r.held();
      in_use -= n;
      r.Release(n);
    } else {
      const size_t n = 1 + random() % 22;
      Result expected = Result::kReserved;
      if (n > 20) {
        expected = Result::kNeverFits;
      } else if (!queue.empty() || in_use + n > 20) {
        expected = queue.size() == 6 ? Result::kTooMany : Result::kWaits;
      }
      ASSERT_EQ(budget.Reserve(n, &r), expected);
      if (expected == Result::kReserved) in_use += n;
      if (expected == Result::kWaits) queue.push_back({&r, n});
    }
    while (!queue.empty() && in_use + queue.front().n <= 20) {
      ASSERT_FALSE(told.empty());
      EXPECT_EQ(told.front(), queue.front().reservation);
      EXPECT_EQ(told.front()->held(), queue.front().n);
      in_use += queue.front().n;
      told.pop_front();
      queue.pop_front();
    }
    ASSERT_TRUE(told.empty());
    ASSERT_EQ(budget.in_use(), in_use);
    ASSERT_EQ(budget.waiting(), queue.size());
  }
  for (auto& r : all) r->Reset();
  EXPECT_EQ(budget.in_use(), 0u);
}

}  // namespace
}  // namespace weft::rpc
