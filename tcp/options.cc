// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/options.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/config/config.h"

namespace weft::tcp {
namespace {

constexpr int64_t kNsPerUs = 1'000;
constexpr int64_t kNsPerMs = 1'000'000;

// A segment must hold at least what RFC 9293, 3.7.1 lets every host send over IPv4 less options,
// or else headers are most of what is sent.
constexpr uint32_t kMssMaxLeast = 88;

template <typename T>
absl::Status CheckAtMost(const char* name, T value, const char* other, T limit) {
  if (value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tcp.", name, ": ", value, " is more than ", other,
                                                 ", ", limit, "; give at most that"));
}

EcnMode ModeOf(config::Tcp::Ecn ecn) {
  switch (ecn) {
    case config::Tcp::OFF:
      return EcnMode::kOff;
    case config::Tcp::ON:
      return EcnMode::kOn;
    case config::Tcp::PASSIVE:
      break;
  }
  return EcnMode::kPassive;
}

SynCookieMode ModeOf(config::Tcp::SynCookies cookies) {
  switch (cookies) {
    case config::Tcp::ALWAYS:
      return SynCookieMode::kAlways;
    case config::Tcp::NEVER:
      return SynCookieMode::kNever;
    case config::Tcp::AUTO:
      break;
  }
  return SynCookieMode::kAuto;
}

absl::Status Check(const config::Tcp& config) {
  if (config.mss_max() != 0 && config.mss_max() < kMssMaxLeast) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tcp.mss_max: ", config.mss_max(), " is too small; give 0 or at least ", kMssMaxLeast));
  }
  absl::Status status =
      CheckAtMost("rto_min_us", config.rto_min_us(), "rto_max_us", config.rto_max_us());
  status.Update(
      CheckAtMost("rto_initial_us", config.rto_initial_us(), "rto_max_us", config.rto_max_us()));
  status.Update(CheckAtMost("receive_buffer_bytes", config.receive_buffer_bytes(),
                            "receive_buffer_bytes_max", config.receive_buffer_bytes_max()));
  return status;
}

}  // namespace

absl::StatusOr<Options> Options::From(const config::Tcp& config) {
  if (absl::Status status = Check(config); !status.ok()) return status;
  Options options;
  options.mss_max = static_cast<uint16_t>(config.mss_max());
  options.congestion_control = config.congestion_control();
  options.initial_window_packets = config.initial_window_packets();
  options.ecn = ModeOf(config.ecn());
  options.sack = config.sack();
  options.rack = config.rack();
  options.timestamps = config.timestamps();
  options.window_scaling = config.window_scaling();
  options.send_buffer_bytes_max = config.send_buffer_bytes_max();
  options.receive_buffer_bytes = config.receive_buffer_bytes();
  options.receive_buffer_bytes_max = config.receive_buffer_bytes_max();
  options.out_of_order_ranges_max = config.out_of_order_ranges_max();
  options.buffers_percent_max = config.buffers_percent_max();
  options.delayed_ack_ns = config.delayed_ack_us() * kNsPerUs;
  options.rto_min_ns = config.rto_min_us() * kNsPerUs;
  options.rto_initial_ns = config.rto_initial_us() * kNsPerUs;
  options.rto_max_ns = config.rto_max_us() * kNsPerUs;
  options.syn_retries = static_cast<uint8_t>(config.syn_retries());
  options.syn_ack_retries = static_cast<uint8_t>(config.syn_ack_retries());
  options.user_timeout_ms = config.user_timeout_ms();
  options.keepalive.all = config.keepalive().all();
  options.keepalive.idle_s = config.keepalive().idle_s();
  options.keepalive.interval_s = config.keepalive().interval_s();
  options.keepalive.probes = static_cast<uint8_t>(config.keepalive().probes());
  options.time_wait_ns = config.time_wait_ms() * kNsPerMs;
  options.time_wait_max = config.time_wait_max();
  options.syn_backlog = config.syn_backlog();
  options.syn_cookies = ModeOf(config.syn_cookies());
  options.connections_max = config.connections_max();
  options.nagle = config.nagle();
  options.challenge_acks_per_s = config.challenge_acks_per_s();
  options.resets_per_s = config.resets_per_s();
  return options;
}

}  // namespace weft::tcp
