// SPDX-License-Identifier: Apache-2.0
#include "weft/router/dispatcher.h"

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/router/dispatcher_fixture.h"

namespace weft::router {
namespace {

TEST_F(DispatcherTest, FillsTheSlotsAndLetsTheRestWaitInOrder) {
  Make({});
  std::vector<Arrival> burst;
  for (uint64_t key = 1; key <= 7; ++key) burst.push_back({.key = key});
  std::vector<Decision> decisions(burst.size());
  dispatcher_->Arrive(burst, now_ns_, absl::MakeSpan(decisions));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(decisions[i].fate, Fate::kForward);
  for (size_t i = 4; i < 7; ++i) EXPECT_EQ(decisions[i].fate, Fate::kQueue);
  EXPECT_EQ(dispatcher_->servers().outstanding(servers_[0]), 2u);
  EXPECT_EQ(dispatcher_->servers().outstanding(servers_[1]), 2u);
  EXPECT_TRUE(TakeReady().empty());

  now_ns_ += 3 * kMs;
  EXPECT_EQ(Done(decisions[0].server, 1), DoneResult::kDone);
  const std::vector<Ready> ready = TakeReady();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].ticket, decisions[4].ticket);
  EXPECT_EQ(ready[0].server, decisions[0].server);
  EXPECT_EQ(ready[0].waited_ns, 3 * kMs);
  EXPECT_EQ(dispatcher_->queue_length(), 2u);
}

TEST_F(DispatcherTest, ANewcomerDoesNotOvertakeThoseThatWait) {
  Make({}, 1, 1);
  Arrive(1);
  const Decision waiting = Arrive(2);
  EXPECT_EQ(Done(servers_[0], 1), DoneResult::kDone);
  EXPECT_EQ(Arrive(3).fate, Fate::kQueue);
  const std::vector<Ready> ready = TakeReady();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].ticket, waiting.ticket);
}

TEST_F(DispatcherTest, FeedbackCountsOnceAndOnlyFromTheServerThatHasTheRequest) {
  Make({});
  const Decision decision = Arrive(1);
  const ServerIndex other = servers_[decision.server == servers_[0] ? 1 : 0];
  EXPECT_EQ(Done(other, 1), DoneResult::kOtherServer);
  EXPECT_EQ(Done(decision.server, 2), DoneResult::kUnknown);
  EXPECT_EQ(dispatcher_->outstanding(), 1u);
  EXPECT_EQ(Done(decision.server, 1), DoneResult::kDone);
  EXPECT_EQ(Done(decision.server, 1), DoneResult::kUnknown);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 0u);
}

TEST_F(DispatcherTest, ACopyOfARequestAtAServerGoesThereAgainWithoutASlot) {
  Make({});
  const Decision first = Arrive(1);
  const Decision copy = Arrive(1);
  EXPECT_EQ(copy.fate, Fate::kRepeat);
  EXPECT_EQ(copy.server, first.server);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 1u);
}

TEST_F(DispatcherTest, CopiesWithinABurstFollowTheFirst) {
  Make({}, 1, 1);
  const Arrival burst[] = {{.key = 1}, {.key = 1}, {.key = 2}, {.key = 2}};
  Decision decisions[4];
  dispatcher_->Arrive(burst, now_ns_, absl::MakeSpan(decisions));
  EXPECT_EQ(decisions[0].fate, Fate::kForward);
  EXPECT_EQ(decisions[1].fate, Fate::kRepeat);
  EXPECT_EQ(decisions[1].server, decisions[0].server);
  EXPECT_EQ(decisions[2].fate, Fate::kQueue);
  EXPECT_EQ(decisions[3].fate, Fate::kIgnore) << "one of them waits already";
  EXPECT_EQ(dispatcher_->queue_length(), 1u);
}

