// SPDX-License-Identifier: Apache-2.0
//
// Sends requests of one size to one server, or to those of a balancer, and measures how long the
// replies take: what benchmarks and `weft rpc ping` are made of.
//
//   rpc::LoadGenerator load(*client, server, {.request_bytes = 64, .count = 10'000});
//   load.Start([&] { loop.Stop(); });
//   loop.Run();
//   int64_t p99_ns = load.latency().Snapshot().Percentile(99);
//
// Closed loop (no rate): `outstanding_max` calls are kept in flight; a reply makes the next
// request. Open loop (a rate): requests become due at even intervals, or as a Poisson process,
// however fast replies come.
// One that finds `outstanding_max` calls in flight waits, and its latency counts from when it was
// due: a server that stalls cannot hide it by also stalling the requests that would have shown it.
//
// While the server is shutting down, or gone, calls fail; the next one waits for a millisecond
// then. One that comes back at the same address is found again.
//
// Threads: belongs to the client's loop.
#ifndef WEFT_RPC_LOAD_GENERATOR_H_
#define WEFT_RPC_LOAD_GENERATOR_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/histogram.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/transports/address.h"

namespace weft::rpc {

struct LoadOptions {
  size_t request_bytes = 64;
  size_t outstanding_max = 1;  // at least 1, and at most what the client allows
  double rate_per_s = 0;       // 0: closed loop
  uint64_t poisson_seed = 0;   // with a rate: makes its intervals random; 0: they are even
  uint64_t count = 0;          // requests in all; 0: until Stop()
  // Sessions of its own that the requests go through in turn, opened again when the server has
  // closed them; they stay open until the client's end. 0: the one that the client has.
  size_t sessions = 0;
  uint64_t give_up_after = 0;  // Stop() when the first so many calls all fail; 0: never
};

struct LoadStats {
  uint64_t sent = 0;
  uint64_t replies = 0;
  uint64_t timeouts = 0;
  uint64_t refused = 0;    // DROP
  uint64_t failed = 0;     // otherwise
  uint64_t different = 0;  // replies that are not the request sent back
  int64_t begin_ns = 0;    // of the loop's clock: when it was started
  int64_t end_ns = 0;      // when the last call ended

  uint64_t unanswered() const { return timeouts + refused + failed; }
};

class LoadGenerator {
 public:
  // The client must outlive the generator; if calls are outstanding when that is destroyed, the
  // client's end must come next.
  LoadGenerator(Client& client, const Peer& server, const LoadOptions& options);
  // Each request to a server that `balancer` picks, which must outlive the generator; without
  // sessions of its own.
  LoadGenerator(Balancer& balancer, const LoadOptions& options);
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // Begins. `on_done` runs once, on the loop, when all requests are sent and their calls have
  // ended; it may not destroy the generator. Once only.
  void Start(absl::AnyInvocable<void()> on_done);

  // Sends no more. `on_done` still runs when the outstanding calls have ended.
  void Stop();

  bool done() const { return done_; }
  size_t outstanding() const { return outstanding_; }
  const LoadStats& stats() const { return stats_; }
  // Of calls that were answered, in nanoseconds.
  const Histogram& latency() const { return latency_; }
  // Of the first call that was not answered.
  const absl::Status& first_error() const { return first_error_; }

 private:
  // Sends what may be sent now. `held_back`: until now, too many calls were outstanding.
  void Pump(int64_t now_ns, bool held_back);
  bool SendOne(int64_t start_ns);
  absl::StatusOr<CallId> Call(int64_t start_ns);
  void OnEnd(int64_t start_ns, absl::StatusOr<BufferChain> reply);
  void CountError(const absl::Status& error);
  void FindServer();
  bool IsEcho(const BufferChain& reply) const;
  bool may_send() const {
    return !stopped_ && (options_.count == 0 || stats_.sent < options_.count);
  }
  int64_t DueNs() const;
  // One more was sent: the next one is due later.
  void CountSent();
  void EndIfDone();
  static void OnTimer(void* self, int64_t now_ns);

  Client& client_;
  Balancer* const balancer_ = nullptr;
  const absl::StatusOr<Address> address_;
  Peer server_;
  bool server_lost_ = false;
  const LoadOptions options_;
  const std::vector<uint8_t> request_;
  std::vector<SessionId> sessions_;
  absl::AnyInvocable<void()> on_done_;
  Timer timer_{&LoadGenerator::OnTimer, this};
  size_t outstanding_ = 0;
  bool stopped_ = false;
  bool done_ = false;
  LoadStats stats_;
  Prng prng_;
  double random_due_ns_ = 0;  // with a seed: of the next request, from begin_ns on
  absl::Status first_error_;
  Histogram latency_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_LOAD_GENERATOR_H_
