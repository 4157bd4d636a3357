// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/balancer.h"

#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"

namespace weft::rpc {
namespace {

CallId IdOf(uint32_t index, uint32_t generation) { return {uint64_t{generation} << 32 | index}; }

}  // namespace

BalancerOptions BalancerOptions::From(const config::Rpc& config) {
  return {.policy = config.balancer().policy(),
          .slots = config.balancer().slots(),
          .failures_max = config.balancer().failures_max(),
          .ejection = absl::Microseconds(config.balancer().ejection_us()),
          .servers_max = std::max<size_t>(BalancerOptions().servers_max, config.servers().size()),
          .waiting_max = config.outstanding_max()};
}

absl::StatusOr<std::unique_ptr<Balancer>> Balancer::Create(Client& client,
                                                           const BalancerOptions& options) {
  if (options.slots == 0 || options.failures_max == 0 || options.ejection <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "slots, failures_max and ejection of a balancer must be greater than zero");
  }
  auto policy =
      r2p2::MakePolicy(options.policy, options.seed.has_value() ? *options.seed : absl::BitGen()());
  if (!policy.ok()) return policy.status();
  return std::unique_ptr<Balancer>(new Balancer(client, options, *std::move(policy)));
}

absl::StatusOr<std::unique_ptr<Balancer>> Balancer::Create(Client& client,
                                                           const config::Rpc& config) {
  auto balancer = Create(client, BalancerOptions::From(config));
  if (!balancer.ok()) {
    return absl::Status(balancer.status().code(),
                        absl::StrCat("rpc.balancer: ", balancer.status().message()));
  }
  for (const std::string& text : config.servers()) {
    const absl::StatusOr<Address> address = Address::Parse(text);
    absl::Status added = address.ok() ? (*balancer)->Add(*address) : address.status();
    // Told twice, it is no less a server.
    if (!added.ok() && !absl::IsAlreadyExists(added)) {
      return absl::Status(added.code(),
                          absl::StrCat("rpc.servers: '", text, "': ", added.message()));
    }
  }
  return balancer;
}

Balancer::Balancer(Client& client, const BalancerOptions& options,
                   std::unique_ptr<r2p2::BalancingPolicy> policy)
    : client_(client),
      options_(options),
      policy_(std::move(policy)),
      servers_(client,
               {.servers_max = options.servers_max,
                .slots = options.slots,
                .failures_max = options.failures_max,
                .ejection_ns = absl::ToInt64Nanoseconds(options.ejection)},
               stats_, [this] { PumpSoon(); }) {}

Balancer::~Balancer() {
  for (const std::unique_ptr<BalancedCall>& call : calls_) {
    client_.loop().timers().Cancel(call->timer);
    if (call->active && call->picked) client_.Cancel(call->inner);
  }
  client_.loop().timers().Cancel(pump_);
}

std::vector<BalancedServer> Balancer::servers() const {
  std::vector<BalancedServer> servers;
  for (size_t i = 0; i < set().index_end(); ++i) {
    const auto index = static_cast<r2p2::ServerIndex>(i);
    if (set().contains(index)) servers.push_back(servers_.at(index));
  }
  return servers;
}

uint32_t Balancer::outstanding(const Address& address) const {
  for (size_t i = 0; i < set().index_end(); ++i) {
    const auto index = static_cast<r2p2::ServerIndex>(i);
    if (set().contains(index) && servers_.at(index).address == address) {
      return set().outstanding(index);
    }
  }
  return 0;
}

// --- Picking

r2p2::ServerIndex Balancer::PickServer(uint64_t affinity) {
  if (affinity == 0) affinity = ++keyless_;
  r2p2::ServerIndex server = r2p2::kNoServerIndex;
  policy_->Pick({&affinity, 1}, servers_.set(), {&server, 1});
  return server;
}

absl::StatusOr<Picked> Balancer::Pick(uint64_t affinity) {
  const r2p2::ServerIndex server = first_ == nullptr ? PickServer(affinity) : r2p2::kNoServerIndex;
  if (server != r2p2::kNoServerIndex) return servers_.OnPicked(server);
  if (set().available().empty()) return servers_.WhyNone();
  return NotExecuted(
      absl::ResourceExhaustedError("all servers have as many calls as slots allows"));
}

