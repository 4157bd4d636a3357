// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/retry.h"

#include <algorithm>
#include <cassert>

#include "absl/random/random.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/payload.h"

namespace weft::rpc {

Caller::Caller(Client& client, std::vector<Peer> servers, const CallerOptions& options)
    : client_(client),
      servers_(std::move(servers)),
      busy_until_ns_(servers_.size(), 0),
      budget_(options.budget != nullptr ? *options.budget : own_budget_),
      random_(options.seed.has_value() ? *options.seed : absl::BitGen()()) {
  // Clients that begin together should not begin at the same server.
  if (!servers_.empty()) next_first_ = random_.Below(servers_.size());
}

Caller::~Caller() { assert(outstanding_ == 0); }

Caller::CallAwaiter Caller::Call(absl::Span<const uint8_t> request, const RetryPolicy& policy,
                                 const CallOptions& options, std::optional<size_t> first) {
  return CallAwaiter(*this, request, policy, options, first);
}

// --- Beginning and ending

RetriedCall::RetriedCall(Caller& caller, absl::Span<const uint8_t> request,
                         const RetryPolicy& policy, const CallOptions& options,
                         std::optional<size_t> first)
    : caller_(caller),
      request_(request),
      policy_(policy),
      options_(options),
      first_(first),
      backoff_(policy_) {
  for (Attempt& attempt : in_flight_) attempt.call = this;
}

RetriedCall::~RetriedCall() {
  if (!active_) return;
  Stop();
  --caller_.outstanding_;
  ++caller_.stats_.cancelled;
}

void RetriedCall::Start(Callback done) {
  assert(!active_ && done_ == nullptr);
  const int64_t now_ns = loop().now_ns();
  done_ = std::move(done);
  active_ = true;
  starting_ = true;
  ++caller_.outstanding_;
  ++caller_.stats_.calls;
  deadline_ns_ = caller_.client_.DeadlineNs(options_, now_ns);
  absl::Status fits = policy_.Validate();
  if (fits.ok() && caller_.servers_.empty()) {
    fits = absl::FailedPreconditionError("the caller has no servers");
  }
  if (fits.ok()) {
    caller_.budget_.OnCall(now_ns);
    turn_ = (first_.has_value() ? *first_ : caller_.next_first_++) % caller_.servers_.size();
    Send(Kind::kFirst, *Choose(now_ns), now_ns);
  } else {
    End(NotExecuted(std::move(fits)));
  }
  starting_ = false;
}

bool RetriedCall::Stop() {
  loop().timers().Cancel(retry_);
  loop().timers().Cancel(hedge_);
  bool stopped = false;
  for (Attempt& attempt : in_flight_) {
    if (!attempt.id) continue;
    caller_.client_.Cancel(std::exchange(attempt.id, CallId()));
    stopped = true;
  }
  return stopped;
}

void RetriedCall::End(absl::StatusOr<BufferChain>&& result) {
  if (Stop()) perhaps_executed_ = true;
  if (starting_) {
    over_ = true;
    error_ = std::move(result).status();
    loop().timers().Schedule(retry_, loop().now_ns());
    return;
  }
  active_ = false;
  --caller_.outstanding_;
  if (result.ok()) {
    ++caller_.stats_.replies;
  } else {
    ++caller_.stats_.failures;
    if (perhaps_executed_) result = PerhapsExecuted(std::move(result).status());
  }
  Callback done = std::move(done_);
  done(std::move(result));
}

// --- Whom to ask

bool RetriedCall::IsAsked(size_t server) const {
  return std::any_of(in_flight_.begin(), in_flight_.end(), [server](const Attempt& attempt) {
    return attempt.id && attempt.server == server;
  });
}

bool RetriedCall::InFlight() const {
  return std::any_of(in_flight_.begin(), in_flight_.end(),
                     [](const Attempt& attempt) { return static_cast<bool>(attempt.id); });
}

std::optional<size_t> RetriedCall::Choose(int64_t now_ns) const {
  const std::vector<int64_t>& busy_until_ns = caller_.busy_until_ns_;
  std::optional<size_t> soonest;
  for (size_t i = 0; i < busy_until_ns.size(); ++i) {
    const size_t server = (turn_ + i) % busy_until_ns.size();
    if (IsAsked(server)) continue;
    if (busy_until_ns[server] <= now_ns) return server;
    if (!soonest || busy_until_ns[server] < busy_until_ns[*soonest]) soonest = server;
  }
  return soonest;
}

int64_t RetriedCall::FreeNs(int64_t now_ns) const {
  int64_t free_ns = INT64_MAX;
  for (const int64_t busy_until_ns : caller_.busy_until_ns_) {
    if (busy_until_ns <= now_ns) return now_ns;
    free_ns = std::min(free_ns, busy_until_ns);
  }
  return free_ns;
}

// --- Attempts

void RetriedCall::Send(Kind kind, size_t server, int64_t now_ns) {
  Attempt& attempt =
      *std::find_if(in_flight_.begin(), in_flight_.end(), [](const Attempt& a) { return !a.id; });
  attempt.server = server;
  attempt.hedge = kind == Kind::kHedge;
  turn_ = (server + 1) % caller_.servers_.size();
  ++caller_.stats_.attempts;
  if (kind == Kind::kRetry) ++caller_.stats_.retries;
  if (kind == Kind::kHedge) ++caller_.stats_.hedges;
  kind == Kind::kHedge ? ++hedges_ : ++attempts_;
  if (policy_.hedge_after > absl::ZeroDuration() && hedges_ < policy_.hedges_max) {
    loop().timers().Schedule(hedge_, now_ns + TimeoutNs(policy_.hedge_after));
  }

  const CallOptions options = {.timeout = policy_.attempt_timeout > absl::ZeroDuration()
                                              ? policy_.attempt_timeout
                                              : absl::InfiniteDuration(),
                               .deadline_ns = deadline_ns_,
                               .policy = options_.policy};
  const absl::StatusOr<CallId> begun = caller_.client_.Call(
      caller_.servers_[server], Payload::External(request_),
      [&attempt](absl::StatusOr<BufferChain> reply) {
        attempt.call->OnEnd(attempt, std::move(reply));
      },
      options);
  if (begun.ok()) {
    attempt.id = *begun;
  } else {
    OnFailure(server, NotExecuted(begun.status()));
  }
}

void RetriedCall::OnEnd(Attempt& attempt, absl::StatusOr<BufferChain>&& reply) {
  attempt.id = CallId();
  if (!reply.ok()) return OnFailure(attempt.server, std::move(reply).status());
  if (attempt.hedge) ++caller_.stats_.hedges_won;
  End(std::move(reply));
}

void RetriedCall::OnFailure(size_t server, absl::Status error) {
  const int64_t now_ns = loop().now_ns();
  if (const absl::Duration hint = RetryAfter(error); hint > absl::ZeroDuration()) {
    caller_.busy_until_ns_[server] = now_ns + absl::ToInt64Nanoseconds(hint);
  }
  if (!WasNotExecuted(error)) perhaps_executed_ = true;
  // Nothing gets out of a dead port, to whichever server.
  const bool hopeless = now_ns >= deadline_ns_ || !caller_.client_.port().status().ok();
  if (hopeless || !MayRetry(error, policy_.idempotent)) return End(std::move(error));
  error_ = std::move(error);
  if (!retry_.armed()) ScheduleRetry(now_ns);
  if (!retry_.armed() && !InFlight()) End(std::move(error_));
}

void RetriedCall::ScheduleRetry(int64_t now_ns) {
  if (attempts_ >= policy_.attempts_max || !Pause(now_ns)) return;
  if (!caller_.budget_.Withdraw(now_ns)) {
    ++caller_.stats_.budget_refusals;
    loop().timers().Cancel(retry_);
    return;
  }
  // What follows is another attempt beside those under way, if any: it does for a hedge.
  loop().timers().Cancel(hedge_);
}

bool RetriedCall::Pause(int64_t now_ns) {
  const int64_t until_ns = FreeNs(now_ns) + backoff_.NextNs(caller_.random_);
  if (until_ns >= deadline_ns_) return false;
  loop().timers().Schedule(retry_, until_ns);
  return true;
}

void RetriedCall::OnRetry(void* self, int64_t now_ns) {
  auto& call = *static_cast<RetriedCall*>(self);
  if (call.over_) return call.End(std::move(call.error_));
  // Meanwhile all servers may have asked other calls to wait.
  if (call.FreeNs(now_ns) > now_ns) {
    if (!call.Pause(now_ns) && !call.InFlight()) call.End(std::move(call.error_));
    return;
  }
  call.Send(Kind::kRetry, call.Choose(now_ns).value_or(call.turn_), now_ns);
}

void RetriedCall::OnHedge(void* self, int64_t now_ns) {
  auto& call = *static_cast<RetriedCall*>(self);
  Caller& caller = call.caller_;
  const std::optional<size_t> other = call.Choose(now_ns);
  if (now_ns >= call.deadline_ns_ || !other || caller.busy_until_ns_[*other] > now_ns) return;
  if (!caller.budget_.Withdraw(now_ns)) {
    ++caller.stats_.budget_refusals;
    return;
  }
  call.Send(Kind::kHedge, *other, now_ns);
}

}  // namespace weft::rpc
