// SPDX-License-Identifier: Apache-2.0
//
// Limits of streams, and what is counted of them.
#ifndef WEFT_RPC_SERVICE_STREAM_OPTIONS_H_
#define WEFT_RPC_SERVICE_STREAM_OPTIONS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "weft/core/metrics.h"

namespace weft::rpc {

inline constexpr size_t kStreamWindowMax = 64;

struct StreamOptions {
  // Of a server; one more is refused with ResourceExhausted.
  size_t streams_max = 1024;
  // Batches of one stream and direction that are on their way or wait for the reader, 1 to
  // kStreamWindowMax: others are taken as the nearest. The smaller one of the two sides' holds.
  size_t window = 16;
  // What a server that drains gives to the handlers of streams to end by themselves.
  absl::Duration drain_timeout = absl::Seconds(1);
  // Makes the ids of a client's streams foreseeable, so that a simulation can be repeated; none:
  // random.
  std::optional<uint64_t> seed = std::nullopt;

  // With the window that is meant.
  StreamOptions WithinLimits() const {
    StreamOptions options = *this;
    options.window = std::clamp<size_t>(window, 1, kStreamWindowMax);
    return options;
  }
};

// Of one server, or of one channel.
struct StreamStats {
  Counter opened;
  Counter broken;  // of those: ended by an error of the protocol or on the way
  Gauge open;
  Counter messages_sent;  // of streams that have ended
  Counter messages_received;
  Counter malformed;  // batches or replies that make no sense

  // A server's.
  Counter refused;        // streams_max reached, or an id that is in use
  Counter unknown;        // PUSH and PULL of no stream that is open
  Counter duplicates;     // PUSH with a sequence that has come before
  Counter beyond_window;  // PUSH and PULL that there is no room for
  Counter copied;         // batches copied because packet buffers ran low
  // A client's.
  Counter retries;  // PUSH and PULL that were to be tried again
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_STREAM_OPTIONS_H_