void Balancer::Done(const Picked& picked, const absl::Status& status) {
  servers_.OnEnd(picked, status);
  if (first_ != nullptr) PumpSoon();
}

void Balancer::Cancelled(const Picked& picked) {
  servers_.OnCancelled(picked);
  if (first_ != nullptr) PumpSoon();
}

// --- Calls

Balancer::BalancedCall& Balancer::NewCall(Callback&& callback) {
  if (unused_ == nullptr) {
    calls_.push_back(std::make_unique<BalancedCall>(this, static_cast<uint32_t>(calls_.size())));
    unused_ = calls_.back().get();
  }
  BalancedCall& call = *unused_;
  unused_ = std::exchange(call.next, nullptr);
  ++call.generation;  // so that no id is 0
  call.active = true;
  call.callback = std::move(callback);
  ++outstanding_;
  return call;
}

void Balancer::Free(BalancedCall& call) {
  call.callback = nullptr;
  call.next = unused_;
  unused_ = &call;
}

Balancer::BalancedCall* Balancer::Find(CallId id) {
  const auto index = static_cast<uint32_t>(id.value);
  if (index >= calls_.size()) return nullptr;
  BalancedCall& call = *calls_[index];
  return call.active && call.generation == id.value >> 32 ? &call : nullptr;
}

absl::Status Balancer::Refused(absl::Status error) {
  ++stats_.refused;
  ++stats_.failures;
  return error;
}

absl::StatusOr<CallId> Balancer::Begin(Payload&& request, bool copy, Callback&& callback,
                                       const CallOptions& options) {
  ++stats_.calls;
  // Those that wait already come first.
  const r2p2::ServerIndex server =
      first_ == nullptr ? PickServer(options.affinity) : r2p2::kNoServerIndex;
  if (server == r2p2::kNoServerIndex) [[unlikely]] {
    if (set().available().empty()) return Refused(servers_.WhyNone());
    return Wait(std::move(request), copy, std::move(callback), options);
  }
  BalancedCall& call = NewCall(std::move(callback));
  absl::Status sent = Send(call, server, std::move(request), copy, options);
  if (!sent.ok()) [[unlikely]] {
    ++stats_.failures;
    call.active = false;
    --outstanding_;
    Free(call);
    return sent;
  }
  return IdOf(call.index, call.generation);
}

absl::Status Balancer::Send(BalancedCall& call, r2p2::ServerIndex server, Payload&& request,
                            bool copy, const CallOptions& options) {
  call.picked = servers_.OnPicked(server);
  Callback on_reply = [&call](absl::StatusOr<BufferChain> reply) {
    call.balancer->OnReply(call, std::move(reply));
  };
  const Peer& peer = PeerOf(call.picked);
  absl::StatusOr<CallId> begun =
      copy ? client_.Call(peer, request.front(), std::move(on_reply), options)
           : client_.Call(peer, std::move(request), std::move(on_reply), options);
  if (!begun.ok()) [[unlikely]] {
    // It may be shutting down; of this side's limits it knows nothing.
    const Picked picked = std::exchange(call.picked, Picked());
    if (absl::IsUnavailable(begun.status())) {
      servers_.OnEnd(picked, begun.status());
    } else {
      servers_.OnCancelled(picked);
    }
    return begun.status();
  }
  call.inner = *begun;
  return absl::OkStatus();
}

void Balancer::OnReply(BalancedCall& call, absl::StatusOr<BufferChain>&& reply) {
  servers_.OnEnd(std::exchange(call.picked, Picked()), reply.status());
  End(call, std::move(reply));
  Pump();
}

void Balancer::End(BalancedCall& call, absl::StatusOr<BufferChain>&& result) {
  ++(result.ok() ? stats_.replies : stats_.failures);
  call.active = false;
  --outstanding_;
  // Where it is: nobody else gets this call before it is freed.
  call.callback(std::move(result));
  Free(call);
}

void Balancer::Cancel(CallId id) {
  BalancedCall* const call = Find(id);
  if (call == nullptr) return;
  call->active = false;
  --outstanding_;
  if (call->picked) {
    client_.Cancel(call->inner);
    Cancelled(std::exchange(call->picked, Picked()));
  } else {
    StopWaiting(*call);
    call->request.Clear();
  }
  Free(*call);
}

