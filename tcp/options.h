// SPDX-License-Identifier: Apache-2.0
//
// What a TCP engine is to be, in its own terms: config::Tcp with its texts read and checked.
#ifndef WEFT_TCP_OPTIONS_H_
#define WEFT_TCP_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace weft::config {

class Tcp;

}  // namespace weft::config

namespace weft::tcp {

enum class EcnMode : uint8_t {
  kOff,
  kOn,       // asked for when connecting, and accepted
  kPassive,  // accepted when a peer asks
};

enum class SynCookieMode : uint8_t {
  kAuto,    // when syn_backlog is reached
  kAlways,  // no state is kept for handshakes
  kNever,
};

struct KeepaliveOptions {
  bool all = false;  // on every connection, not only on those that ask for it
  uint32_t idle_s = 7200;
  uint32_t interval_s = 75;
  uint8_t probes = 9;
};

// Meanings, ranges and sources are those of config.proto, message Tcp, whose defaults these are.
struct Options {
  uint16_t mss_max = 0;  // 0: what the MTU holds
  std::string congestion_control = "cubic";
  uint32_t initial_window_packets = 10;
  EcnMode ecn = EcnMode::kPassive;
  bool sack = true;
  bool rack = true;
  bool timestamps = true;
  bool window_scaling = true;

  uint32_t send_buffer_bytes_max = 4 << 20;
  uint32_t receive_buffer_bytes = 128 << 10;
  uint32_t receive_buffer_bytes_max = 6 << 20;
  uint32_t out_of_order_ranges_max = 128;
  uint32_t buffers_percent_max = 75;

  int64_t delayed_ack_ns = 40'000'000;
  int64_t rto_min_ns = 200'000'000;
  int64_t rto_initial_ns = 1'000'000'000;
  int64_t rto_max_ns = 120'000'000'000;
  uint8_t syn_retries = 7;
  uint8_t syn_ack_retries = 5;
  uint32_t user_timeout_ms = 900'000;
  KeepaliveOptions keepalive;

  int64_t time_wait_ns = 60'000'000'000;
  size_t time_wait_max = 262'144;
  uint32_t syn_backlog = 1024;
  SynCookieMode syn_cookies = SynCookieMode::kAuto;
  size_t connections_max = 1 << 20;

  bool nagle = true;
  uint32_t challenge_acks_per_s = 1000;
  uint32_t resets_per_s = 10'000;

  // InvalidArgument names the field and says what would be right. Whether there is a congestion
  // control of that name is the engine's to say.
  static absl::StatusOr<Options> From(const config::Tcp& config);
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_OPTIONS_H_
