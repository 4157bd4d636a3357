// SPDX-License-Identifier: Apache-2.0
//
// What the router owes to theory, with fixed seeds.
#include "weft/benchmarks/router_simulation.h"

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/core/temp_directory.h"

namespace weft::benchmarks {
namespace {

using Options = RouterSimulationOptions;
using Result = RouterSimulationResult;

constexpr uint64_t kFewer = 300'000;  // where little is compared

Result Simulate(const Options& options) {
  const absl::StatusOr<Result> result = SimulateRouter(options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return {};
  EXPECT_EQ(result->slots_lost, 0u);
  EXPECT_EQ(result->replies + result->refused + result->requests_lost, options.requests);
  return *result;
}

TEST(RouterSimulationTest, TheoryIsThatOfTheTextbooks) {
  EXPECT_NEAR(TheoryRandom(0.9), 46.05, 0.01);
  EXPECT_NEAR(TheoryOneQueue(1, 0.9), TheoryRandom(0.9), 0.01);
  EXPECT_NEAR(TheoryOneQueue(16, 0.9), 5.27, 0.01);
  EXPECT_NEAR(TheoryOneQueue(1000, 0.5), 4.61, 0.01);  // nobody waits
}

TEST(RouterSimulationTest, RandomIsAsInTheory) {
  const Result random = Simulate({.policy = "random", .requests = 3'000'000});
  EXPECT_NEAR(random.p99 / TheoryRandom(0.9), 1, 0.1);
  EXPECT_NEAR(random.mean, 10, 1);
}

TEST(RouterSimulationTest, JbsqIsNearlyAsGoodAsOneQueue) {
  const Result one_queue = Simulate({.policy = "jbsq", .slots = 1});
  EXPECT_NEAR(one_queue.p99 / TheoryOneQueue(16, 0.9), 1, 0.05);
  const Result two = Simulate({.policy = "jbsq", .slots = 2});
  EXPECT_LE(two.p99 / one_queue.p99, 1.25);
  EXPECT_NEAR(two.p99, 6.1, 0.3);
  const Result three = Simulate({.policy = "jbsq", .slots = 3});
  EXPECT_NEAR(three.p99, 6.5, 0.3);
}

TEST(RouterSimulationTest, BetterPoliciesHaveShorterTails) {
  const auto p99 = [](const char* policy) {
    return Simulate(
               {.policy = policy, .servers = 100, .load = 0.8, .delay = 0.1, .requests = kFewer})
        .p99;
  };
  const double random = p99("random");
  const double round_robin = p99("round_robin");
  const double power_of_two = p99("power_of_two");
  const double jbsq = p99("jbsq");
  EXPECT_LT(round_robin, random * 0.8);
  EXPECT_LT(power_of_two, round_robin);
  EXPECT_LT(jbsq, power_of_two);
}

TEST(RouterSimulationTest, LostFeedbackCostsNoSlotAndHardlyAnyTime) {
  const Result none = Simulate({});
  const Result lossy = Simulate({.feedback_loss = 0.01});
  EXPECT_GT(lossy.feedback_lost, 9'000u);
  EXPECT_EQ(lossy.feedback_missed, 0u);
  EXPECT_LE(lossy.p99 / none.p99, 1.2);
  EXPECT_EQ(lossy.leases_expired, 0u);
}

TEST(RouterSimulationTest, SlotsOfTheOriginalComeBackWithTheirLease) {
  const Result original = Simulate({.feedback_loss = 0.01,
                                    .feedback = Options::Feedback::kOriginal,
                                    .lease = 10,
                                    .requests = kFewer});
  EXPECT_GT(original.leases_expired, 2'500u);
  EXPECT_EQ(original.refused, 0u);
}

TEST(RouterSimulationTest, LostRequestsGiveTheirSlotsBack) {
  const Result result =
      Simulate({.load = 0.7, .request_loss = 0.01, .lease = 20, .requests = kFewer});
  EXPECT_GT(result.requests_lost, 2'500u);
  EXPECT_GE(result.leases_expired, result.requests_lost);
}

TEST(RouterSimulationTest, SeveralRoutersShareServers) {
  const Result one = Simulate({.servers = 64, .slots = 8, .load = 0.7, .requests = kFewer});
  const Result four =
      Simulate({.servers = 64, .slots = 8, .routers = 4, .load = 0.7, .requests = kFewer});
  const Result random =
      Simulate({.policy = "random", .servers = 64, .load = 0.7, .requests = kFewer});
  EXPECT_GT(four.p99, one.p99);
  EXPECT_LT(four.p99, random.p99 / 2);
}

TEST(RouterSimulationTest, FullQueuesRefuseAndNothingStalls) {
  const Result result = Simulate({.load = 1.0, .queue_max = 10, .requests = kFewer});
  EXPECT_GT(result.refused, 0u);
  EXPECT_LT(result.p99, 12);
}

TEST(RouterSimulationTest, ThousandsOfServers) {
  const Result result = Simulate({.servers = 10'000, .load = 0.9, .delay = 0.1});
  EXPECT_LT(result.p99, 8);
}

// Arrivals that lie a nanosecond apart are no more than was asked for.
TEST(RouterSimulationTest, AsManyServersAsThereMayBe) {
  const Result result = Simulate({.policy = "jsq",
                                  .servers = 65536,
                                  .load = 0.8,
                                  .service = *ServiceTimes::Parse("fixed"),
                                  .requests = 500'000});
  EXPECT_NEAR(result.p99, 1, 0.02) << "nobody has to wait";
}

TEST(RouterSimulationTest, TheSameSeedIsTheSameRun) {
  const Options options = {.delay = 0.3, .feedback_loss = 0.05, .requests = 100'000};
  EXPECT_EQ(Simulate(options).mean, Simulate(options).mean);
  Options other = options;
  other.seed = 2;
  EXPECT_NE(Simulate(options).mean, Simulate(other).mean);
}

TEST(RouterSimulationTest, OptionsThatMakeNoSenseAreRefused) {
  for (const Options& options :
       {Options{.policy = "best"}, Options{.servers = 0}, Options{.slots = 0},
        Options{.routers = 0}, Options{.load = 0}, Options{.load = 1.5}, Options{.delay = -1},
        Options{.feedback_loss = 1}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(SimulateRouter(options).status()));
  }
}

double MeanOf(const std::string& text) {
  const absl::StatusOr<ServiceTimes> times = ServiceTimes::Parse(text);
  EXPECT_TRUE(times.ok()) << times.status();
  Prng random(1);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) sum += times->Draw(random);
  return sum / 100'000;
}

TEST(ServiceTimesTest, TheMeanIsOne) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/trace";
  std::ofstream(path) << "10\n20\n1000\n";
  for (const std::string& text :
       {std::string("fixed"), std::string("exponential"), std::string("bimodal"),
        std::string("bimodal:0.5,1,3"), "trace:" + path}) {
    EXPECT_NEAR(MeanOf(text), 1, 0.03) << text;
  }
}

TEST(ServiceTimesTest, WhatIsNoneIsRefused) {
  const TempDirectory directory;
  const std::string path = directory.path() + "/trace";
  std::ofstream(path) << "10\nmany\n";
  const std::string empty = directory.path() + "/empty";
  std::ofstream{empty};
  for (const std::string& text :
       {std::string("slow"), std::string("bimodal:2,1,1"), std::string("bimodal:0.5,1"),
        std::string("bimodal:0.5,0,1"), "trace:" + path, "trace:" + empty,
        std::string("trace:/nowhere/at/all")}) {
    EXPECT_FALSE(ServiceTimes::Parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace weft::benchmarks
