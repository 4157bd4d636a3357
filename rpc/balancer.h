// SPDX-License-Identifier: Apache-2.0
//
// Calls that are spread over several servers which do the same work, with no router in the path:
// for each call the client picks the server by a policy (r2p2/policy/policy.h), and knows nothing
// of other clients' calls.
//
//   absl::StatusOr<std::unique_ptr<rpc::Balancer>> balancer =
//       rpc::Balancer::Create(*client, {.policy = "power_of_two"});
//   absl::Status added = (*balancer)->Add(*Address::Parse("10.0.0.2:7000"));
//
//   // In a coroutine, or with a callback:
//   absl::StatusOr<BufferChain> reply = co_await (*balancer)->Call(request);
//   // Calls with the same key to the same server, with the policy "affinity":
//   reply = co_await (*balancer)->Call(request, {.affinity = user_id});
//
//   rpc::Channel channel(**balancer);  // for stubs (service/channel.h)
//
// A server that fails is ejected: at once when it cannot be reached, is not heard of, has restarted
// or is shutting down, or after `failures_max` calls in a row that ended with DeadlineExceeded or
// Aborted. After `ejection`, twice as long each time, up to 64 times, it is asked for a session
// (in the original format, which has none, this is left out); when it answers it gets one call, and
// when that ends well it is used as before. One that refuses calls and says when to try again gets
// none until then, or for `ejection` at most. No call is made twice: each ends as its server ended
// it (client.h), so that a request is executed once at most; Caller (retry.h) tries again.
//
// A "server" may be a router with servers behind it. As long as that is heard of, calls that end
// with one of those are no reason to eject it.
//
// Calls end as those of Client, and also, NotExecuted(), with
//   Unavailable         there are no servers, or all have failed
//   ResourceExhausted   all refuse, or `waiting_max` calls wait for a slot
//   DeadlineExceeded    no slot became free in time
//
// Calls wait with the policy "jbsq" only, in the order in which they were made. In steady state a
// call allocates nothing. Threads: the client's.
#ifndef WEFT_RPC_BALANCER_H_
#define WEFT_RPC_BALANCER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/timer_wheel.h"
#include "weft/r2p2/policy/policy.h"
#include "weft/rpc/balanced_servers.h"
#include "weft/rpc/call.h"
#include "weft/rpc/call_awaiter.h"
#include "weft/rpc/client.h"
#include "weft/rpc/payload.h"

namespace weft::rpc {

struct BalancerOptions {
  std::string policy = "power_of_two";
  uint32_t slots = 32;  // calls that may be at a server at a time, with "jbsq"
  uint32_t failures_max = 3;
  absl::Duration ejection = absl::Milliseconds(100);
  size_t servers_max = 1024;
  size_t waiting_max = 1024;
  // Makes choices foreseeable, so that a simulation can be repeated; none: random.
  std::optional<uint64_t> seed = std::nullopt;

  static BalancerOptions From(const config::Rpc& config);
};

class Balancer {
 public:
  using CallAwaiter = rpc::CallAwaiter<Balancer>;

  // Without servers yet. `client` must outlive it. InvalidArgument for a policy that there is not,
  // with those that there are, and for limits of 0.
  static absl::StatusOr<std::unique_ptr<Balancer>> Create(Client& client,
                                                          const BalancerOptions& options = {});
  // With `rpc.servers` and `rpc.balancer` of a configuration.
  static absl::StatusOr<std::unique_ptr<Balancer>> Create(Client& client,
                                                          const config::Rpc& config);
  // Cancels what is outstanding without running callbacks; coroutines that wait for a call must be
  // gone already.
  ~Balancer();
  Balancer(const Balancer&) = delete;
  Balancer& operator=(const Balancer&) = delete;

  // A further server, or one that was to be drained and now stays. One that is not there yet is
  // ejected until it is. AlreadyExists; ResourceExhausted at `servers_max`; else the errors of
  // Client::Resolve().
  absl::Status Add(const Address& address, uint32_t weight = 1) {
    return servers_.Add(address, weight);
  }
  // These fail with NotFound for an address that is none of the servers.
  //
  // It gets no more calls. Those that it has end as they would have.
  absl::Status Remove(const Address& address) { return servers_.Remove(address); }
  // The same, but it is one of servers() until it has none left.
  absl::Status Drain(const Address& address) { return servers_.Drain(address); }
  absl::Status SetWeight(const Address& address, uint32_t weight) {
    return servers_.SetWeight(address, weight);
  }

