// SPDX-License-Identifier: Apache-2.0
//
// Routers, and servers of which each works on one request at a time, on a virtual clock. What
// decides is the router's own code: policies, slots, leases and queue (router/dispatcher.h), and
// the FEEDBACK of servers as its bytes (rpc/feedback_stream.h writes them, router/feedback.h judges
// them). Network and clients are as simple as can be: requests come at random (Poisson), at one
// router or another, and a message is late by `delay`, or lost.
//
//   absl::StatusOr<RouterSimulationResult> result =
//       SimulateRouter({.policy = "jbsq", .servers = 1000, .load = 0.9});
//
// All times are in units of the mean service time. The same options give the same result.
#ifndef WEFT_BENCHMARKS_ROUTER_SIMULATION_H_
#define WEFT_BENCHMARKS_ROUTER_SIMULATION_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "weft/benchmarks/service_times.h"

namespace weft::benchmarks {

struct RouterSimulationOptions {
  enum class Feedback {
    kBatches,   // weft's servers: numbered, and repeated by the ones that follow
    kOriginal,  // 16 bytes, once
  };

  std::string policy = "jbsq";
  size_t servers = 16;
  // Of a server, with "jbsq": each router has its part of them, and at least one.
  uint32_t slots = 2;
  size_t routers = 1;
  double load = 0.9;  // part of the time that servers work, 0 to 1
  ServiceTimes service = {};
  double delay = 0;  // of each message between client, router and server
  // Parts of what is sent from routers to servers, and the other way, that is lost. Nothing is sent
  // again but for the sake of FEEDBACK.
  double request_loss = 0;
  double feedback_loss = 0;
  Feedback feedback = Feedback::kBatches;
  double lease = 100;
  size_t queue_max = 65536;       // of each router
  uint64_t requests = 1'000'000;  // the first tenth is not measured
  uint64_t seed = 1;

  // "jbsq(2), 16 servers, load 0.9" and what is not the default.
  std::string Name() const;
};

struct RouterSimulationResult {
  // From the request's departure at the client to the reply's arrival.
  double mean = 0;
  double p50 = 0;
  double p99 = 0;
  double p999 = 0;
  uint64_t replies = 0;
  uint64_t refused = 0;          // DROP: the queue was full
  uint64_t requests_lost = 0;    // on their way to the server
  uint64_t feedback_lost = 0;    // messages
  uint64_t feedback_missed = 0;  // entries that never came, though others after them did
  uint64_t leases_expired = 0;
  uint64_t slots_lost = 0;  // that are still taken when all is over
  double queue_mean = 0;    // as requests find it
};

// InvalidArgument for options out of range, or a policy that there is not.
absl::StatusOr<RouterSimulationResult> SimulateRouter(const RouterSimulationOptions& options);

// The 99th percentile of the time that requests spend at `servers` that share one queue, or of
// which each has its own, if arrivals are random and service times exponential (M/M/n, M/M/1).
double TheoryOneQueue(size_t servers, double load);
double TheoryRandom(double load);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_ROUTER_SIMULATION_H_
