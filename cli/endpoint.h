// SPDX-License-Identifier: Apache-2.0
//
// What commands that talk have in common.
#ifndef WEFT_CLI_ENDPOINT_H_
#define WEFT_CLI_ENDPOINT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"

namespace weft::cli {

struct EndpointOptions {
  std::string config;     // --config
  std::string transport;  // --transport
  std::string address;    // empty: where the configuration says to listen, or else the default
};

// An address, and a configuration whose transport reaches it.
struct Endpoint {
  config::Config config;
  Address address;
};

// The transport is the one of `options.transport`, or of the configuration, or else the one that
// the address is of. A transport that exists only within one process is refused.
absl::StatusOr<Endpoint> ChooseEndpoint(const EndpointOptions& options);

// kExitUsage for an error that another command line or configuration would avoid, else kExitFailed.
int ExitStatus(const absl::Status& error);

}  // namespace weft::cli

#endif  // WEFT_CLI_ENDPOINT_H_