  // As those of Client. An error means that the call did not begin, and `callback` is not going to
  // run. The CallId is the balancer's: no client knows it.
  absl::StatusOr<CallId> Call(absl::Span<const uint8_t> request, Callback callback,
                              const CallOptions& options = {});
  absl::StatusOr<CallId> Call(Payload&& request, Callback&& callback,
                              const CallOptions& options = {});
  CallAwaiter Call(absl::Span<const uint8_t> request, const CallOptions& options = {});
  CallAwaiter Call(Payload request, const CallOptions& options = {});
  void Cancel(CallId id);
  void CountResent(CallId id, uint32_t* count);

  // For what is more than a call, such as a stream: picks a server, which has it until Done() or
  // Cancelled(). Does not wait: ResourceExhausted, NotExecuted(), if it would have to.
  absl::StatusOr<Picked> Pick(uint64_t affinity);
  void Done(const Picked& picked, const absl::Status& status);
  void Cancelled(const Picked& picked);
  // Of a server that has just been picked.
  const Peer& PeerOf(const Picked& picked) const { return servers_.at(picked.server).peer; }
  // The server that has the call, for traces; null while it waits.
  const Peer* PeerOf(CallId id);

  // In no order.
  std::vector<BalancedServer> servers() const;
  uint32_t outstanding(const Address& address) const;
  // Calls that have not ended.
  size_t outstanding() const { return outstanding_; }
  size_t waiting() const { return waiting_; }
  absl::string_view policy() const { return policy_->name(); }
  const BalancerStats& stats() const { return stats_; }
  const r2p2::ServerSet& set() const { return servers_.set(); }
  Client& client() { return client_; }

 private:
  // Used again for another one when it has ended.
  struct BalancedCall {
    BalancedCall(Balancer* balancer, uint32_t index)
        : balancer(balancer), index(index), timer(&Balancer::OnDeadline, this) {}
    Balancer* const balancer;
    const uint32_t index;
    uint32_t generation = 0;
    bool active = false;
    Picked picked;  // none: it waits
    CallId inner;   // the client's
    Callback callback;
    // While it waits.
    Payload request;
    CallOptions options;
    uint32_t* resent = nullptr;
    Timer timer;
    BalancedCall* next = nullptr;  // or the next unused one
    BalancedCall* previous = nullptr;
  };

  Balancer(Client& client, const BalancerOptions& options,
           std::unique_ptr<r2p2::BalancingPolicy> policy);

  r2p2::ServerIndex PickServer(uint64_t affinity);
  // `copy`: the bytes of `request`, in one piece, may go away.
  absl::StatusOr<CallId> Begin(Payload&& request, bool copy, Callback&& callback,
                               const CallOptions& options);
  absl::Status Send(BalancedCall& call, r2p2::ServerIndex server, Payload&& request, bool copy,
                    const CallOptions& options);
  absl::StatusOr<CallId> Wait(Payload&& request, bool copy, Callback&& callback,
                              const CallOptions& options);
  absl::Status Refused(absl::Status error);
  void OnReply(BalancedCall& call, absl::StatusOr<BufferChain>&& reply);
  void End(BalancedCall& call, absl::StatusOr<BufferChain>&& result);
  void StopWaiting(BalancedCall& call);
  void Pump();
  void PumpSoon();
  static void OnPump(void* self, int64_t now_ns);
  static void OnDeadline(void* call, int64_t now_ns);
  BalancedCall& NewCall(Callback&& callback);
  void Free(BalancedCall& call);
  BalancedCall* Find(CallId id);

  Client& client_;
  const BalancerOptions options_;
  BalancerStats stats_;
  const std::unique_ptr<r2p2::BalancingPolicy> policy_;
  BalancedServers servers_;
  std::vector<std::unique_ptr<BalancedCall>> calls_;
  BalancedCall* unused_ = nullptr;
  BalancedCall* first_ = nullptr;  // of those that wait
  BalancedCall* last_ = nullptr;
  size_t waiting_ = 0;
  size_t outstanding_ = 0;
  uint64_t keyless_ = 0;  // calls without an affinity, which are to be spread
  bool pumping_ = false;
  Timer pump_{&Balancer::OnPump, this};
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_BALANCER_H_
