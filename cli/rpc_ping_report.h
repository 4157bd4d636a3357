// SPDX-License-Identifier: Apache-2.0
//
// What `weft rpc ping` tells when it ends.
#ifndef WEFT_CLI_RPC_PING_REPORT_H_
#define WEFT_CLI_RPC_PING_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weft/core/histogram.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"

namespace weft::cli {

// Without any reply to so many, the rest would only make the user wait.
inline constexpr uint64_t kGiveUpAfter = 5;

struct PingReport {
  // As asked for.
  std::string transport;
  std::string address;
  std::string wire;
  rpc::LoadOptions load;

  // As it was.
  std::string policy;                        // of a balancer; empty: there was none
  std::vector<rpc::BalancedServer> servers;  // likewise
  rpc::LoadStats stats;
  HistogramSnapshot latency;
  absl::Status first_error;
  rpc::ClientStats client;
  // Round trips through the network in microseconds: means over the sessions that are open at the
  // end; 0: there are none.
  double srtt_us = 0;
  double rttvar_us = 0;
  size_t packet_bytes = 0;  // of the first of them

  // Takes from `client` what it knows, and from `balancer`, if that is not null.
  void Take(const rpc::Client& client, const rpc::Balancer* balancer);

  // Requests that have had their end; those in flight when the user interrupts have not.
  uint64_t ended() const { return stats.replies + stats.unanswered(); }
  bool gave_up() const { return stats.replies == 0 && stats.unanswered() >= kGiveUpAfter; }
  double seconds() const { return static_cast<double>(stats.end_ns - stats.begin_ns) / 1e9; }
  double replies_per_s() const {
    return seconds() > 0 ? static_cast<double>(stats.replies) / seconds() : 0;
  }
  double microseconds(double percent) const {
    return static_cast<double>(latency.Percentile(percent)) / 1e3;
  }
  // The format that was really spoken: "original", "extended", "both" in turn, or "none" as far as
  // nobody answered.
  const char* spoken() const;
};

void PrintText(const PingReport& report);
void PrintJson(const PingReport& report);

}  // namespace weft::cli

#endif  // WEFT_CLI_RPC_PING_REPORT_H_
