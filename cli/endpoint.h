// SPDX-License-Identifier: Apache-2.0
//
// What commands that talk have in common.
#ifndef WEFT_CLI_ENDPOINT_H_
#define WEFT_CLI_ENDPOINT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"

namespace weft::cli {

// The default of rpc.message_bytes_max.
inline constexpr uint64_t kMessageBytesMax = 16 << 20;

struct EndpointOptions {
  std::string config;      // --config
  std::string transport;   // --transport
  bool plaintext = false;  // --plaintext
  std::string address;     // empty: where the configuration says to listen, or else the default
};

// An address, and a configuration whose transport reaches it.
struct Endpoint {
  config::Config config;
  Address address;
};

// The transport is the one of `options.transport`, or of the configuration, or else the one that
// the address is of. A transport that exists only within one process is refused.
absl::StatusOr<Endpoint> ChooseEndpoint(const EndpointOptions& options);

// Unless the configuration says how many buffers there are: enough that a message of so many bytes
// fits into half of them, as it must to be received.
void ProvideBuffers(uint64_t message_bytes, config::Transport* transport);

// kExitUsage for an error that another command line or configuration would avoid, else kExitFailed.
int ExitStatus(const absl::Status& error);

}  // namespace weft::cli

#endif  // WEFT_CLI_ENDPOINT_H_