TEST_F(DispatcherTest, TheSame16BitsAfterFeedbackAreANewRequest) {
  Make({});
  Done(Arrive(1).server, 1);
  EXPECT_EQ(Arrive(1).fate, Fate::kForward);
}

TEST_F(DispatcherTest, ALostFeedbackCostsTheSlotUntilTheLeaseEnds) {
  Make({.lease_ns = 10 * kMs}, 1, 1);
  const Decision first = Arrive(1);
  Arrive(2);
  EXPECT_EQ(dispatcher_->NextDeadlineNs(), now_ns_ + 10 * kMs);
  now_ns_ += 10 * kMs - 1;
  EXPECT_EQ(dispatcher_->Expire(now_ns_), 0u);
  now_ns_ += 1;
  EXPECT_EQ(dispatcher_->Expire(now_ns_), 1u);
  EXPECT_EQ(TakeReady().size(), 1u);
  EXPECT_EQ(Done(first.server, 1), DoneResult::kUnknown) << "the FEEDBACK comes after all";
  EXPECT_EQ(dispatcher_->servers().outstanding(), 1u);
  EXPECT_EQ(stats().leases_expired.value(), 1u);
}

TEST_F(DispatcherTest, BeyondTheQueueRequestsAreRefused) {
  Make({.queue_max = 2}, 1, 1);
  Arrive(1);
  EXPECT_EQ(Arrive(2).fate, Fate::kQueue);
  EXPECT_EQ(Arrive(3).fate, Fate::kQueue);
  EXPECT_EQ(Arrive(4).fate, Fate::kQueueFull);
  EXPECT_EQ(Arrive(2).fate, Fate::kIgnore);
  EXPECT_EQ(stats().refused_queue_full.value(), 1u);
  Done(servers_[0], 1);
  TakeReady();
  EXPECT_EQ(Arrive(4).fate, Fate::kQueue) << "refused once is not refused for ever";
}

TEST_F(DispatcherTest, WithoutAServerRequestsAreRefusedThoseThatWaitToo) {
  Make({}, 1, 1);
  Arrive(1);
  const Decision waiting = Arrive(2);
  dispatcher_->SetAvailable(servers_[0], false);
  EXPECT_EQ(Arrive(3).fate, Fate::kNoServer);
  const std::vector<Ready> ready = TakeReady();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].ticket, waiting.ticket);
  EXPECT_EQ(ready[0].server, kNoServerIndex);
  EXPECT_EQ(stats().refused_no_server.value(), 2u);
  EXPECT_EQ(dispatcher_->servers().outstanding(servers_[0]), 1u) << "it drains";
}

TEST_F(DispatcherTest, AServerThatIsAddedOrGrowsTakesThoseThatWait) {
  Make({}, 1, 1);
  for (uint64_t key = 1; key <= 6; ++key) Arrive(key);
  servers_.push_back(dispatcher_->AddServer(200, 2, 1));
  EXPECT_EQ(TakeReady().size(), 2u);
  dispatcher_->SetSlots(servers_[0], 3);
  EXPECT_EQ(TakeReady().size(), 2u);
}

TEST_F(DispatcherTest, FixedRouteGoesToTheFirstAvailableServerWhateverItHas) {
  Make({}, 3, 1);
  for (uint64_t key = 1; key <= 5; ++key) {
    const Decision decision = Arrive({.key = key, .fixed = true});
    EXPECT_EQ(decision.fate, Fate::kForward);
    EXPECT_EQ(decision.server, servers_[0]);
  }
  dispatcher_->SetAvailable(servers_[0], false);
  EXPECT_EQ(Arrive({.key = 6, .fixed = true}).server, servers_[1]);
  // While others wait, too.
  for (uint64_t key = 10; key < 20; ++key) Arrive(key);
  EXPECT_GT(dispatcher_->queue_length(), 0u);
  EXPECT_EQ(Arrive({.key = 7, .fixed = true}).server, servers_[1]);
}

