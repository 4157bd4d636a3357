// SPDX-License-Identifier: Apache-2.0
//
// What a running program told of itself and of its RPC at one moment, of all workers together: for
// `weft rpc top`. What counts counts since the program's start.
#ifndef WEFT_CLI_RPC_TOP_SAMPLE_H_
#define WEFT_CLI_RPC_TOP_SAMPLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weft::cli {

// Calls of one method on one side.
struct TopMethod {
  std::string method;
  std::string side;
  double calls = 0;
  double errors = 0;  // of them, those with another status than OK
  double in_flight = 0;
  std::map<double, double> buckets;  // calls by the greatest latency in ns that their bucket takes
};

struct TopSession {
  std::string peer;  // its address, and before it the identity that it has proved, if it had to
  std::string kind;  // of the side that tells
  std::string worker;
  std::string state;
  double requests = 0;
  double in_flight = 0;
  double age_ms = 0;
  // Where that side knows them.
  std::optional<double> srtt_us;
  std::optional<double> retransmissions;
  std::optional<double> credits;
  std::optional<double> window;
};

struct TopSample {
  int64_t at_ns = 0;  // of the monotonic clock
  std::string program;
  std::string transport;
  std::string state;
  double pid = 0;
  double uptime_ms = 0;
  double workers = 0;
  std::vector<std::string> silent;  // the workers that did not answer: "worker 1 did not ..."

  double served = 0;  // requests of servers
  double called = 0;  // calls of clients
  double failed = 0;  // of both, those refused, lost or late, and calls of methods that failed
  double in_flight = 0;
  double sessions_total = 0;
  std::map<std::string, TopMethod> methods;    // by side and name
  std::map<std::string, TopSession> sessions;  // by worker, place and number
};

// From what /host and /rpc say. DataLoss for what is no JSON.
absl::StatusOr<TopSample> ParseTopSample(const std::string& host, const std::string& rpc,
                                         int64_t at_ns);

// Asks the program whose HTTP server is at `address`; of the sessions of each server and client,
// for the `sessions_max` busiest. Errors are those of Ask() (host_json.h); a program without RPC is
// a FailedPrecondition.
absl::StatusOr<TopSample> FetchTopSample(const std::string& address, uint64_t sessions_max);

}  // namespace weft::cli

#endif  // WEFT_CLI_RPC_TOP_SAMPLE_H_
