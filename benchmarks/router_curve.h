// SPDX-License-Identifier: Apache-2.0
//
// How long requests take at a load, with real processes: a client whose requests come as a Poisson
// process however fast they are answered, a router, and servers that take a time for each request
// and serve one at a time. Servers sleep meanwhile: many of them need no core each.

#ifndef WEFT_BENCHMARKS_ROUTER_CURVE_H_
#define WEFT_BENCHMARKS_ROUTER_CURVE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"
#include "weft/benchmarks/rpc_workload.h"

namespace weft::benchmarks {

struct CurvePoint {
  double load = 0;  // asked for: of what all servers can do together
  double p50_us = 0;
  double p99_us = 0;
  double p999_us = 0;
  double replies_per_s = 0;
  double refused_percent = 0;  // by the router: DROP
  double failed = 0;           // otherwise
  // Replies of the server that had least to do, and of the one that had most.
  double server_per_s_min = 0;
  double server_per_s_max = 0;
};

// What each server has served, in memory that processes share.
class ServedCounts {
 public:
  using Count = std::atomic<uint64_t>;

  // The first `count` of those in `fd`.
  static absl::StatusOr<std::unique_ptr<ServedCounts>> Map(int fd, size_t count);
  ~ServedCounts();
  ServedCounts(const ServedCounts&) = delete;
  ServedCounts& operator=(const ServedCounts&) = delete;

  Count& at(size_t server) { return counts_[server]; }
  std::vector<uint64_t> Read() const;

 private:
  ServedCounts(Count* counts, size_t count) : counts_(counts), count_(count) {}

  Count* const counts_;
  const size_t count_;
};

// A router and its servers, which run until this goes.
class RoutedServers {
 public:
  struct Options {
    std::string transport = "linux";
    std::string policy = "jbsq";
    size_t servers = 8;
    std::string service = "exponential";  // service_times.h
    absl::Duration service_mean = absl::Milliseconds(1);
    absl::Duration lifetime = absl::Minutes(1);
  };
  static absl::StatusOr<std::unique_ptr<RoutedServers>> Start(const Options& options,
                                                              const RpcOptions& cores);

  // Asks for `load` of what the servers can do, for the duration of `options`.
  absl::StatusOr<CurvePoint> Measure(double load, const RpcOptions& options) const;

 private:
  Options options_;
  std::string address_;  // of the router
  std::unique_ptr<ServedCounts> served_;
  std::unique_ptr<PeerProcess> router_;
  std::vector<std::unique_ptr<PeerProcess>> servers_;
};

// What a program that uses it must be able to run.
absl::Span<const PeerRole> CurveRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_ROUTER_CURVE_H_
