// SPDX-License-Identifier: Apache-2.0
//
// Settings of R2P2 clients and servers, by hand or from the `rpc` section of a configuration
// (config/config.proto has the meaning and range of each).
#ifndef WEFT_RPC_OPTIONS_H_
#define WEFT_RPC_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/config/config.h"
#include "weft/rpc/wire.h"
#include "weft/transports/address.h"

namespace weft::rpc {

struct ClientOptions {
  Policy policy = Policy::kLbRoute;
  absl::Duration timeout = absl::Seconds(1);
  size_t outstanding_max = 1024;     // calls; at most 32768
  size_t message_packets_max = 254;  // of a request and of a reply; at most 65535
  // Makes the request ids foreseeable, so that a simulation can be repeated; none: a secret.
  std::optional<uint64_t> request_id_seed = std::nullopt;

  static ClientOptions From(const config::Rpc& config);
};

struct ServerOptions {
  size_t message_packets_max = 254;
  // Limits on requests that have begun to arrive. Beyond `messages_max` the one that has made no
  // progress for the longest time gives way; beyond `messages_per_peer_max`, the peer's next is
  // refused.
  size_t messages_max = 1024;
  size_t messages_per_peer_max = 256;
  absl::Duration reassembly_timeout = absl::Seconds(1);  // without progress
  // Where to send FEEDBACK after each request; kNone for nowhere.
  Address router = {};

  // InvalidArgument for a router address that is none.
  static absl::StatusOr<ServerOptions> From(const config::Rpc& config);
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_OPTIONS_H_