void Balancer::CountResent(CallId id, uint32_t* count) {
  BalancedCall* const call = Find(id);
  if (call == nullptr) return;
  if (call->picked) return client_.CountResent(call->inner, count);
  call->resent = count;
}

const Peer* Balancer::PeerOf(CallId id) {
  BalancedCall* const call = Find(id);
  return call != nullptr && call->picked && servers_.contains(call->picked) ? &PeerOf(call->picked)
                                                                            : nullptr;
}

// --- Waiting for a slot

absl::StatusOr<CallId> Balancer::Wait(Payload&& request, bool copy, Callback&& callback,
                                      const CallOptions& options) {
  const int64_t now_ns = client_.loop().now_ns();
  const int64_t deadline_ns = client_.DeadlineNs(options, now_ns);
  if (deadline_ns <= now_ns) {
    return Refused(
        NotExecuted(absl::DeadlineExceededError("the deadline passed before the call began")));
  }
  if (waiting_ >= options_.waiting_max) {
    return Refused(NotExecuted(absl::ResourceExhaustedError(
        absl::StrCat(waiting_, " calls wait for a slot, as many as may"))));
  }
  BalancedCall& call = NewCall(std::move(callback));
  call.request = copy ? Payload::Copy(request.front()) : std::move(request);
  call.options = options;
  call.options.deadline_ns = deadline_ns;
  call.options.timeout = absl::ZeroDuration();
  call.resent = nullptr;
  call.previous = last_;
  call.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &call;
  last_ = &call;
  ++waiting_;
  ++stats_.queued;
  stats_.waiting.Add(1);
  client_.loop().timers().Schedule(call.timer, deadline_ns);
  return IdOf(call.index, call.generation);
}

void Balancer::StopWaiting(BalancedCall& call) {
  (call.previous == nullptr ? first_ : call.previous->next) = call.next;
  (call.next == nullptr ? last_ : call.next->previous) = call.previous;
  call.next = call.previous = nullptr;
  --waiting_;
  stats_.waiting.Add(-1);
  client_.loop().timers().Cancel(call.timer);
}

void Balancer::OnDeadline(void* context, int64_t) {
  auto& call = *static_cast<BalancedCall*>(context);
  Balancer& balancer = *call.balancer;
  balancer.StopWaiting(call);
  call.request.Clear();
  balancer.End(call, NotExecuted(absl::DeadlineExceededError("no slot became free in time")));
}

void Balancer::Pump() {
  // Calls that end below lead here again: however many there are, one after the other.
  if (first_ == nullptr || pumping_) return;
  pumping_ = true;
  // If those that callbacks begin meanwhile failed at once too, this might never end.
  size_t left = waiting_;
  for (; first_ != nullptr && left > 0; --left) {
    const r2p2::ServerIndex server = PickServer(first_->options.affinity);
    if (server == r2p2::kNoServerIndex) break;
    BalancedCall& call = *first_;
    StopWaiting(call);
    absl::Status sent = Send(call, server, std::move(call.request), /*copy=*/false, call.options);
    if (!sent.ok()) {
      call.request.Clear();
      End(call, std::move(sent));
    } else if (call.resent != nullptr) {
      client_.CountResent(call.inner, call.resent);
    }
  }
  pumping_ = false;
  if (left == 0) PumpSoon();
}

void Balancer::PumpSoon() {
  if (first_ != nullptr) client_.loop().timers().Schedule(pump_, client_.loop().now_ns());
}

void Balancer::OnPump(void* self, int64_t) { static_cast<Balancer*>(self)->Pump(); }

// --- Faces

absl::StatusOr<CallId> Balancer::Call(absl::Span<const uint8_t> request, Callback callback,
                                      const CallOptions& options) {
  return Begin(Payload::External(request), /*copy=*/true, std::move(callback), options);
}

absl::StatusOr<CallId> Balancer::Call(Payload&& request, Callback&& callback,
                                      const CallOptions& options) {
  return Begin(std::move(request), /*copy=*/false, std::move(callback), options);
}

Balancer::CallAwaiter Balancer::Call(absl::Span<const uint8_t> request,
                                     const CallOptions& options) {
  return CallAwaiter(*this, Payload::External(request), options);
}

Balancer::CallAwaiter Balancer::Call(Payload request, const CallOptions& options) {
  return CallAwaiter(*this, std::move(request), options);
}

}  // namespace weft::rpc
