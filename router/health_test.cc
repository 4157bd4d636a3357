// SPDX-License-Identifier: Apache-2.0
#include "weft/router/health.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace weft::router {
namespace {

constexpr int64_t kKeepaliveNs = 100'000'000;
constexpr int64_t kTickNs = kKeepaliveNs / kChecksPerKeepalive;

class HealthTest : public testing::Test {
 protected:
  // When, from now on, it is first judged so; -1: not within ten keepalives.
  int64_t Until(Judgement judgement, uint32_t outstanding) {
    const int64_t begin_ns = now_ns_;
    while (now_ns_ - begin_ns < 10 * kKeepaliveNs) {
      now_ns_ += kTickNs;
      if (Judge(life_, outstanding, now_ns_) == judgement) return now_ns_ - begin_ns;
    }
    return -1;
  }

  int64_t now_ns_ = 1'000'000'000;
  Life life_ = {.keepalive_ns = kKeepaliveNs, .heard_ns = now_ns_, .busy_ns = now_ns_};
};

TEST_F(HealthTest, AServerThatJoinedAndFallsSilentIsDownWithinThreeKeepalives) {
  life_.joined = true;
  const int64_t after_ns = Until(Judgement::kDown, 1);
  EXPECT_GT(after_ns, 2 * kKeepaliveNs + kKeepaliveNs / 2) << "two JOINs may be lost";
  EXPECT_LE(after_ns, 3 * kKeepaliveNs);
}

TEST_F(HealthTest, AServerThatJoinedAndDoesNotComeBackIsForgotten) {
  life_ = {.up = false, .joined = true, .keepalive_ns = kKeepaliveNs, .heard_ns = now_ns_};
  EXPECT_EQ(Judge(life_, 0, now_ns_ + kForgetNs - 1), Judgement::kFine);
  EXPECT_EQ(Judge(life_, 0, now_ns_ + kForgetNs), Judgement::kForget);
}

TEST_F(HealthTest, AServerOfWeftIsAskedWhenItIsSilentAndDownWithinThreeKeepalives) {
  life_.knows_weft = true;
  const int64_t begin_ns = now_ns_;
  EXPECT_EQ(Until(Judgement::kAsk, 0), kKeepaliveNs);
  EXPECT_EQ(Until(Judgement::kAsk, 0), kKeepaliveNs);
  EXPECT_NE(Until(Judgement::kDown, 0), -1);
  EXPECT_LE(now_ns_ - begin_ns, 3 * kKeepaliveNs);
  life_.up = false;
  EXPECT_NE(Until(Judgement::kAsk, 0), -1) << "it may come back";
}

TEST_F(HealthTest, AnIdleServerOfTheOriginalIsNeverDown) {
  EXPECT_EQ(Until(Judgement::kSuspect, 0), -1);
  EXPECT_EQ(Until(Judgement::kDown, 0), -1);
}

TEST_F(HealthTest, AServerOfTheOriginalWithRequestsAndWithoutFeedbackIsSuspected) {
  now_ns_ += 20 * kKeepaliveNs;
  EXPECT_NE(Judge(life_, 0, now_ns_), Judgement::kSuspect) << "it had nothing to do";
  const int64_t after_ns = Until(Judgement::kSuspect, 1);
  EXPECT_GT(after_ns, 2 * kKeepaliveNs);
  EXPECT_LE(after_ns, 3 * kKeepaliveNs);
}

TEST_F(HealthTest, ASuspectIsTriedOnceAKeepalive) {
  life_.up = false;
  EXPECT_NE(Until(Judgement::kTry, 0), -1);
  EXPECT_EQ(Until(Judgement::kTry, 0), kKeepaliveNs);
  EXPECT_EQ(Until(Judgement::kTry, 3), kKeepaliveNs);
}

TEST_F(HealthTest, WhoIsHeardOfIsFine) {
  for (const bool joined : {false, true}) {
    life_.joined = joined;
    life_.knows_weft = joined;
    for (int i = 0; i < 100; ++i) {
      now_ns_ += kTickNs;
      if (i % 7 == 0) life_.heard_ns = now_ns_;
      EXPECT_EQ(Judge(life_, 1, now_ns_), Judgement::kFine);
    }
  }
}

}  // namespace
}  // namespace weft::router