TEST_F(DispatcherTest, ALostServersSlotsComeBackAndItsLateFeedbackMeansNothing) {
  Make({}, 1, 2);
  Arrive(1);
  Arrive(2);
  const Decision waiting = Arrive(3);
  dispatcher_->Lose(servers_[0]);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 0u);
  const std::vector<Ready> ready = TakeReady();
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].ticket, waiting.ticket);
  EXPECT_EQ(Done(servers_[0], 1), DoneResult::kUnknown);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 1u);
  EXPECT_EQ(Arrive(1).fate, Fate::kForward) << "in the original format it is a new request";
  // The leases of those that were lost return nothing.
  now_ns_ += 999 * kMs;
  Done(servers_[0], 1);
  Done(servers_[0], 3);
  now_ns_ += 100 * kMs;
  EXPECT_EQ(dispatcher_->Expire(now_ns_), 0u);
  EXPECT_EQ(dispatcher_->outstanding(), 0u);
  EXPECT_EQ(stats().placements_lost.value(), 2u);
}

TEST_F(DispatcherTest, ARemovedServersIndexMayBeAnothers) {
  Make({}, 1, 2);
  Arrive(1);
  dispatcher_->RemoveServer(servers_[0]);
  EXPECT_EQ(Arrive(2).fate, Fate::kNoServer);
  const ServerIndex next = dispatcher_->AddServer(200, 2, 1);
  EXPECT_EQ(Done(next, 1), DoneResult::kUnknown) << "that was the other one's";
  now_ns_ += 2000 * kMs;
  EXPECT_EQ(dispatcher_->Expire(now_ns_), 0u);
  EXPECT_EQ(dispatcher_->servers().outstanding(), 0u);
}

// --- Tenants

TEST_F(DispatcherTest, ATenantThatFillsTheQueueGivesWayToOthers) {
  Make({.queue_max = 4, .tenant_weights = {1, 1}}, 1, 1);
  Arrive(1);
  std::vector<uint32_t> tickets;
  for (uint64_t key = 10; key < 14; ++key) tickets.push_back(Arrive(key, 0).ticket);
  const Decision other = Arrive(20, 1);
  EXPECT_EQ(other.fate, Fate::kQueueEvict);
  EXPECT_EQ(other.ticket, tickets[3]) << "the newest";
  EXPECT_EQ(Arrive(14, 0).fate, Fate::kQueueFull);
  EXPECT_EQ(Arrive(13, 0).fate, Fate::kQueueFull) << "as it was evicted";
  Done(servers_[0], 1);
  EXPECT_EQ(TakeReady()[0].ticket, tickets[0]);
  Done(servers_[0], 10);
  EXPECT_EQ(TakeReady()[0].ticket, other.ticket);
  EXPECT_EQ(stats().refused_tenant.value(), 1u);
}

TEST_F(DispatcherTest, AWrongPolicyOrTenantIsAnError) {
  const auto wrong = Dispatcher::Create({.policy = "best"});
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(wrong.status().message().find("round_robin"), std::string::npos);
  EXPECT_FALSE(Dispatcher::Create({.tenant_weights = {}}).ok());
  EXPECT_FALSE(Dispatcher::Create({.tenant_weights = {1, 0}}).ok());
  Make({});
  EXPECT_FALSE(dispatcher_->SetPolicy("best").ok());
  EXPECT_EQ(dispatcher_->policy(), "jbsq");
  EXPECT_TRUE(dispatcher_->SetPolicy("random").ok());
  EXPECT_EQ(dispatcher_->policy(), "random");
}

TEST_F(DispatcherTest, AnotherPolicyTakesThoseThatWait) {
  Make({}, 2, 1);
  for (uint64_t key = 1; key <= 10; ++key) Arrive(key);
  EXPECT_EQ(dispatcher_->queue_length(), 8u);
  ASSERT_TRUE(dispatcher_->SetPolicy("round_robin").ok());
  EXPECT_EQ(TakeReady().size(), 8u);
  for (uint64_t key = 1; key <= 10; ++key) {
    EXPECT_TRUE(Done(servers_[0], key) == DoneResult::kDone ||
                Done(servers_[1], key) == DoneResult::kDone);
  }
  EXPECT_EQ(dispatcher_->servers().outstanding(), 0u);
}

