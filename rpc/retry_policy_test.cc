// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/retry_policy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/rpc/call_status.h"

namespace weft::rpc {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

TEST(RetryPolicyTest, WhatIsOutOfRangeIsRefusedByName) {
  EXPECT_TRUE(RetryPolicy().Validate().ok());
  const auto refused = [](const RetryPolicy& policy, const char* field) {
    const absl::Status status = policy.Validate();
    return status.code() == absl::StatusCode::kInvalidArgument &&
           status.message().find(field) != absl::string_view::npos;
  };
  EXPECT_TRUE(refused({.attempts_max = 0}, "attempts_max"));
  EXPECT_TRUE(refused({.attempts_max = 101}, "attempts_max"));
  EXPECT_TRUE(refused({.hedges_max = 4}, "hedges_max"));
  EXPECT_TRUE(refused({.attempt_timeout = absl::Seconds(-1)}, "attempt_timeout"));
  EXPECT_TRUE(refused({.backoff_initial = absl::Seconds(1)}, "backoff_max"));
  EXPECT_TRUE(refused({.backoff_factor = 0.5}, "backoff_factor"));
  EXPECT_TRUE(refused({.backoff_factor = std::nan("")}, "backoff_factor"));
  EXPECT_TRUE(refused({.hedge_after = absl::Seconds(1)}, "idempotent"));
  EXPECT_TRUE(RetryPolicy({.idempotent = true, .hedge_after = absl::Seconds(1)}).Validate().ok());
}

TEST(RetryPolicyTest, OnlyIdempotentCallsAreTriedAgainWhenTheyMayHaveBeenExecuted) {
  for (int i = 1; i <= 16; ++i) {
    const auto code = static_cast<absl::StatusCode>(i);
    const bool passes = code == absl::StatusCode::kUnavailable ||
                        code == absl::StatusCode::kResourceExhausted ||
                        code == absl::StatusCode::kDeadlineExceeded ||
                        code == absl::StatusCode::kAborted || code == absl::StatusCode::kDataLoss;
    const absl::Status unknown(code, "");
    EXPECT_FALSE(MayRetry(unknown, /*idempotent=*/false)) << code;
    EXPECT_EQ(MayRetry(unknown, /*idempotent=*/true), passes) << code;
    EXPECT_EQ(MayRetry(NotExecuted(unknown), /*idempotent=*/false), passes) << code;
    EXPECT_EQ(MayRetry(PerhapsExecuted(NotExecuted(unknown)), /*idempotent=*/false), false) << code;
  }
}

TEST(RetryPolicyTest, PausesGrowToTheirBound) {
  const RetryPolicy policy{.backoff_initial = absl::Nanoseconds(100),
                           .backoff_max = absl::Nanoseconds(500),
                           .jitter = Jitter::kNone};
  Backoff backoff(policy);
  Prng random(1);
  for (const int64_t expected : {100, 200, 400, 500, 500}) {
    EXPECT_EQ(backoff.NextNs(random), expected);
  }
}

TEST(RetryPolicyTest, JitterStaysWithinItsBoundsAndIsFixedByTheSeed) {
  for (const Jitter jitter : {Jitter::kFull, Jitter::kDecorrelated}) {
    const RetryPolicy policy{.backoff_initial = absl::Microseconds(1),
                             .backoff_max = absl::Microseconds(100),
                             .backoff_factor = 3,
                             .jitter = jitter};
    Backoff backoff(policy);
    Backoff again(policy);
    Prng random(5);
    Prng same(5);
    const int64_t low_ns = jitter == Jitter::kFull ? 0 : 1000;
    int64_t longest_ns = 0;
    double bound_ns = 1000;
    for (int i = 0; i < 1000; ++i) {
      const int64_t pause_ns = backoff.NextNs(random);
      EXPECT_EQ(again.NextNs(same), pause_ns);
      EXPECT_GE(pause_ns, low_ns);
      if (jitter == Jitter::kFull) {
        EXPECT_LE(static_cast<double>(pause_ns), bound_ns);
      }
      EXPECT_LE(pause_ns, 100'000);
      bound_ns = std::min(bound_ns * 3, 1e5);
      longest_ns = std::max(longest_ns, pause_ns);
    }
    EXPECT_GT(longest_ns, 50'000);
  }
}

TEST(RetryPolicyTest, HugePausesDoNotOverflow) {
  const RetryPolicy policy{.backoff_initial = absl::InfiniteDuration(),
                           .backoff_max = absl::InfiniteDuration(),
                           .backoff_factor = 1e300,
                           .jitter = Jitter::kNone};
  ASSERT_TRUE(policy.Validate().ok());
  Backoff backoff(policy);
  Prng random(1);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(backoff.NextNs(random), 365 * 24 * 3600 * kSecondNs);
  }
}

TEST(RetryBudgetTest, CallsPayForRetries) {
  RetryBudget budget({.ratio = 0.25, .min_per_s = 0, .tokens_max = 2});
  EXPECT_TRUE(budget.Withdraw(0));
  EXPECT_TRUE(budget.Withdraw(0));
  EXPECT_FALSE(budget.Withdraw(kSecondNs));
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(budget.Withdraw(kSecondNs));
    budget.OnCall(kSecondNs);
  }
  EXPECT_TRUE(budget.Withdraw(kSecondNs));
  for (int i = 0; i < 100; ++i) budget.OnCall(kSecondNs);
  EXPECT_EQ(budget.tokens(), 2) << "no more than tokens_max";
}

TEST(RetryBudgetTest, TimePaysForSome) {
  RetryBudget budget({.ratio = 0, .min_per_s = 2, .tokens_max = 1});
  EXPECT_TRUE(budget.Withdraw(kSecondNs));
  EXPECT_FALSE(budget.Withdraw(kSecondNs + kSecondNs / 4));
  EXPECT_TRUE(budget.Withdraw(kSecondNs + kSecondNs / 2));
  EXPECT_FALSE(budget.Withdraw(0)) << "time that goes backwards gives nothing";
}

TEST(RetryBudgetTest, ABudgetOfNothingAllowsNothing) {
  RetryBudget budget({.ratio = 1, .min_per_s = 1000, .tokens_max = -1});
  budget.OnCall(kSecondNs);
  EXPECT_FALSE(budget.Withdraw(2 * kSecondNs));
}

}  // namespace
}  // namespace weft::rpc
