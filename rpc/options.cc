// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/options.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace weft::rpc {

ClientOptions ClientOptions::From(const config::Rpc& config) {
  return {
      .policy = static_cast<Policy>(config.policy()),
      .timeout = absl::Microseconds(config.timeout_us()),
      .outstanding_max = config.outstanding_max(),
      .message_packets_max = config.message_packets_max(),
  };
}

absl::StatusOr<ServerOptions> ServerOptions::From(const config::Rpc& config) {
  ServerOptions options{
      .message_packets_max = config.message_packets_max(),
      .messages_max = config.reassembly().messages_max(),
      .messages_per_peer_max = config.reassembly().messages_per_peer_max(),
      .reassembly_timeout = absl::Microseconds(config.reassembly().timeout_us()),
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
