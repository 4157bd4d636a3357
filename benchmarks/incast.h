// SPDX-License-Identifier: Apache-2.0
//
// Incast: many hosts send to one, all at once, through the one wire that leads to it. Measured over
// a simulated network, on a virtual clock: what comes out is the protocol's doing alone, and the
// same in each run.
//
//   absl::StatusOr<IncastResult> result = RunIncast({.algorithm = "swift"});

#ifndef WEFT_BENCHMARKS_INCAST_H_
#define WEFT_BENCHMARKS_INCAST_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weft::benchmarks {

struct IncastOptions {
  // Who sends the long messages: each of many clients its requests to one server, or each of many
  // servers its replies to one client. The other direction has 64 bytes.
  enum class Direction { kRequests, kReplies };
  Direction direction = Direction::kRequests;
  std::string algorithm = "swift";  // of congestion control
  size_t senders = 64;
  size_t message_bytes = 65536;
  size_t outstanding = 1;  // calls of each sender, back to back
  // Of every wire and its queue. A wire carries the messages' headers too.
  uint64_t bandwidth_bps = 10'000'000'000;
  int64_t latency_ns = 5'000;
  uint32_t queue_packets = 1024;
  absl::Duration warm_up = absl::Milliseconds(10);
  absl::Duration duration = absl::Milliseconds(100);
  uint64_t seed = 1;

  // "incast 64 requests of 65536 B, swift", and what is not the default: "..., queue of 128".
  std::string Name() const;
};

struct IncastResult {
  double goodput = 0;   // bytes of messages whose call ended, of those that the wire could carry
  double fairness = 0;  // of the senders' shares: Jain's index, 1 when all are equal
  // Packets that wait for the wire to the receiver, sampled each microsecond.
  double queue_mean = 0;
  double queue_p99 = 0;
  double queue_max = 0;
  double retransmitted = 0;  // packets sent again, of all packets sent
  double dropped = 0;        // by the queue, of all packets sent
  double p50_us = 0;         // of a call
  double p99_us = 0;
  uint64_t calls = 0;     // that ended well
  uint64_t failures = 0;  // calls that ended in an error
};

// Fails if the options make no sense, or when a call cannot be begun.
absl::StatusOr<IncastResult> RunIncast(const IncastOptions& options);

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_INCAST_H_
