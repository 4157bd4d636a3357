// SPDX-License-Identifier: Apache-2.0
//
// Calls to whichever of several servers answers: an attempt that fails is made again at the next
// server, and one that takes long may be made at two servers at once (hedged). For servers of which
// each could do the work. Losses of packets are no matter for this: a client sends again by itself.
//
//   rpc::Caller caller(*client, {peer_a, peer_b, peer_c});
//
//   // In a coroutine:
//   absl::StatusOr<BufferChain> reply = co_await caller.Call(request, {.idempotent = true});
//   // Hedged, if the first server has not answered within 2 ms:
//   const rpc::RetryPolicy policy{.idempotent = true, .hedge_after = absl::Milliseconds(2)};
//   reply = co_await caller.Call(request, policy, {.timeout = absl::Milliseconds(50)});
//
//   // With a callback; `call` stays where it is, and destroying it cancels:
//   rpc::RetriedCall call(caller, request, policy);
//   call.Start([](absl::StatusOr<BufferChain> reply) { ... });
//
// What is tried again: MayRetry() (retry_policy.h). When: after a pause that grows (RetryPolicy),
// at the next server in turn that did not ask to be left alone (RetryAfter() in call_status.h) or,
// if all did, as soon as one of them has room. How much of that all calls do together: RetryBudget.
//
// A call's timeout and deadline (CallOptions) hold for all of its attempts and pauses together; a
// pause that would not leave time for another attempt is not begun. A call that fails ends with
// the error of its last attempt, or the first that rules out another; WasNotExecuted() is true of
// it only if no attempt can have been executed. Replies that come after the first are dropped.
//
// Threads: those of the client.
#ifndef WEFT_RPC_RETRY_H_
#define WEFT_RPC_RETRY_H_

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/metrics.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/call.h"
#include "weft/rpc/client.h"
#include "weft/rpc/retry_policy.h"

namespace weft::rpc {

struct CallerOptions {
  // Must outlive the caller; null: one of its own, with the defaults.
  RetryBudget* budget = nullptr;
  // Makes pauses foreseeable, so that a simulation can be repeated; none: random.
  std::optional<uint64_t> seed = std::nullopt;
};

struct CallerStats {
  Counter calls;            // begun
  Counter replies;          // calls that ended well
  Counter failures;         // calls that ended otherwise
  Counter cancelled;        // calls whose caller went away
  Counter attempts;         // of all kinds
  Counter retries;          // of these, after another had failed
  Counter hedges;           // of these, beside another
  Counter hedges_won;       // hedges whose reply came first
  Counter budget_refusals;  // retries and hedges that the budget did not allow
};

// A client's view of servers that do the same work.
class Caller {
 public:
  class CallAwaiter;

  // `client`, which resolved `servers`, must outlive the caller, and that all calls. Calls of a
  // caller without servers fail with FailedPrecondition.
  Caller(Client& client, std::vector<Peer> servers, const CallerOptions& options = {});
  ~Caller();
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // `co_await` gives absl::StatusOr<BufferChain>. The call begins when it is awaited; `request`
  // must live, and stay as it is, until it has ended. A coroutine that is destroyed while it waits
  // cancels every attempt. `first` is the index of the server to ask first; by default calls begin
  // at one server after the other. InvalidArgument for a policy that does not Validate().
  CallAwaiter Call(absl::Span<const uint8_t> request, const RetryPolicy& policy = {},
                   const CallOptions& options = {}, std::optional<size_t> first = std::nullopt);

  absl::Span<const Peer> servers() const { return servers_; }
  Client& client() { return client_; }
  RetryBudget& budget() { return budget_; }
  const CallerStats& stats() const { return stats_; }
  // Calls that have not ended.
  size_t outstanding() const { return outstanding_; }

 private:
  friend class RetriedCall;

  Client& client_;
  const std::vector<Peer> servers_;
  std::vector<int64_t> busy_until_ns_;  // of each server, as it said when it refused
  RetryBudget own_budget_;
  RetryBudget& budget_;
  Prng random_;
  size_t next_first_ = 0;
  size_t outstanding_ = 0;
  CallerStats stats_;
};

// One call. Allocates nothing, as all that it needs is in it; neither copied nor moved.
class RetriedCall {
 public:
  // As Caller::Call().
  RetriedCall(Caller& caller, absl::Span<const uint8_t> request, const RetryPolicy& policy,
              const CallOptions& options = {}, std::optional<size_t> first = std::nullopt);
  // Cancels what is under way; the callback does not run.
  ~RetriedCall();
  RetriedCall(const RetriedCall&) = delete;
  RetriedCall& operator=(const RetriedCall&) = delete;

  // Once. `done` runs once, on the loop and not from within this, and may destroy this.
  void Start(Callback done);

 private:
  struct Attempt {
    RetriedCall* call = nullptr;
    CallId id;  // zero: free
    size_t server = 0;
    bool hedge = false;
  };
  enum class Kind : uint8_t { kFirst, kRetry, kHedge };

  Loop& loop() { return caller_.client_.loop(); }
  bool IsAsked(size_t server) const;
  bool InFlight() const;
  // The server whose turn it is: the first that is not being asked and is not busy; else, of those
  // not being asked, the one that is not busy soonest. None: all are being asked.
  std::optional<size_t> Choose(int64_t now_ns) const;
  // When the first server is not busy.
  int64_t FreeNs(int64_t now_ns) const;

  void Send(Kind kind, size_t server, int64_t now_ns);
  void OnEnd(Attempt& attempt, absl::StatusOr<BufferChain>&& reply);
  void OnFailure(size_t server, absl::Status error);
  // Arms the pause before the next attempt, if there may be one.
  void ScheduleRetry(int64_t now_ns);
  bool Pause(int64_t now_ns);
  static void OnRetry(void* self, int64_t now_ns);
  static void OnHedge(void* self, int64_t now_ns);

  // Withdraws all that is under way; whether an attempt was.
  bool Stop();
  // Nothing of this may be used afterwards.
  void End(absl::StatusOr<BufferChain>&& result);

  Caller& caller_;
  const absl::Span<const uint8_t> request_;
  const RetryPolicy policy_;
  const CallOptions options_;
  const std::optional<size_t> first_;
  Callback done_;
  bool active_ = false;            // between Start() and the end
  bool starting_ = false;          // in Start(), which does not end calls
  bool over_ = false;              // ends when `retry_` fires, with `error_`
  bool perhaps_executed_ = false;  // by some attempt that failed
  int attempts_ = 0;               // hedges not included
  int hedges_ = 0;
  int64_t deadline_ns_ = 0;
  size_t turn_ = 0;  // the server to ask next
  absl::Status error_;
  Backoff backoff_;
  Timer retry_{&RetriedCall::OnRetry, this};
  Timer hedge_{&RetriedCall::OnHedge, this};
  std::array<Attempt, 1 + RetryPolicy::kHedgesLimit> in_flight_;
};

class [[nodiscard]] Caller::CallAwaiter {
 public:
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) {
    awaiting_ = awaiting;
    call_.Start([this](absl::StatusOr<BufferChain> result) {
      result_ = std::move(result);
      awaiting_.resume();
    });
  }
  absl::StatusOr<BufferChain> await_resume() { return std::move(result_); }

 private:
  friend class Caller;
  CallAwaiter(Caller& caller, absl::Span<const uint8_t> request, const RetryPolicy& policy,
              const CallOptions& options, std::optional<size_t> first)
      : call_(caller, request, policy, options, first) {}

  std::coroutine_handle<> awaiting_;
  absl::StatusOr<BufferChain> result_;
  RetriedCall call_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_RETRY_H_
