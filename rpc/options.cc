// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/options.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::rpc {

SessionOptions SessionOptions::From(const config::Rpc& config) {
  return {
      .timeout = absl::Microseconds(config.session().timeout_us()),
      .slots = config.session().slots(),
      .credits = config.session().credits(),
      .packet_bytes_max = config.session().packet_bytes_max(),
      .sessions_max = config.session().sessions_max(),
      .message_bytes_max = config.message_bytes_max(),
      .rto_min = absl::Microseconds(config.retransmission().rto_min_us()),
      .rto_max = absl::Microseconds(config.retransmission().rto_max_us()),
      .rto_initial = absl::Microseconds(config.retransmission().rto_initial_us()),
  };
}

ClientOptions ClientOptions::From(const config::Rpc& config) {
  return {
      .policy = static_cast<Policy>(config.policy()),
      .timeout = absl::Microseconds(config.timeout_us()),
      .outstanding_max = config.outstanding_max(),
      .message_packets_max = config.message_packets_max(),
      .wire = static_cast<Wire>(config.wire()),
      .negotiation_timeout = absl::Microseconds(config.session().negotiation_timeout_us()),
      .session = SessionOptions::From(config),
  };
}

absl::StatusOr<ServerOptions> ServerOptions::From(const config::Rpc& config) {
  ServerOptions options{
      .message_packets_max = config.message_packets_max(),
      .messages_max = config.reassembly().messages_max(),
      .messages_per_peer_max = config.reassembly().messages_per_peer_max(),
      .reassembly_timeout = absl::Microseconds(config.reassembly().timeout_us()),
      .session = SessionOptions::From(config),
      .reply_cache_time = absl::Microseconds(config.reply_cache().time_us()),
      .reply_cache_bytes_max = config.reply_cache().bytes_max(),
      .executing_max = config.overload().executing_max(),
  };
  if (const std::string& control = config.router().control(); !control.empty()) {
    absl::StatusOr<Address> router = Address::Parse(control);
    if (!router.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("rpc.router.control: ", router.status().message()));
    }
    options.router = *std::move(router);
  }
  return options;
}

}  // namespace weft::rpc
