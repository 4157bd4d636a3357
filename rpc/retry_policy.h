// SPDX-License-Identifier: Apache-2.0
//
// When a call is tried again, and how often: the rules that `Caller` (retry.h) follows.
#ifndef WEFT_RPC_RETRY_POLICY_H_
#define WEFT_RPC_RETRY_POLICY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weft/core/prng.h"

namespace weft::rpc {

// How waiting times before another try are drawn, so that callers which failed together do not come
// back together (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
enum class Jitter : uint8_t {
  kNone,          // initial * factor^n
  kFull,          // uniform between 0 and that
  kDecorrelated,  // uniform between initial and factor times the one before
};

// Of one call. In all it makes attempts_max + hedges_max attempts at most, of which 1 + hedges_max
// are under way at a time.
struct RetryPolicy {
  static constexpr int kAttemptsLimit = 100;
  static constexpr int kHedgesLimit = 3;

  int attempts_max = 3;  // the first one included, hedges not; 1 to kAttemptsLimit
  // The request may be executed more than once, and at several servers at a time. Otherwise it is
  // executed once at most, as it is tried again only after errors that say that it was not.
  bool idempotent = false;
  // Of each attempt; zero: all the time that the call has.
  absl::Duration attempt_timeout = absl::ZeroDuration();

  // Between the end of an attempt and the next one.
  absl::Duration backoff_initial = absl::Milliseconds(1);
  absl::Duration backoff_max = absl::Milliseconds(100);
  double backoff_factor = 2;  // 1 or more
  Jitter jitter = Jitter::kFull;

  // Idempotent calls only: when no reply has come for so long since the latest attempt, another
  // server is asked as well; the first reply wins and the other attempts are cancelled. Zero:
  // never. A good value is the 95th percentile of response times (Dean and Barroso, "The Tail at
  // Scale", CACM 2013).
  absl::Duration hedge_after = absl::ZeroDuration();
  int hedges_max = 1;  // 0 to kHedgesLimit

  // InvalidArgument that names the field, for what is out of range or does not fit together.
  absl::Status Validate() const;
};

// Whether a call may be tried again, at the same or another server, after an attempt that ended
// with `error`. "Refused" is WasNotExecuted(error), "unknown" is every other:
//
//                       refused   unknown
//   Unavailable         yes       if idempotent   not reachable, shutting down, restarted
//   ResourceExhausted   yes       if idempotent   overloaded, or no room on this side
//   DeadlineExceeded    yes       if idempotent   the attempt's time: the call has time left
//   Aborted             yes       if idempotent   the handler ended without a reply
//   DataLoss            yes       if idempotent   executed, but the reply was lost
//   all others          no        no              would be the same again, or was asked for
bool MayRetry(const absl::Status& error, bool idempotent);

// The waiting times of one call.
class Backoff {
 public:
  // `policy` must outlive it.
  explicit Backoff(const RetryPolicy& policy);
  int64_t NextNs(Prng& random);

 private:
  const RetryPolicy& policy_;
  double next_ns_;  // before jitter; kDecorrelated: the one before
};

struct RetryBudgetOptions {
  double ratio = 0.1;       // retries and hedges a call, in the long run
  double min_per_s = 10;    // and so many beside, for programs that call rarely
  double tokens_max = 100;  // in a burst, after quiet times and at first
};

// Bounds the retries and hedges of many calls together, so that they cannot multiply an overload:
// when everything fails, servers get 1 + ratio times the calls and not attempts_max times. A bucket
// of tokens: a call puts `ratio` of a token in, a retry or hedge takes one out or does not happen
// (as in Finagle).
//
// One thread; share one between the callers of a worker whose servers have the same bottleneck.
class RetryBudget {
 public:
  explicit RetryBudget(const RetryBudgetOptions& options = {});

  void OnCall(int64_t now_ns);
  // False: no retry now.
  bool Withdraw(int64_t now_ns);
  // As of the latest call of the others.
  double tokens() const { return tokens_; }

 private:
  void Add(int64_t now_ns, double tokens);

  const RetryBudgetOptions options_;
  double tokens_;
  int64_t latest_ns_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_RETRY_POLICY_H_
