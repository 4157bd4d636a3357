// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/retry_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"

namespace weft::rpc {

absl::Status RetryPolicy::Validate() const {
  if (attempts_max < 1 || attempts_max > kAttemptsLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat("attempts_max is ", attempts_max, "; it must be 1 to ", kAttemptsLimit));
  }
  if (hedges_max < 0 || hedges_max > kHedgesLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat("hedges_max is ", hedges_max, "; it must be 0 to ", kHedgesLimit));
  }
  if (attempt_timeout < absl::ZeroDuration() || hedge_after < absl::ZeroDuration() ||
      backoff_initial < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "attempt_timeout, hedge_after and backoff_initial must not be negative");
  }
  if (backoff_max < backoff_initial) {
    return absl::InvalidArgumentError("backoff_max must not be less than backoff_initial");
  }
  if (!(backoff_factor >= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("backoff_factor is ", backoff_factor, "; it must be 1 or more"));
  }
  if (hedge_after > absl::ZeroDuration() && !idempotent) {
    return absl::InvalidArgumentError(
        "hedge_after asks for calls that may be executed twice, so they must be idempotent");
  }
  return absl::OkStatus();
}

bool MayRetry(const absl::Status& error, bool idempotent) {
  switch (error.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDataLoss:
      return idempotent || WasNotExecuted(error);
    default:
      return false;
  }
}

Backoff::Backoff(const RetryPolicy& policy)
    : policy_(policy), next_ns_(absl::ToDoubleNanoseconds(policy.backoff_initial)) {}

int64_t Backoff::NextNs(Prng& random) {
  const double initial_ns = absl::ToDoubleNanoseconds(policy_.backoff_initial);
  // A year, so that sums of times stay far from the end of int64_t.
  const double max_ns =
      absl::ToDoubleNanoseconds(std::min(policy_.backoff_max, absl::Hours(24 * 365)));
  double wait_ns = std::min(next_ns_, max_ns);
  switch (policy_.jitter) {
    case Jitter::kNone:
      next_ns_ = std::min(next_ns_ * policy_.backoff_factor, max_ns);
      break;
    case Jitter::kFull:
      next_ns_ = std::min(next_ns_ * policy_.backoff_factor, max_ns);
      wait_ns *= random.Unit();
      break;
    case Jitter::kDecorrelated:
      wait_ns = initial_ns + (wait_ns * policy_.backoff_factor - initial_ns) * random.Unit();
      wait_ns = std::min(wait_ns, max_ns);
      next_ns_ = wait_ns;
      break;
  }
  return static_cast<int64_t>(wait_ns);
}

RetryBudget::RetryBudget(const RetryBudgetOptions& options)
    : options_(options), tokens_(std::max(options.tokens_max, 0.0)) {}

void RetryBudget::Add(int64_t now_ns, double tokens) {
  const double elapsed_s = static_cast<double>(std::max<int64_t>(now_ns - latest_ns_, 0)) / 1e9;
  latest_ns_ = std::max(latest_ns_, now_ns);
  tokens_ = std::clamp(tokens_ + tokens + elapsed_s * options_.min_per_s, 0.0,
                       std::max(options_.tokens_max, 0.0));
}

void RetryBudget::OnCall(int64_t now_ns) { Add(now_ns, options_.ratio); }

bool RetryBudget::Withdraw(int64_t now_ns) {
  Add(now_ns, 0);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace weft::rpc