// Anything in any order: slots are never lost and never negative, nothing grows.
TEST_F(DispatcherTest, AnyHistoryEndsWithAllSlotsBack) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    servers_.clear();
    const char* const policies[] = {"jbsq", "random", "affinity", "jsq"};
    Make({.policy = policies[seed % 4],
          .servers_max = 4,
          .queue_max = 8,
          .placements_max = 64,
          .lease_ns = 20 * kMs,
          .tenant_weights = {1, 3}},
         3);
    std::vector<bool> tickets(8);
    size_t waiting = 0;
    const auto take = [&] {
      for (std::vector<Ready> ready = TakeReady(); !ready.empty(); ready = TakeReady()) {
        for (const Ready& r : ready) {
          ASSERT_TRUE(tickets[r.ticket]);
          tickets[r.ticket] = false;
          --waiting;
        }
      }
    };
    for (int step = 0; step < 20'000; ++step) {
      now_ns_ += static_cast<int64_t>(random.Below(kMs));
      const ServerIndex server = servers_[random.Below(servers_.size())];
      const uint64_t what = random.Below(100);
      if (what < 55) {
        std::vector<Arrival> burst(1 + random.Below(6));
        for (Arrival& a : burst) {
          a = {.key = random.Below(40),
               .request_id = random.Chance(0.5) ? 0 : 1 + random.Below(50),
               .affinity = random.Below(3),
               .tenant = static_cast<uint16_t>(random.Below(3)),
               .fixed = random.Chance(0.1)};
          if (random.Chance(0.2)) a.age_ns = static_cast<int64_t>(random.Below(500 * kMs));
        }
        std::vector<Decision> decisions(burst.size());
        dispatcher_->Arrive(burst, now_ns_, absl::MakeSpan(decisions));
        for (const Decision& d : decisions) {
          if (d.fate == Fate::kForward || d.fate == Fate::kRepeat) {
            ASSERT_LT(d.server, 4u);
          } else if (d.fate == Fate::kQueue) {
            ASSERT_FALSE(tickets[d.ticket]);
            tickets[d.ticket] = true;
            ++waiting;
          } else if (d.fate == Fate::kQueueInstead || d.fate == Fate::kQueueEvict) {
            ASSERT_TRUE(tickets[d.ticket]);
          }
        }
      } else if (what < 85) {
        Done(server, random.Below(40));
      } else if (what < 88) {
        dispatcher_->SetAvailable(server, random.Chance(0.7));
      } else if (what < 90) {
        dispatcher_->Lose(server);
      } else if (what < 91) {
        dispatcher_->RemoveServer(server);
        ASSERT_EQ(dispatcher_->AddServer(random.Next(), 1 + random.Below(3), 1), server);
      } else {
        dispatcher_->Expire(now_ns_);
      }
      take();
      ASSERT_EQ(dispatcher_->queue_length(), waiting);
    }
    now_ns_ += 1000 * kMs;
    for (const ServerIndex server : servers_) dispatcher_->SetAvailable(server, true);
    for (int i = 0; i < 10; ++i) {
      take();
      now_ns_ += 1000 * kMs;
      dispatcher_->Expire(now_ns_);
    }
    EXPECT_EQ(dispatcher_->queue_length(), 0u);
    EXPECT_EQ(dispatcher_->outstanding(), 0u);
    EXPECT_EQ(dispatcher_->servers().outstanding(), 0u);
    EXPECT_EQ(dispatcher_->NextDeadlineNs(), INT64_MAX);
  }
}

}  // namespace
}  // namespace weft::router
